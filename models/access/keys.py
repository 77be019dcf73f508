"""API keys. A key is `eie_<id>_<secret>`: the id finds it, the secret proves it. Only the secret's hash is kept.

The hash is a plain SHA-256: the secret is 32 random bytes, which no number of guesses finds, so a slow hash would
cost every request and protect nothing.
"""

import hmac
import secrets
from dataclasses import dataclass
from datetime import datetime, timedelta
from hashlib import sha256

import psycopg
from psycopg.rows import dict_row

from models.access.bindings import Binding
from models.access.limits import Limit

INGEST, READ, ADMIN = SCOPES = ("ingest", "read", "admin")

_MARK = "eie"
_ID_BYTES = 6  # twelve hexadecimal digits
_SECRET_BYTES = 32
MAX_KEY_CHARACTERS = 128
# What a bucket holds where nobody said: a minute's readings, for devices that send once a minute.
DEFAULT_BURST_SECONDS = 60

_RIGHTS = """name, scopes, device_ids, device_prefix, readings_per_second, readings_burst, requests_per_second"""


class KeyNotUsable(Exception):
    """There is no such key, or it is not one that can be rotated; the message says which."""


@dataclass(frozen=True, slots=True)
class Key:
    """A key that was not revoked, with its rights."""

    id: str
    secret_hash: str
    scopes: frozenset[str]
    binding: Binding | None  # None: every device
    readings: Limit | None  # None: no limit
    requests_per_second: float | None  # None: as the settings say
    expires_at: datetime | None
    owner: str  # the first of the keys that replaced each other: their buckets and Idempotency-Keys are one

    def allows(self, scopes: tuple[str, ...]) -> bool:
        """Whether it has one of the scopes; admin has all."""
        return ADMIN in self.scopes or not self.scopes.isdisjoint(scopes)


@dataclass(frozen=True, slots=True)
class Rights:
    """What a new key is given."""

    name: str
    scopes: tuple[str, ...]
    device_ids: tuple[str, ...] | None = None
    device_prefix: str | None = None
    readings_per_second: float | None = None
    readings_burst: int | None = None
    requests_per_second: float | None = None


# ── The text of a key ────────────────────────────────────────────────────────────────────────────────────────


def new_key_text() -> str:
    return f"{_MARK}_{secrets.token_hex(_ID_BYTES)}_{secrets.token_urlsafe(_SECRET_BYTES)}"


def split_key(text: str) -> tuple[str, str]:
    """Id and hash of the secret; of what is no key, an id that no key has."""
    mark, _, rest = text.partition("_")
    key_id, _, secret = rest.partition("_")
    if mark != _MARK or len(text) > MAX_KEY_CHARACTERS:
        key_id = secret = ""
    return key_id, sha256(secret.encode()).hexdigest()


def find_key(keys: dict[str, Key], text: str, now: datetime) -> Key | None:
    """The key of this text, None where there is none or its time is over. Takes as long for an unknown id."""
    key_id, secret_hash = split_key(text)
    key = keys.get(key_id)
    is_right = hmac.compare_digest(key.secret_hash if key else _NOBODYS_HASH, secret_hash)
    if key is None or not is_right or (key.expires_at and key.expires_at <= now):
        return None
    return key


_NOBODYS_HASH = sha256(secrets.token_bytes()).hexdigest()

# ── The table ────────────────────────────────────────────────────────────────────────────────────────────────


def create_key(
    connection: psycopg.Connection, rights: Rights, *, lasts: timedelta | None = None, text: str | None = None
) -> str:
    """Stores a new key and returns its text, which is kept nowhere.

    Raises psycopg.errors.UniqueViolation where the `text` given is stored already.
    """
    text = text or new_key_text()
    key_id, secret_hash = split_key(text)
    connection.execute(
        f"""insert into api_keys (id, secret_hash, expires_at, {_RIGHTS})
            values (%s, %s, now() + %s, %s, %s, %s, %s, %s, %s, %s)""",
        [
            *(key_id, secret_hash, lasts),
            *(rights.name, list(rights.scopes), _array(rights.device_ids), rights.device_prefix),
            *(rights.readings_per_second, rights.readings_burst, rights.requests_per_second),
        ],
    )
    return text


def _array(values: tuple[str, ...] | None) -> list[str] | None:
    return None if values is None else list(values)


def rotate_key(connection: psycopg.Connection, key_id: str, *, overlap: timedelta) -> str:
    """Stores a key with the rights of this one, for as long a time, and returns its text.

    This one ends with the overlap. Raises KeyNotUsable. If the process dies here, both are changed or neither.
    """
    text = new_key_text()
    new_id, secret_hash = split_key(text)
    with connection.transaction():
        row = connection.execute(
            """select revoked_at is not null, expires_at <= now(), replaced_by from api_keys
               where id = %s for update""",
            [key_id],
        ).fetchone()
        if row is None:
            raise KeyNotUsable(f"There is no key {key_id}.")
        revoked, expired, replaced_by = row
        if revoked or expired or replaced_by:
            state = "is revoked" if revoked else f"was replaced by {replaced_by}" if replaced_by else "has expired"
            raise KeyNotUsable(f"The key {key_id} {state}; create a new one.")
        connection.execute(
            f"""insert into api_keys (id, secret_hash, expires_at, {_RIGHTS})
                select %s, %s, now() + (expires_at - created_at), {_RIGHTS} from api_keys where id = %s""",
            [new_id, secret_hash, key_id],
        )
        connection.execute(
            "update api_keys set replaced_by = %s, expires_at = least(expires_at, now() + %s) where id = %s",
            [new_id, overlap, key_id],
        )
    return text


def revoke_key(connection: psycopg.Connection, key_id: str) -> bool:
    """Ends the key for good; False where it was revoked before. Raises KeyNotUsable where there is none."""
    row = connection.execute("select revoked_at is not null from api_keys where id = %s", [key_id]).fetchone()
    if row is None:
        raise KeyNotUsable(f"There is no key {key_id}.")
    connection.execute("update api_keys set revoked_at = now() where id = %s and revoked_at is null", [key_id])
    return not row[0]


def list_keys(connection: psycopg.Connection) -> list[dict]:
    """Every key ever made and its state (active, replaced, expired, revoked), without the secret, oldest first."""
    return (
        connection.cursor(row_factory=dict_row)
        .execute(
            f"""select id, {_RIGHTS}, created_at, expires_at, revoked_at, replaced_by,
                  case when revoked_at is not null then 'revoked' when replaced_by is not null then 'replaced'
                       when expires_at <= now() then 'expired' else 'active' end as state
                from api_keys order by created_at, id"""
        )
        .fetchall()
    )


def keys_version(connection: psycopg.Connection) -> tuple:
    """Another one after every change of a key. A row's xmin is the transaction that wrote it, so it only grows."""
    return connection.execute("select count(*), sum(xmin::text::int8) from api_keys").fetchone()


def load_keys(connection: psycopg.Connection) -> dict[str, Key]:
    """Every key that was not revoked, by id."""
    rows = (
        connection.cursor(row_factory=dict_row)
        .execute(
            f"""select id, secret_hash, expires_at, revoked_at, replaced_by, {_RIGHTS}
                from api_keys order by created_at, id"""
        )
        .fetchall()
    )
    keys, owners = {}, {}
    for row in rows:
        owner = owners.get(row["id"], row["id"])
        if row["replaced_by"]:
            owners[row["replaced_by"]] = owner
        if not row["revoked_at"]:
            keys[row["id"]] = _key(row, owner)
    return keys


def _key(row: dict, owner: str) -> Key:
    rate, ids, prefix = row["readings_per_second"], row["device_ids"], row["device_prefix"]
    burst = row["readings_burst"] or max(1, round((rate or 0) * DEFAULT_BURST_SECONDS))
    return Key(
        id=row["id"],
        secret_hash=row["secret_hash"],
        scopes=frozenset(row["scopes"]),
        binding=None if ids is None and prefix is None else Binding(frozenset(ids or ()), prefix),
        readings=Limit(rate, burst) if rate else None,
        requests_per_second=row["requests_per_second"],
        expires_at=row["expires_at"],
        owner=owner,
    )
