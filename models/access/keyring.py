"""The keys of a web process: all in memory, refreshed by a thread.

Every process refuses a revoked key within REFRESH_SECONDS and the time of one small query. While Postgres is
unavailable the last known keys stay valid, however long that takes: readings are accepted without Postgres, and must
not be lost because a key could not be looked up.
"""

import threading
import time
from datetime import UTC, datetime
from typing import Any

import psycopg
import structlog
from psycopg_pool import ConnectionPool, PoolClosed, PoolTimeout

from models.access.keys import Key, find_key, keys_version, load_keys
from models.causes import log_fields
from models.observability.threads import KEYS, WatchedThread, start_rounds

REFRESH_SECONDS = 2.0
# How long a request waits for the first keys, and a refresh for a connection.
WAIT_SECONDS = 2.0

log = structlog.get_logger()


class KeysUnknown(Exception):
    """The keys were never read: Postgres does not answer."""


class KeyRing:
    """Starts its thread at the first look-up, so that it may be made before a fork. Threads share it."""

    def __init__(self, database: ConnectionPool[Any]):
        self._database = database
        self._keys: dict[str, Key] | None = None
        self._version: tuple[int, int | None] | None = None
        self._read_at = time.monotonic()
        self._is_stale = False
        self._tried = threading.Event()  # set after the first refresh, even a failed one
        self._start = threading.Lock()
        self._thread: WatchedThread | None = None

    def find(self, text: str) -> Key | None:
        """The valid key of this text, if any. Waits only before the first keys are read. Raises KeysUnknown."""
        keys = self._wait_for_first_keys() if self._keys is None else self._keys
        return find_key(keys, text, datetime.now(UTC))

    def refresh(self) -> None:
        """Reads the keys if any has changed. If it raises psycopg.Error or PoolTimeout, the last ones stay."""
        with self._database.connection(timeout=WAIT_SECONDS) as connection:
            version = keys_version(connection)
            if version != self._version:
                self._keys, self._version = load_keys(connection), version
        self._read_at = time.monotonic()

    def _wait_for_first_keys(self) -> dict[str, Key]:
        with self._start:
            if self._thread is None:
                self._thread = start_rounds(
                    KEYS, self._keep_fresh, seconds=REFRESH_SECONDS, until=lambda: self._database.closed
                )
        self._tried.wait(WAIT_SECONDS)
        if self._keys is None:
            raise KeysUnknown("the keys were never read")
        return self._keys

    def _keep_fresh(self) -> bool:
        """One round of the thread; whether the keys were read."""
        try:
            self.refresh()
        except PoolClosed:
            return False
        except (psycopg.Error, PoolTimeout) as error:
            self._log_stale(error)
            return False
        finally:
            self._tried.set()
        if self._is_stale:
            log.info("keys_fresh_again")
        self._is_stale = False
        return True

    def _log_stale(self, error: Exception) -> None:
        """Logs each failed refresh: an operator who revokes a key meanwhile must see that it stays valid."""
        self._is_stale = True
        age = round(time.monotonic() - self._read_at, 1)
        log.warning("keys_stale", seconds=age, **log_fields(error))
