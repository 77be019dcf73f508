"""A batch: the entries of one drain transaction, decoded into history rows and dead letters."""

from bisect import bisect_right
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

import msgspec

from models.readings import METER, VEHICLE, HistoryRow, Kind, decode_entry, to_datetime
from models.storage.dead_letters import DeadLetter
from models.storage.history import Refused
from models.stream.entry_ids import EntryId
from models.stream.keys import FIELD
from models.stream.telemetry import StreamEntry


class Origin(NamedTuple):
    """The entry that rows came from, and how many readings it holds."""

    shard: int
    entry_id: EntryId
    request_id: str
    readings: int


@dataclass
class Rows:
    """The history rows of one kind, and the index at which the rows of each entry start."""

    kind: Kind
    rows: list[HistoryRow] = field(default_factory=list)
    starts: list[int] = field(default_factory=list)
    origins: list[Origin] = field(default_factory=list)

    def add(self, origin: Origin, rows: list[HistoryRow]) -> None:
        self.starts.append(len(self.rows))
        self.origins.append(origin)
        self.rows += _distinguish_repeats(rows) if len(rows) > 1 else rows

    def without(self, refused: Sequence[Refused]) -> list[HistoryRow]:
        if not refused:
            return self.rows
        indexes = {refusal.index for refusal in refused}
        return [row for index, row in enumerate(self.rows) if index not in indexes]

    def dead_letter(self, refusal: Refused) -> DeadLetter:
        entry = bisect_right(self.starts, refusal.index) - 1
        origin = self.origins[entry]
        device, recorded, received, *values = refusal.row
        return DeadLetter(
            origin.shard,
            origin.entry_id,
            self.kind.name,
            refusal.reason,
            received_at=to_datetime(received),
            entry_readings=origin.readings,
            row=refusal.index - self.starts[entry],
            reading=dict(zip(self.kind.fields, (device, to_datetime(recorded).isoformat(), *values), strict=True)),
            sqlstate=refusal.sqlstate,
            request_id=origin.request_id,
        )


class Batch:
    """Entries of one shard, in stream order.

    `readings` counts those of all entries, an unreadable entry as one; `unreadable` are the dead letters of entries
    that can't be decoded.
    """

    def __init__(self, shard: int, entries: Iterable[StreamEntry] = ()):
        self._shard = shard
        self.entries: list[EntryId] = []
        self.readings = 0
        self.meters, self.vehicles = Rows(METER), Rows(VEHICLE)
        self.unreadable: list[DeadLetter] = []
        for entry_id, fields in entries:
            self.add(entry_id, fields)

    def add(self, entry_id: EntryId, fields: dict[bytes, bytes]) -> None:
        self.entries.append(entry_id)
        received = entry_id.received_at
        try:
            entry = decode_entry(fields[FIELD])
        except (KeyError, msgspec.MsgspecError, UnicodeDecodeError) as error:
            self.unreadable.append(_unreadable(self._shard, entry_id, received, fields, error))
            self.readings += 1
            return
        readings = len(entry.meters) + len(entry.vehicles)
        self.readings += readings
        origin = Origin(self._shard, entry_id, entry.request_id, readings)
        # Two comprehensions that name the values: one for both kinds takes twice as long.
        if entry.meters:
            self.meters.add(origin, [(id_, at, received, kwh, voltage) for id_, at, kwh, voltage in entry.meters])
        if entry.vehicles:
            vehicles = [(id_, at, received, kwh, temp, soc) for id_, at, kwh, temp, soc in entry.vehicles]
            self.vehicles.add(origin, vehicles)


def _unreadable(shard: int, entry_id: EntryId, received: int, fields: dict, error: Exception) -> DeadLetter:
    payload = fields.get(FIELD) or msgspec.msgpack.encode(fields)
    reason = f"the entry can't be read: {type(error).__name__} {error}"
    return DeadLetter(shard, entry_id, "entry", reason, to_datetime(received), entry_readings=1, payload=payload)


def _distinguish_repeats(rows: list[HistoryRow]) -> list[HistoryRow]:
    """Of rows of one entry with the same device and instant, the later ones are received a microsecond later each."""
    if len({row[:2] for row in rows}) == len(rows):
        return rows
    seen: Counter = Counter()
    distinct = []
    for row in rows:
        distinct.append((row[0], row[1], row[2] + seen[row[:2]], *row[3:]))
        seen[row[:2]] += 1
    return distinct
