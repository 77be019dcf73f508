"""Devices post here: readings are checked and put into the stream; the answer is a promise.

An accepted reading reaches history, or the dead letters with a reason. If the process dies before the answer,
the readings were taken once or not at all; with an Idempotency-Key the device can ask which.
"""

from hashlib import blake2b
from zlib import crc32

import msgspec
from flask import Blueprint, Response, g, request

from models.readings import METER, VEHICLE, Entry, encode_entry
from models.settings import DIRECT_SHARD
from models.storage.direct import store_direct
from models.storage.receipts import entry_state
from models.stream.admission import Appended, Conditions, StreamUnreachable
from models.stream.entry_ids import parse_receipt, receipt
from webapp.http.auth import binding
from webapp.http.bodies import Malformed, is_ndjson, read_body
from webapp.http.errors import ApiError
from webapp.http.limits import charge_for, note_allowance
from webapp.http.metrics import count_accepted, count_rejected
from webapp.http.resources import current_resources, database
from webapp.ingest.decoding import Bounds, Decoded, TooManyReadings, decode
from webapp.ingest.schemas import AtomicSchema
from workers.doorbell import ring

bp = Blueprint("ingest", __name__)

MAX_IDEMPOTENCY_KEY = 128  # characters
# In a request's environment: why its append failed before it came here (webapp/ingest/fast_door.py).
TRIED = "energy.append_failed"

# path, the kind it takes (None: either), the status that its clients take for success
PATHS = (
    ("/v1/telemetry", None, 202),
    ("/v1/telemetry/ingest", None, 202),
    ("/v1/ingest", None, 202),
    ("/v1/telemetry/meter", METER, 200),
    ("/v1/telemetry/vehicle", VEHICLE, 200),
    ("/ingest/meter", METER, 201),
    ("/ingest/vehicle", VEHICLE, 201),
    ("/v1/ingest/meters", METER, 201),
    ("/v1/ingest/vehicles", VEHICLE, 201),
)


def ingest(kind: str | None, status: int) -> Response:
    settings = current_resources().settings
    key = _idempotency_key()
    atomic = AtomicSchema().load(request.args)["atomic"]
    ndjson = is_ndjson(request)
    if ndjson and request.content_length is None and (key or atomic):
        # A chunked body that breaks off between two lines looks whole: half of it would be taken for all.
        raise ApiError(411, "NDJSON with an Idempotency-Key or atomic=true needs a Content-Length")
    body = read_body(request, settings.max_body_bytes)
    decoded = g.decoded = _decode(body, kind, ndjson, settings)
    count_rejected(decoded.rejected - decoded.forbidden, "validation")
    count_rejected(decoded.forbidden, "forbidden")
    if not decoded.accepted or (atomic and decoded.rejected):
        count_rejected(decoded.accepted, "atomic")
        raise _nothing_good(decoded, atomic)
    answer = {
        "message": "Data ingested successfully",
        "accepted": decoded.accepted,
        "rejected": decoded.rejected,
        **({"errors": decoded.errors} if decoded.errors else {}),
    }
    payload = encode_entry(Entry(decoded.meters, decoded.vehicles, g.request_id))
    conditions = _conditions(key, body, f"{kind} {status} {atomic} {ndjson}", {"status": status, "answer": answer})
    try:
        appended = _append(payload, conditions, named=key)
    except StreamUnreachable:
        if key or settings.ingest_fallback != "direct":
            raise
        entry_id = store_direct(current_resources(), payload)
        count_accepted(len(decoded.meters), len(decoded.vehicles))
        return {**answer, "receipt": receipt(DIRECT_SHARD, entry_id)}, status
    note_allowance(appended.allowance)
    headers = {}
    if appended.replayed and key:
        first = msgspec.json.decode(appended.answer)
        answer, status = first["answer"], first["status"]
        headers["Idempotent-Replay"] = "true"
        g.replayed = True
    else:
        count_accepted(len(decoded.meters), len(decoded.vehicles))
    return {**answer, "receipt": receipt(appended.shard, appended.entry_id)}, status, headers


for path, kind, status in PATHS:
    bp.add_url_rule(
        path,
        endpoint=f"ingest{path.replace('/', '_')}",
        view_func=ingest,
        methods=["POST"],
        defaults={"kind": kind and kind.name, "status": status},
    )


@bp.get("/v1/telemetry/receipts/<text>")
def show_receipt(text: str):
    parsed = parse_receipt(text)
    if parsed is None:
        raise ApiError(404, "Receipt not found")
    with database() as connection:
        state = entry_state(connection, current_resources().stream, *parsed)
    if state is None:
        raise ApiError(404, "Receipt not found")
    return {"receipt": text, "state": state[0], "deadLetters": state[1]}


def _decode(body: bytes, kind: str | None, ndjson: bool, settings) -> Decoded:
    try:
        return decode(
            body,
            kind=kind,
            ndjson=ndjson,
            bounds=Bounds.now(settings),
            max_readings=settings.max_batch_readings,
            binding=binding(),
        )
    except Malformed as error:
        raise ApiError(400, f"The body is {error}") from None
    except TooManyReadings as error:
        raise ApiError(
            413, f"A request may bring at most {settings.max_batch_readings} readings; these are {error}"
        ) from None


def _nothing_good(decoded: Decoded, atomic: bool) -> ApiError:
    if not decoded.rejected:
        return ApiError(422, "Validation failed", {"_schema": ["There is no reading in the body."]})
    all_forbidden = decoded.forbidden == decoded.rejected
    status, message = (403, "This key is bound to other devices") if all_forbidden else (422, "Validation failed")
    if decoded.is_single:
        return ApiError(status, message, decoded.errors[0]["errors"])
    if atomic:
        message += "; the request is atomic, nothing was taken"
    return ApiError(status, message, decoded.errors, accepted=0, rejected=decoded.rejected)


def _idempotency_key() -> str | None:
    key = request.headers.get("Idempotency-Key")
    if key is not None and not 1 <= len(key) <= MAX_IDEMPOTENCY_KEY:
        raise ApiError(
            422, "Validation failed", {"Idempotency-Key": [f"Must have 1–{MAX_IDEMPOTENCY_KEY} ASCII characters."]}
        )
    return key


def _append(payload: bytes, conditions: Conditions | None, named: str | None) -> Appended:
    if tried := request.environ.get(TRIED):  # the express way got no further with it
        raise tried
    # A repeat must come to the shard that knows its key; one with a limit, to the shard of its allowance.
    owner = conditions and (conditions.charge.owner if conditions.charge else named)
    shard = crc32(owner.encode()) % current_resources().settings.stream_shards if owner else None
    appended = current_resources().stream.append(payload, shard, conditions)
    if appended.was_empty:
        ring(appended.shard)
    return appended


def _conditions(key: str | None, body: bytes, how: str, first: dict) -> Conditions | None:
    """None where neither the device gave the request a key, nor the API key has a limit: a plain append."""
    charge = charge_for(g.key, g.decoded.accepted)
    if key is None:
        return Conditions(charge=charge) if charge else None
    digest = blake2b(body, digest_size=16, person=b"ingest")
    digest.update(how.encode())
    return Conditions(
        # Of this sender alone: nobody gets another's answer by knowing, or guessing, what it called its request.
        token=f"key:{g.key.owner if g.key else ''}:{key}",
        token_ttl_seconds=current_resources().settings.idempotency_ttl_seconds,
        fingerprint=digest.hexdigest(),
        answer=msgspec.json.encode(first),
        charge=charge,
    )
