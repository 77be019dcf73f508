"""The batch writer: stream entries into history, live and dead letters, in the caller's transaction."""

from bisect import bisect_right
from collections import Counter
from dataclasses import astuple, dataclass, field

import msgspec
import psycopg

from models.observability.metrics import count_batch, step
from models.readings import METER, VEHICLE, HistoryRow, Kind, decode_entry, to_datetime
from models.storage.dead_letters import DeadLetter, store_dead_letters
from models.storage.history import Refused, copy_history
from models.storage.live import upsert_live
from models.storage.stale_marks import mark_late_readings
from models.stream.entry_ids import EntryId, received_at
from models.stream.keys import FIELD
from models.stream.telemetry import StreamEntry


@dataclass(frozen=True)
class Stored:
    """What became of a batch: readings in history, dead letters, devices whose live row was brought up to date."""

    entries: int
    meters: int
    vehicles: int
    dead_letters: int
    devices: int

    @property
    def readings(self) -> int:
        return self.meters + self.vehicles

    def __add__(self, other: "Stored") -> "Stored":
        return Stored(*map(sum, zip(astuple(self), astuple(other), strict=True)))

    def count(self) -> None:
        """For the figures, once it is committed."""
        count_batch(self.meters, self.vehicles, self.dead_letters, self.devices)


NOTHING = Stored(entries=0, meters=0, vehicles=0, dead_letters=0, devices=0)


@dataclass(frozen=True)
class _Origin:
    """The entry that rows came from, and how many readings it held."""

    entry_id: EntryId
    request_id: str
    readings: int


@dataclass
class _Rows:
    """The history rows of one kind, and where each entry's rows begin."""

    kind: Kind
    rows: list[HistoryRow] = field(default_factory=list)
    starts: list[int] = field(default_factory=list)
    origins: list[_Origin] = field(default_factory=list)

    def add(self, origin: _Origin, received: int, readings: list[tuple]) -> None:
        self.starts.append(len(self.rows))
        self.origins.append(origin)
        rows = [(r[0], r[1], received, *r[2:]) for r in readings]
        self.rows += _tell_repeats_apart(rows) if len(rows) > 1 else rows

    def origin(self, index: int) -> tuple[_Origin, int]:
        """The entry of the row at `index`, and the row's place in it."""
        entry = bisect_right(self.starts, index) - 1
        return self.origins[entry], index - self.starts[entry]


def store_entries(connection: psycopg.Connection, shard: int, shards: int, entries: list[StreamEntry]) -> Stored:
    """Stores the readings of the entries: all of them, in history or in the dead letters.

    Raises what `copy_history` raises, for the caller to roll back: then nothing of the batch is stored.
    """
    letters: list[DeadLetter] = []
    with step("decode"):
        kinds = _decode(shard, shards, entries, letters)
    kept = []
    with step("copy"):
        for rows in kinds:
            refused = copy_history(connection, rows.kind, rows.rows)
            letters += [_refused(shard, rows, refusal) for refusal in refused]
            kept.append(_without(rows.rows, refused))
    with step("stale_marks"):
        mark_late_readings(connection, [(rows.kind, left) for rows, left in zip(kinds, kept, strict=True)])
    # Live rows are shared between shards: touched last, so that their locks are held shortest.
    with step("live"):
        devices = sum(upsert_live(connection, rows.kind, left) for rows, left in zip(kinds, kept, strict=True))
    if letters:
        with step("dead_letters"):
            store_dead_letters(connection, letters)
    return Stored(len(entries), *map(len, kept), len(letters), devices)


def _decode(shard: int, shards: int, entries: list[StreamEntry], letters: list[DeadLetter]) -> tuple[_Rows, _Rows]:
    """The history rows of the entries, meters and vehicles; what can't be read is added to the letters."""
    meters, vehicles = _Rows(METER), _Rows(VEHICLE)
    for entry_id, fields in entries:
        received = received_at(shard, shards, entry_id)
        try:
            entry = decode_entry(fields[FIELD])
        except (KeyError, msgspec.MsgspecError, UnicodeDecodeError) as error:
            letters.append(_unreadable(shard, entry_id, received, fields, error))
            continue
        origin = _Origin(entry_id, entry.request_id, len(entry.meters) + len(entry.vehicles))
        if entry.meters:
            meters.add(origin, received, entry.meters)
        if entry.vehicles:
            vehicles.add(origin, received, entry.vehicles)
    return meters, vehicles


def _tell_repeats_apart(rows: list[HistoryRow]) -> list[HistoryRow]:
    """The same device and instant twice in one entry: the later one gets a later receipt, by a microsecond."""
    if len({row[:2] for row in rows}) == len(rows):
        return rows
    seen: Counter = Counter()
    told = []
    for row in rows:
        told.append((row[0], row[1], row[2] + seen[row[:2]], *row[3:]))
        seen[row[:2]] += 1
    return told


def _without(rows: list[HistoryRow], refused: list[Refused]) -> list[HistoryRow]:
    if not refused:
        return rows
    gone = {refusal.index for refusal in refused}
    return [row for index, row in enumerate(rows) if index not in gone]


def _refused(shard: int, rows: _Rows, refusal: Refused) -> DeadLetter:
    origin, place = rows.origin(refusal.index)
    device, recorded, received, *values = refusal.row
    timestamp = to_datetime(recorded).isoformat()
    return DeadLetter(
        shard,
        origin.entry_id,
        rows.kind.name,
        refusal.reason,
        received_at=to_datetime(received),
        entry_readings=origin.readings,
        row=place,
        reading=dict(zip(rows.kind.fields, (device, timestamp, *values), strict=True)),
        sqlstate=refusal.sqlstate,
        request_id=origin.request_id,
    )


def _unreadable(shard: int, entry_id: EntryId, received: int, fields: dict, error: Exception) -> DeadLetter:
    payload = fields.get(FIELD) or msgspec.msgpack.encode(fields)
    reason = f"the entry can't be read: {type(error).__name__} {error}"
    return DeadLetter(shard, entry_id, "entry", reason, to_datetime(received), entry_readings=1, payload=payload)
