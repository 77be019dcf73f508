"""Flask's door of ingest: reads a request, has its readings accepted, answers with a receipt.

An accepted reading reaches history, or the dead letters with a reason. If the process ends before the answer, the
readings were accepted once or not at all; a repeat with the same Idempotency-Key is answered either way.
"""

import hmac
from dataclasses import replace
from functools import partial
from hashlib import blake2b
from typing import Any, NamedTuple

import msgspec
from flask import Blueprint, Response, g, request
from msgspec import UNSET, UnsetType

from models.access.keys import INGEST, READ, Key, seal
from models.readings import METER, VEHICLE, Kind
from models.storage.receipts import get_entry_state
from models.stream.entry_ids import parse_receipt
from webapp.http.answers import json_response
from webapp.http.auth import OTHER_DEVICES, binding
from webapp.http.bodies import Malformed, is_ndjson, read_body
from webapp.http.errors import ApiError, not_found
from webapp.http.operations import operation
from webapp.http.resources import current_resources, database
from webapp.ingest.acceptance import Idempotency
from webapp.ingest.allowances import accept_within_allowance, charging_refusals, create_allowances, require_allowance
from webapp.ingest.answers import Accepted, Receipt, ReceiptState
from webapp.ingest.counters import count_rejected, count_with_ignored
from webapp.ingest.declarations import declare
from webapp.ingest.decoding import TOO_MANY_DEVICES, DecoderBusy, decode
from webapp.ingest.device_bounds import find_devices_beyond_bound
from webapp.ingest.fast_decoding import Bounds, Decoded, TooManyReadings

bp = Blueprint("ingest", __name__)
bp.record_once(create_allowances)

MAX_IDEMPOTENCY_KEY = 128  # characters
# In a request's environment: the readings that the fast door decoded, and the error with which they were refused.
FAST_DOOR_REFUSAL = "energy.fast_door_refusal"


class Path(NamedTuple):
    rule: str
    kind: Kind | None  # of the readings it takes; None: either
    status: int  # that its clients expect for success


PATHS = (
    Path("/v1/telemetry", None, 202),
    Path("/v1/telemetry/ingest", None, 202),
    Path("/v1/ingest", None, 202),
    Path("/v1/telemetry/meter", METER, 200),
    Path("/v1/telemetry/vehicle", VEHICLE, 200),
    Path("/ingest/meter", METER, 201),
    Path("/ingest/vehicle", VEHICLE, 201),
    Path("/v1/ingest/meters", METER, 201),
    Path("/v1/ingest/vehicles", VEHICLE, 201),
)


def ingest(path: Path, *, atomic: bool) -> Response:
    _raise_refusal_of_fast_door()
    with charging_refusals():
        key, ndjson = _idempotency_key(), is_ndjson(request)
        if key is None:
            require_allowance()
        body = _read_body(ndjson, needs_length=bool(key) or atomic)
        idempotency = _idempotency(key, body, path, atomic, ndjson) if key else None
        if idempotency:
            require_allowance(idempotency)
        decoded = g.decoded = _decode(body, path.kind, ndjson)
        _refuse_without_good_readings(decoded, atomic)
        answer = _answer(decoded)
        if idempotency:
            idempotency = replace(idempotency, answer=_kept(path.status, answer))
        accepted = accept_within_allowance(decoded, idempotency)
    # Not kept with the entry: a repeat has the same body, and with it the same fields.
    ignored: list[str] | UnsetType = list(decoded.ignored) or UNSET
    if accepted.first_answer is not None:
        g.replayed = True
        status, answer = _first_answer(accepted.first_answer, answer)
        response = json_response(Accepted(**answer, receipt=accepted.receipt, ignored=ignored), status)
        response.headers["Idempotent-Replay"] = "true"
        return response
    count_with_ignored(decoded.with_ignored)
    return json_response(Accepted(**answer, receipt=accepted.receipt, ignored=ignored), path.status)


for path in PATHS:
    endpoint = f"ingest{path.rule.replace('/', '_')}"
    operation_of_path = declare(path.kind, path.status, partial(ingest, path))
    bp.add_url_rule(path.rule, endpoint=endpoint, view_func=operation_of_path, methods=["POST"])


@bp.get("/v1/telemetry/receipts/<receipt>")
@operation("Ingest", "Show the state of a request's readings", scopes=(INGEST, READ), errors=(404,))
def get_receipt(receipt: Receipt) -> ReceiptState:
    """A receipt is known for {receipt_retention_days} days after its readings were stored; then the answer is 404.

    So it is for a receipt that was given to another key, unless the key has the scope `read` for all devices.
    """
    entry = parse_receipt(receipt)
    if entry is None or not _may_read(receipt):
        raise not_found("Receipt")
    with database() as connection:
        found = get_entry_state(connection, current_resources().stream, *entry)
    if found is None:
        raise not_found("Receipt")
    return ReceiptState(receipt=receipt, state=found.state, dead_letters=found.dead_letters)


def _may_read(receipt: str) -> bool:
    """Whether the request's key was given the receipt, or may read those of all."""
    key: Key | None = g.key
    if key is None or (key.binding is None and key.allows((READ,))):
        return True
    text, _, sent_seal = receipt.rpartition("-")
    return hmac.compare_digest(sent_seal, seal(key, text))


# ── The request ──────────────────────────────────────────────────────────────────────────────────────────────


def _raise_refusal_of_fast_door() -> None:
    if refusal := request.environ.get(FAST_DOOR_REFUSAL):
        g.decoded, error = refusal
        raise error


def _idempotency_key() -> str | None:
    key = request.headers.get("Idempotency-Key")
    if key is not None and not 1 <= len(key) <= MAX_IDEMPOTENCY_KEY:
        raise ApiError(
            422, "Validation failed", {"Idempotency-Key": [f"Must have 1–{MAX_IDEMPOTENCY_KEY} ASCII characters."]}
        )
    return key


def _read_body(ndjson: bool, needs_length: bool) -> bytes:
    if ndjson and needs_length and request.content_length is None:
        # A chunked body that is cut off between two lines looks complete: half of it would be accepted for all.
        raise ApiError(411, "NDJSON with an Idempotency-Key or atomic=true needs a Content-Length")
    return read_body(request, current_resources().settings.max_body_bytes)


def _decode(body: bytes, kind: Kind | None, ndjson: bool) -> Decoded:
    settings = current_resources().settings
    most, key = settings.max_batch_readings, g.key
    if key and key.readings:
        most = min(most, key.readings.burst * settings.max_batch_bursts)
    decode_body = partial(
        decode, body, kind=kind, ndjson=ndjson, bounds=Bounds.now(settings), max_readings=most, binding=binding()
    )
    try:
        decoded = decode_body()
        if beyond_bound := find_devices_beyond_bound(decoded):
            decoded = decode_body(beyond_bound=beyond_bound)
        return decoded
    except Malformed as error:
        raise ApiError(400, f"The body is {error}") from None
    except TooManyReadings as error:
        raise ApiError(413, f"A request may have at most {most} readings; this one has {error}") from None
    except DecoderBusy:
        raise ApiError(
            503, "Too many requests with bad readings at a time, nothing was accepted; try again later", reason="busy"
        ) from None


def _refuse_without_good_readings(decoded: Decoded, atomic: bool) -> None:
    """Counts the rejected readings. Raises ApiError if none is left to accept, or if atomic and any is rejected."""
    refused = decoded.forbidden + decoded.beyond_bound
    count_rejected(decoded.rejected - refused, "validation")
    count_rejected(decoded.forbidden, "forbidden")
    count_rejected(decoded.beyond_bound, "device_limit")
    if decoded.accepted and not (atomic and decoded.rejected):
        return
    count_rejected(decoded.accepted, "atomic")
    if not decoded.rejected:
        raise ApiError(422, "Validation failed", {"_schema": ["There is no reading in the body."]})
    status, message = 422, "Validation failed"
    if refused == decoded.rejected:
        status, message = 403, TOO_MANY_DEVICES if decoded.beyond_bound else OTHER_DEVICES
    if decoded.is_single:
        raise ApiError(status, message, decoded.errors[0]["errors"])
    if atomic:
        message += "; the request is atomic, nothing was accepted"
    unexamined = decoded.unexamined or UNSET
    raise ApiError(status, message, decoded.errors, accepted=0, rejected=decoded.rejected, unexamined=unexamined)


# ── The answer ───────────────────────────────────────────────────────────────────────────────────────────────


def _answer(decoded: Decoded) -> dict[str, Any]:
    return {
        "message": "Data ingested successfully",
        "accepted": decoded.accepted,
        "rejected": decoded.rejected,
        **({"errors": decoded.errors} if decoded.errors else {}),
        **({"unexamined": decoded.unexamined} if decoded.unexamined else {}),
    }


def _kept(status: int, answer: dict[str, Any]) -> bytes:
    """What Redis keeps of an answer: the counts, without what the same body shows again."""
    counts = {name: answer[name] for name in ("message", "accepted", "rejected")}
    return msgspec.json.encode({"status": status, "answer": counts})


def _first_answer(kept: bytes, answer: dict[str, Any]) -> tuple[int, dict[str, Any]]:
    """Status and answer of the first request; `answer` is what the repeat would get.

    The counts are those of the first request. The errors are those of the repeat: a reading that was ahead of the clock
    or has become too old since makes a difference.
    """
    first = msgspec.json.decode(kept)
    if not first["answer"]["rejected"]:
        answer.pop("errors", None)
    return first["status"], answer | first["answer"]


def _idempotency(key: str, body: bytes, path: Path, atomic: bool, ndjson: bool) -> Idempotency:
    fingerprint = blake2b(body, digest_size=16, person=b"ingest")
    fingerprint.update(f"{path.kind and path.kind.name} {path.status} {atomic} {ndjson}".encode())
    return Idempotency(key, fingerprint.hexdigest())
