"""The keys as a web process knows them: all in memory, brought up to date behind the requests.

A revoked key is refused by every process after REFRESH_SECONDS and the time of one small query. While Postgres is
away the last known keys go on, for however long: readings are taken without Postgres, and a device must not lose
them for a key that nobody could look up.
"""

import threading
import time
from datetime import UTC, datetime
from typing import Any

import psycopg
import structlog
from psycopg_pool import ConnectionPool, PoolClosed, PoolTimeout

from models.access.keys import Key, find_key, keys_version, load_keys

REFRESH_SECONDS = 2.0
# A request that comes before the keys are known waits so long for them; and a look-up for a connection.
WAIT_SECONDS = 2.0

log = structlog.get_logger()


class KeysUnknown(Exception):
    """The keys were not read yet, and Postgres does not answer."""


class KeyRing:
    """Starts its thread at the first question: after a fork. Safe to share between threads."""

    def __init__(self, database: ConnectionPool[Any]):
        self._database = database
        self._keys: dict[str, Key] | None = None
        self._version: tuple | None = None
        self._read_at = time.monotonic()
        self._is_stale = False
        self._asked = threading.Event()
        self._closed = threading.Event()
        self._start = threading.Lock()
        self._thread: threading.Thread | None = None

    def find(self, text: str) -> Key | None:
        """The usable key of this text, if any. Raises KeysUnknown; never waits but for the first keys."""
        if self._keys is None:
            self._wait_for_the_first()
        return find_key(self._keys, text, datetime.now(UTC))

    def refresh(self) -> None:
        """Reads the keys where any has changed. Raises psycopg.Error or PoolTimeout; then they stay as they were."""
        with self._database.connection(timeout=WAIT_SECONDS) as connection:
            version = keys_version(connection)
            if version != self._version:
                self._keys, self._version = load_keys(connection), version
        self._read_at = time.monotonic()

    def close(self) -> None:
        self._closed.set()

    def _wait_for_the_first(self) -> None:
        with self._start:
            if self._thread is None:
                self._thread = threading.Thread(target=self._keep_fresh, name="keyring", daemon=True)
                self._thread.start()
        self._asked.wait(WAIT_SECONDS)
        if self._keys is None:
            raise KeysUnknown("the keys were never read")

    def _keep_fresh(self) -> None:
        while True:
            try:
                self.refresh()
            except PoolClosed:
                return
            except (psycopg.Error, PoolTimeout) as error:
                self._tell_stale(error)
            else:
                if self._is_stale:
                    log.info("keys_fresh_again")
                self._is_stale = False
            self._asked.set()
            if self._closed.wait(REFRESH_SECONDS):
                return

    def _tell_stale(self, error: Exception) -> None:
        """Each time: whoever revokes a key now must learn that it goes on."""
        self._is_stale = True
        age = round(time.monotonic() - self._read_at, 1)
        log.warning("keys_stale", seconds=age, error=type(error).__name__, reason=str(error).strip())
