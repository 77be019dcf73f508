"""The batch writer: stores a batch in history, live rows and dead letters, in the caller's transaction."""

from dataclasses import astuple, dataclass

import psycopg

from models.observability.metrics import BATCH_READINGS, DEAD_LETTERS, LIVE_UPSERTS, READINGS_STORED, step
from models.storage.batch import Batch
from models.storage.dead_letters import store_dead_letters
from models.storage.history import copy_history
from models.storage.live import upsert_live
from models.storage.stale_marks import mark_late_readings


@dataclass(frozen=True)
class Stored:
    """What became of a batch: readings in history, dead letters, and devices whose live row was written."""

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
        """Counts the batch in the metrics. Call it right after the commit: a process that ends in between has stored
        a batch that is not counted.
        """
        READINGS_STORED.labels("meter").inc(self.meters)
        READINGS_STORED.labels("vehicle").inc(self.vehicles)
        DEAD_LETTERS.inc(self.dead_letters)
        LIVE_UPSERTS.inc(self.devices)
        BATCH_READINGS.observe(self.readings + self.dead_letters)


NOTHING = Stored(entries=0, meters=0, vehicles=0, dead_letters=0, devices=0)


def store_batch(connection: psycopg.Connection, batch: Batch) -> Stored:
    """Stores every reading of the batch, in history or in the dead letters.

    Raises what `copy_history` raises, for the caller to roll back: then nothing of the batch is stored.
    """
    kinds = batch.meters, batch.vehicles
    letters = list(batch.unreadable)
    accepted = []
    with step("copy"):
        for of_kind in kinds:
            refused = copy_history(connection, of_kind.kind, of_kind.rows)
            letters += map(of_kind.dead_letter, refused)
            accepted.append((of_kind.kind, of_kind.without(refused)))
    with step("stale_marks"):
        mark_late_readings(connection, accepted)
    # Live rows are shared between shards: written last, so that their locks are held shortest.
    with step("live"):
        devices = sum(upsert_live(connection, kind, rows) for kind, rows in accepted)
    if letters:
        with step("dead_letters"):
            store_dead_letters(connection, letters)
    meters, vehicles = (len(rows) for _, rows in accepted)
    return Stored(len(batch.entries), meters, vehicles, len(letters), devices)
