"""Disk: bytes of a reading in Postgres, in table and index, by kind, and in its log (WAL).

A day of 1,000 meters and 1,000 vehicles, a reading a minute each, goes through the stream and the workers; then the
sizes of the partitions are read. Once with ids of 7 characters, as in all figures, and once with UUIDs: an id is in the
row and again in the index. The note has the other parts of a row.
"""

import uuid
from datetime import UTC, datetime, timedelta

from bench import BenchError, backlog, fleet
from bench.bench import Bench
from bench.measured import Value
from models.readings import KINDS, METER, VEHICLE, Kind

PAIRS, PAIRS_QUICK = 1_000, 500
ENTRY_READINGS = 1_000
DRAIN_SECONDS = 600
SIZES = """
    select sum(pg_table_size(relid))::float8, sum(pg_indexes_size(relid))::float8
    from pg_partition_tree(%s) where isleaf"""
# Postgres's overhead: a header of 24 or 8, and a pointer of 4.
ROW_BYTES, INDEX_ROW_BYTES = 28, 12
# A number or a time, or an id of up to 7 characters with its length byte.
COLUMN_BYTES = 8
# In the index beside the id: both times, and the values that analytics sum.
INDEX_COLUMNS = {METER.name: 3, VEHICLE.name: 4}
GIB = 2**30


def measure(bench: Bench) -> list[Value]:
    short = _load(bench, 0, lambda pair: (fleet.meter_id(pair), fleet.vehicle_id(pair)))
    uuids = _load(bench, 1, lambda pair: (_uuid("meter", pair), _uuid("vehicle", pair)))
    bench.stack.engine()
    bench.stack.empty()
    values = []
    for kind in KINDS.values():
        key, label = f"disk.{kind.name}", f"{kind.name} reading"
        table, index = short[kind.name]
        values += [
            Value(f"{key}.table", f"{label}, table", table, "bytes", note=_row(kind)),
            Value(f"{key}.index", f"{label}, index", index, "bytes", note=_index_row(kind, index)),
        ]
    day = sum(map(sum, (short[kind] for kind in KINDS))) * fleet.FLEET_DAY / 2 / GIB
    values += [
        Value("disk.day", "fleet day at that", day, "GiB", note=f"{fleet.FLEET_DAY:,} readings"),
        Value("disk.wal", "WAL a reading", short["wal"][0], "bytes", note="table, index, live row, and pages anew"),
    ]
    for kind in KINDS.values():
        table, index = uuids[kind.name]
        note = f"table {table:.0f}, index {index:.0f}; ids of 36 characters instead of 7"
        label = f"{kind.name} reading with a UUID, both"
        values.append(Value(f"disk.uuid.{kind.name}", label, table + index, "bytes", note=note))
    return [*values, Value("disk.uuid.wal", "WAL a reading with a UUID", uuids["wal"][0], "bytes")]


def _load(bench: Bench, turn: int, names) -> dict[str, tuple[float, ...]]:
    """Bytes of a reading: (table, index) of each kind, and (WAL,)."""
    stack = bench.stack
    stack.engine()
    stack.empty()
    pairs = PAIRS_QUICK if bench.is_quick else PAIRS
    today = datetime.now(UTC).replace(hour=0, minute=0, second=0, microsecond=0)
    minutes = backlog.Minutes(today - timedelta(days=1), ENTRY_READINGS, pairs, names)
    entries = minutes.blocks * fleet.MINUTES_A_DAY
    readings = entries * ENTRY_READINGS
    bench.show(turn / 2, f"{readings:,} readings into the stream")
    with stack.redis() as client, stack.connect() as connection:
        backlog.put(client, map(minutes.entry, range(entries)), backlog.SHARDS)
        before = _wal(connection)
        stack.engine("worker", "beat")
        stack.wait_until(
            lambda: bench.show((turn + 1 - stack.backlog() / entries) / 2, "draining") or stack.backlog() == 0,
            "the backlog is not drained",
            DRAIN_SECONDS,
        )
        found = {"wal": ((_wal(connection) - before) / readings,)}
        if (count := stack.count_history()) != readings:
            raise BenchError(f"{readings:,} readings were put into the stream, and {count:,} are in history")
        for kind in KINDS.values():
            table, index = connection.execute(SIZES, [kind.history]).fetchone()
            found[kind.name] = (table / readings * 2, index / readings * 2)
    return found


def _wal(connection) -> int:
    return connection.execute("select pg_wal_lsn_diff(pg_current_wal_lsn(), '0/0')::int8").fetchone()[0]


def _row(kind: Kind) -> str:
    columns = len(kind.columns) - 1
    return f"{ROW_BYTES} of Postgres's own, {columns} columns of {COLUMN_BYTES}, the id {COLUMN_BYTES}"


def _index_row(kind: Kind, measured: float) -> str:
    row = INDEX_ROW_BYTES + COLUMN_BYTES * (INDEX_COLUMNS[kind.name] + 1)
    return f"{row} in a full page; pages are {row / measured:.0%} full, since devices take turns"


def _uuid(kind: str, pair: int) -> str:
    return str(uuid.uuid5(uuid.NAMESPACE_OID, f"{kind} {pair}"))
