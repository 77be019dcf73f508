"""Accepts readings: the core of ingest, between its doors (views.py, fast_door.py) and the stream.

The doors read requests and word answers. Nothing here depends on HTTP or on Flask.
"""

from dataclasses import dataclass
from typing import NamedTuple

from models.access.keys import Key, seal
from models.access.limits import Allowance, Charge, Limit
from models.readings import Entry, encode_entry
from models.resources import Resources
from models.settings import DIRECT_SHARD
from models.storage.direct import store_direct
from models.stream.admission import Conditions, StreamUnreachable
from models.stream.entry_ids import EntryId, receipt
from webapp.ingest.counters import count_accepted
from workers.doorbell import ring


@dataclass(frozen=True, slots=True)
class Idempotency:
    """Makes a request accepted at most once; a repeat is answered like the first one."""

    key: str  # as the sender named the request
    fingerprint: str  # of the request; one with the same key and another fingerprint is refused
    answer: bytes = b""  # kept with the entry; Redis holds it for a day, so it is small

    def token(self, sender: Key | None) -> str:
        """With the sender's name: no sender gets the answer of another one by guessing its idempotency key."""
        return f"key:{sender.owner if sender else ''}:{self.key}"


class Accepted(NamedTuple):
    receipt: str
    allowance: Allowance | None = None  # of the sender, if its key has a limit
    first_answer: bytes | None = None  # what was kept with the entry, if this request is a repeat


def accept(
    resources: Resources,
    entry: Entry,
    sender: Key | None = None,
    idempotency: Idempotency | None = None,
    *,
    rejected: int = 0,
) -> Accepted:
    """Appends the entry to the stream; returns once Redis has it on disk.

    If Redis is unavailable, an entry without idempotency is stored directly in Postgres, with INGEST_FALLBACK=direct.
    `rejected`: readings of the request that are not in the entry; the sender's allowance pays for them too.
    Raises BacklogFull, LimitReached, StreamUnreachable, TokenReused or TokensUsedUp (nothing was accepted), or
    OutcomeUnknown. If the process ends here, the readings were accepted once or not at all.
    """
    payload = encode_entry(entry)
    meters, vehicles = len(entry.meters), len(entry.vehicles)
    charge = None
    if sender and (limit := sender.readings):
        charge = Charge(sender.owner, limit, meters + vehicles + cost_of_rejected(limit, rejected))
    # A repeat must reach the shard that knows its key; a charge, the shard with the allowance.
    owner = charge.owner if charge else idempotency.key if idempotency else None
    conditions = _conditions(resources, sender, charge, idempotency)
    try:
        appended = resources.stream.append(payload, owner, conditions, readings=meters + vehicles)
    except StreamUnreachable:
        if idempotency or resources.settings.ingest_fallback != "direct":
            raise
        entry_id = store_direct(resources, payload, readings=meters + vehicles)
        count_accepted(meters, vehicles)
        return Accepted(_receipt(DIRECT_SHARD, entry_id, sender))
    if appended.was_empty:
        ring(appended.shard)
    is_repeat = idempotency is not None and appended.replayed
    if not is_repeat:
        count_accepted(meters, vehicles)
    first_answer = appended.answer if is_repeat else None
    return Accepted(_receipt(appended.shard, appended.entry_id, sender), appended.allowance, first_answer)


def cost_of_rejected(limit: Limit, readings: int) -> int:
    """At most a full allowance, so that a device with a fault is not refused for hours."""
    return min(readings, limit.burst)


def _receipt(shard: int, entry_id: EntryId, sender: Key | None) -> str:
    text = receipt(shard, entry_id)
    return f"{text}-{seal(sender, text)}" if sender else text


def _conditions(
    resources: Resources, sender: Key | None, charge: Charge | None, idempotency: Idempotency | None
) -> Conditions | None:
    if idempotency is None:
        return Conditions(charge=charge) if charge else None
    settings = resources.settings
    keys = Limit(settings.idempotency_max_keys / settings.idempotency_ttl_seconds, settings.idempotency_max_keys)
    return Conditions(
        token=idempotency.token(sender),
        token_ttl_seconds=settings.idempotency_ttl_seconds,
        fingerprint=idempotency.fingerprint,
        answer=idempotency.answer,
        charge=charge,
        token_charge=Charge(sender.owner if sender else "", keys, 1),
    )
