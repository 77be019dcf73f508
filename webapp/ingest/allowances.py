"""What is refused costs its sender: refused readings and requests are charged to the allowance of the key.

Once this process has seen an allowance used up, requests of its key are refused before their bodies are read.
"""

from collections.abc import Iterator
from contextlib import contextmanager

from flask import current_app, g, request
from flask.sansio.blueprints import BlueprintSetupState

from models.access.keys import Key
from models.access.limits import Allowance, Charge, LimitReached, UsedUpAllowances
from models.readings import Entry
from models.stream.admission import TokenReused
from webapp.http.bounds.limits import note_allowance
from webapp.http.errors import ApiError
from webapp.http.resources import current_resources
from webapp.ingest.acceptance import Accepted, Idempotency, accept, cost_of_rejected
from webapp.ingest.fast_decoding import Decoded

# A body that can't be split into readings is charged by its size.
BYTES_OF_A_READING = 100


def create_allowances(state: BlueprintSetupState) -> None:
    state.app.extensions["used_up_allowances"] = UsedUpAllowances()


def require_allowance(idempotency: Idempotency | None = None) -> None:
    """Raises LimitReached if the allowance of the request's key is used up, unless it repeats an accepted request."""
    key: Key | None = g.key
    if key is None or key.readings is None:
        return
    stream, nothing = current_resources().stream, Charge(key.owner, key.readings, 0)
    allowance = _used_up().find(key.owner, lambda: stream.charge(nothing))
    if allowance is None:
        return
    if idempotency and stream.is_repeat(key.owner, idempotency.token(key), idempotency.fingerprint):
        return
    raise LimitReached(allowance)


@contextmanager
def charging_refusals() -> Iterator[None]:
    """Charges a request that this context refuses, by its readings or else by the size of its body."""
    try:
        yield
    except (ApiError, TokenReused) as error:
        if not isinstance(error, ApiError) or error.status < 500:
            _charge(error)
        raise


def accept_within_allowance(decoded: Decoded, idempotency: Idempotency | None) -> Accepted:
    """`accept`, and the state of the allowance is in the headers of the answer."""
    entry = Entry(decoded.meters, decoded.vehicles, g.request_id)
    try:
        accepted = accept(current_resources(), entry, g.key, idempotency, rejected=decoded.rejected)
    except LimitReached as error:
        _note(error.allowance)
        raise
    note_allowance(accepted.allowance)
    _note(accepted.allowance)
    return accepted


def _charge(error: ApiError | TokenReused) -> None:
    key: Key | None = g.key
    if key is None or (limit := key.readings) is None:
        return
    if decoded := g.get("decoded"):
        readings = max(1, decoded.accepted + decoded.rejected)
    elif isinstance(error, ApiError) and error.status == 413:
        readings = limit.burst
    else:
        readings = 1 + (request.content_length or 0) // BYTES_OF_A_READING
    _note(current_resources().stream.charge(Charge(key.owner, limit, cost_of_rejected(limit, readings))))


def _note(allowance: Allowance | None) -> None:
    if allowance:
        _used_up().note(g.key.owner, allowance)


def _used_up() -> UsedUpAllowances:
    found: UsedUpAllowances = current_app.extensions["used_up_allowances"]
    return found
