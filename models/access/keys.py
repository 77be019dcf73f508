"""API keys. A key is `eie_<id>_<secret>`: the id finds it, the secret proves it. Only the secret's hash is stored.

The hash is a plain SHA-256: the secret is 32 random bytes, which can't be guessed, so that a slow hash would delay
every request and protect nothing.
"""

import hmac
import secrets
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from hashlib import blake2b, sha256
from typing import Annotated, Any, NamedTuple

import msgspec
import psycopg
import structlog
from msgspec import Meta
from psycopg.rows import args_row
from sqlalchemy import Text, case, cast, func, insert, literal_column, select, update

from models.access.bindings import Binding
from models.access.limits import Limit
from models.schema.access import api_keys
from models.sql import one
from models.statements import run

INGEST, READ, ADMIN = SCOPES = ("ingest", "read", "admin")

_PREFIX = "eie"
_ID_BYTES = 6  # twelve hexadecimal digits
_SECRET_BYTES = 32
MAX_KEY_CHARACTERS = 128
# The default burst: a minute's readings, for devices that send once a minute.
DEFAULT_BURST_SECONDS = 60

log = structlog.get_logger()


class KeyNotUsable(Exception):
    """There is no such key, or it can't be rotated; the message says which."""


@dataclass(frozen=True, slots=True)
class Key:
    """A key that is not revoked, as requests need it."""

    id: str
    secret_hash: str
    scopes: frozenset[str]
    binding: Binding | None  # None: every device
    readings: Limit | None  # None: no limit
    requests_per_second: float | None  # None: READ_REQUESTS_PER_SECOND
    max_devices: int | None  # None: the bound of the settings
    expires_at: datetime | None
    owner: str  # id of the first key of a chain of rotations; the chain shares allowances and Idempotency-Keys
    seal_secret: bytes  # of that first key, up to 64 bytes

    def allows(self, scopes: tuple[str, ...]) -> bool:
        """Whether it has one of the scopes; admin includes all."""
        return ADMIN in self.scopes or not self.scopes.isdisjoint(scopes)


Scope = Annotated[str, Meta(pattern=f"^({'|'.join(SCOPES)})$")]
# Far above any fleet, and far below where a burst or a deficit would not be finite.
MAX_PER_SECOND = 1e9
Rate = Annotated[float, Meta(gt=0, le=MAX_PER_SECOND)]  # JSON has no number that is not finite


class Rights(msgspec.Struct, frozen=True):
    """The rights of a new key."""

    name: str
    scopes: Annotated[Sequence[Scope], Meta(min_length=1)]
    device_ids: Sequence[str] | None = None
    device_prefix: Annotated[str, Meta(min_length=1)] | None = None
    readings_per_second: Rate | None = None
    readings_burst: Annotated[int, Meta(gt=0)] | None = None
    requests_per_second: Rate | None = None
    max_devices: Annotated[int, Meta(gt=0)] | None = None


class StoredKey(Rights, frozen=True, kw_only=True):
    """A row of api_keys. `state`: active, replaced, expired or revoked."""

    id: str
    secret_hash: Annotated[str, Meta(pattern="^[0-9a-f]{64}$")]
    created_at: datetime
    expires_at: datetime | None
    revoked_at: datetime | None
    replaced_by: str | None
    state: str


class UnreadableKey(NamedTuple):
    """A row of api_keys that is no key: requests with it are refused. `reason` names the column, not its value."""

    id: str
    name: str
    reason: str
    is_revoked: bool


# ── The text of a key ────────────────────────────────────────────────────────────────────────────────────────


def new_key_text() -> str:
    return f"{_PREFIX}_{secrets.token_hex(_ID_BYTES)}_{secrets.token_urlsafe(_SECRET_BYTES)}"


def split_key(text: str) -> tuple[str, str]:
    """Id and hash of the secret; for a text that is not a key, an id that no key has."""
    prefix, _, rest = text.partition("_")
    key_id, _, secret = rest.partition("_")
    if prefix != _PREFIX or len(text) > MAX_KEY_CHARACTERS:
        key_id = secret = ""
    return key_id, sha256(secret.encode()).hexdigest()


def find_key(keys: dict[str, Key], text: str, now: datetime) -> Key | None:
    """The key of this text; None if it is unknown, wrong or expired. Takes as long for an unknown id."""
    key_id, secret_hash = split_key(text)
    key = keys.get(key_id)
    is_right = hmac.compare_digest(key.secret_hash if key else _NO_KEYS_HASH, secret_hash)
    if key is None or not is_right or (key.expires_at and key.expires_at <= now):
        return None
    return key


def seal(key: Key, text: str) -> str:
    """16 hexadecimal digits that show that the text was given to this key, or to one that it replaced."""
    return blake2b(text.encode(), digest_size=8, key=key.seal_secret).hexdigest()


_NO_KEYS_HASH = sha256(secrets.token_bytes()).hexdigest()

# ── The table ────────────────────────────────────────────────────────────────────────────────────────────────

_columns = api_keys.c
_state = case(
    (_columns.revoked_at.is_not(None), "revoked"),
    (_columns.replaced_by.is_not(None), "replaced"),
    (_columns.expires_at <= func.now(), "expired"),
    else_="active",
)
# As JSON, so that a value of which Python has none, such as an infinite time, is an error of its own row.
_json = func.to_jsonb(literal_column("api_keys")).op("||")(
    func.jsonb_build_object(literal_column("'state'"), cast(_state, Text))
)
_rows = select(cast(_json, Text), _columns.id, _columns.name, _columns.revoked_at.is_not(None))
_rows = _rows.order_by(_columns.created_at, _columns.id)
_decode = msgspec.json.Decoder(StoredKey).decode


def _read(json: str, key_id: str, name: str, is_revoked: bool) -> StoredKey | UnreadableKey:
    try:
        return _decode(json)
    except (msgspec.MsgspecError, ValueError) as error:
        return UnreadableKey(key_id, name, str(error), is_revoked)


_ROW: Any = args_row(_read)


def create_key(
    connection: psycopg.Connection, rights: Rights, *, lasts: timedelta | None = None, text: str | None = None
) -> str:
    """Stores a new key and returns its text, which is stored nowhere.

    Raises psycopg.errors.UniqueViolation if the given `text` is stored already.
    """
    text = text or new_key_text()
    key_id, secret_hash = split_key(text)
    values = {name: getattr(rights, name) for name in Rights.__struct_fields__}
    for array in ("scopes", "device_ids"):
        values[array] = None if values[array] is None else list(values[array])
    expires_at = None if lasts is None else func.now() + lasts
    run(connection, insert(api_keys).values(id=key_id, secret_hash=secret_hash, expires_at=expires_at, **values))
    return text


def rotate_key(
    connection: psycopg.Connection, key_id: str, *, overlap: timedelta, max_devices: int | None = None
) -> str:
    """Stores a key with the same rights and lifetime, and returns its text. The old one ends after the overlap.

    `max_devices`: another bound; None: the same. Raises KeyNotUsable. If the process ends here, both keys are changed
    or neither.
    """
    with connection.transaction():
        old = run(connection, _rows.where(_columns.id == key_id).with_for_update(), row=_ROW).fetchone()
        if old is None:
            raise KeyNotUsable(f"There is no key {key_id}.")
        if isinstance(old, UnreadableKey):
            raise KeyNotUsable(f"The key {key_id} is unreadable ({old.reason}); create a new one.")
        if old.state != "active":
            state = {"revoked": "is revoked", "expired": "has expired"}.get(
                old.state, f"was replaced by {old.replaced_by}"
            )
            raise KeyNotUsable(f"The key {key_id} {state}; create a new one.")
        lasts = old.expires_at - old.created_at if old.expires_at else None
        rights = msgspec.structs.replace(old, max_devices=max_devices or old.max_devices)
        text = create_key(connection, rights, lasts=lasts)
        ends_at = func.least(_columns.expires_at, func.now() + overlap)
        change = update(api_keys).values(replaced_by=split_key(text)[0], expires_at=ends_at)
        run(connection, change.where(_columns.id == key_id))
    return text


def revoke_key(connection: psycopg.Connection, key_id: str) -> bool:
    """Ends the key for good; False if it was revoked before. Raises KeyNotUsable if there is none."""
    change = update(api_keys).values(revoked_at=func.now())
    if run(connection, change.where(_columns.id == key_id, _columns.revoked_at.is_(None))).rowcount:
        return True
    if run(connection, select(_columns.id).where(_columns.id == key_id)).fetchone() is None:
        raise KeyNotUsable(f"There is no key {key_id}.")
    return False


def list_keys(connection: psycopg.Connection) -> list[StoredKey | UnreadableKey]:
    """Every key that was ever created, oldest first."""
    return run(connection, _rows, row=_ROW).fetchall()


def keys_version(connection: psycopg.Connection) -> tuple[int, int | None]:
    """Differs after every change of a key. A row's xmin is the transaction that wrote it, so that the sum grows."""
    return one(connection.execute("select count(*), sum(xmin::text::int8) from api_keys"))


def load_keys(connection: psycopg.Connection) -> dict[str, Key]:
    """Every key that is not revoked, by id. An unreadable one is logged and left out: no other key depends on it."""
    readable: dict[str, StoredKey] = {}
    for stored in list_keys(connection):
        if isinstance(stored, StoredKey):
            readable[stored.id] = stored
        elif not stored.is_revoked:
            log.error("key_unreadable", key_id=stored.id, reason=stored.reason)
    # By the rows' own links: the times of creation are in no order if the clock was set back.
    former = {stored.replaced_by: stored.id for stored in readable.values() if stored.replaced_by}
    return {
        key_id: _key(stored, readable[_first(key_id, former)])
        for key_id, stored in readable.items()
        if not stored.revoked_at
    }


def _first(key_id: str, former: dict[str, str]) -> str:
    """The first key of the chain of rotations that ends with this one; `former` has the key before, by key."""
    for _ in former:  # no more links, also if somebody made a circle of them
        key_id = former.get(key_id, key_id)
    return key_id


def _key(stored: StoredKey, owner: StoredKey) -> Key:
    rate, ids, prefix = stored.readings_per_second, stored.device_ids, stored.device_prefix
    burst = stored.readings_burst or max(1, round((rate or 0) * DEFAULT_BURST_SECONDS))
    return Key(
        id=stored.id,
        secret_hash=stored.secret_hash,
        scopes=frozenset(stored.scopes),
        binding=None if ids is None and prefix is None else Binding(frozenset(ids or ()), prefix),
        readings=Limit(rate, burst) if rate else None,
        requests_per_second=stored.requests_per_second,
        max_devices=stored.max_devices,
        expires_at=stored.expires_at,
        owner=owner.id,
        seal_secret=owner.secret_hash.encode(),
    )
