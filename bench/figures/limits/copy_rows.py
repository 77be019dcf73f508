"""Raw limit, COPY: binary COPY into the same tables with the same indexes, from one process and one connection.

Each transaction has one minute of the fleet, 20,000 rows, in the order of bulk requests. The rows are encoded
beforehand, only the times are filled in: so Postgres is measured and not Python. For a second figure psycopg encodes
each row, as in a batch writer.
"""

import struct
import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta

import psycopg

from bench import fleet
from bench.bench import Bench
from bench.measured import Value

# Binary COPY has times in microseconds since 2000-01-01.
POSTGRES_EPOCH = datetime(2000, 1, 1, tzinfo=UTC)
HEADER, TRAILER = b"PGCOPY\n\xff\r\n\0" + bytes(8), b"\xff\xff"
METERS = "meter_readings_history (meter_id, recorded_at, received_at, kwh_consumed_ac, voltage)"
VEHICLES = "vehicle_readings_history (vehicle_id, recorded_at, received_at, kwh_delivered_dc, battery_temp, soc)"
METER_TYPES = ("text", "int8", "int8", "float8", "float8")
VEHICLE_TYPES = (*METER_TYPES, "float8")


def measure(bench: Bench) -> list[Value]:
    stack = bench.stack
    stack.engine()
    values = []
    for key, label, writer in (
        ("copy.rows", "raw: COPY of encoded rows, one process", _encoded),
        ("copy.psycopg_rows", "raw: COPY with psycopg's write_row, one process", _row_by_row),
    ):
        stack.empty()
        with stack.connect() as connection:
            rates = _copy(connection, writer(connection), bench.seconds(20, 5), bench.show)
        values.append(Value(key, label, fleet.DEVICES * len(rates) / sum(rates), "/s", samples=_per_second(rates)))
    stack.empty()
    return values


def _copy(connection: psycopg.Connection, copy_minute: Callable[[int, int], None], seconds: float, show) -> list[float]:
    """Seconds for each minute."""
    start, taken = fleet.day_start(), []
    first = time.perf_counter()
    while (begun := time.perf_counter()) < first + seconds:
        recorded = _wire(start + timedelta(minutes=len(taken)))
        with connection.transaction():
            copy_minute(recorded, _wire(datetime.now(UTC)))
        taken.append(time.perf_counter() - begun)
        show((begun - first) / seconds, "")
    return taken


def _encoded(connection: psycopg.Connection) -> Callable[[int, int], None]:
    pairs = [fleet.values_for(pair, 0) for pair in range(fleet.PAIRS)]
    kinds = (
        (METERS, _fragments(fleet.meter_id, [(t.ac, t.voltage) for t in pairs])),
        (VEHICLES, _fragments(fleet.vehicle_id, [(t.dc, t.temperature, t.soc) for t in pairs])),
    )

    def copy_minute(recorded: int, received: int) -> None:
        times = struct.pack(">iqiq", 8, recorded, 8, received)
        for table, fragments in kinds:
            with connection.cursor().copy(f"copy {table} from stdin (format binary)") as copy:
                copy.write(times.join(fragments))

    return copy_minute


def _fragments(device_id: Callable[[int], str], values: list[tuple[float, ...]]) -> list[bytes]:
    """The bytes before, between and after the times of a minute's rows."""
    fragments, before = [], HEADER
    for pair, row in enumerate(values):
        name = device_id(pair).encode()
        fragments.append(before + struct.pack(f">hi{len(name)}s", 3 + len(row), len(name), name))
        before = b"".join(struct.pack(">id", 8, value) for value in row)
    return [*fragments, before + TRAILER]


def _row_by_row(connection: psycopg.Connection) -> Callable[[int, int], None]:
    pairs = [fleet.values_for(pair, 0) for pair in range(fleet.PAIRS)]
    kinds = (
        (METERS, METER_TYPES, [(fleet.meter_id(n), (v.ac, v.voltage)) for n, v in enumerate(pairs)]),
        (VEHICLES, VEHICLE_TYPES, [(fleet.vehicle_id(n), (v.dc, v.temperature, v.soc)) for n, v in enumerate(pairs)]),
    )

    def copy_minute(recorded: int, received: int) -> None:
        for table, types, rows in kinds:
            with connection.cursor().copy(f"copy {table} from stdin (format binary)") as copy:
                copy.set_types(types)
                for name, values in rows:
                    copy.write_row((name, recorded, received, *values))

    return copy_minute


def _wire(moment: datetime) -> int:
    return (moment - POSTGRES_EPOCH) // timedelta(microseconds=1)


def _per_second(rates: list[float]) -> list[int]:
    return [round(fleet.DEVICES / seconds) for seconds in rates]
