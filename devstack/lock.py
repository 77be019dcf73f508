"""One stack per folder: a lock that is held until the last process of a stack has ended."""

import contextlib
import fcntl
import os
from collections.abc import Iterator
from pathlib import Path

from devstack import StackError
from devstack.supervision import CLOSED_FILES


@contextlib.contextmanager
def held(home: Path) -> Iterator[int]:
    """Locks the folder; yields the lock's file descriptor, for the stack's processes to inherit.

    The kernel keeps the lock while one of them runs. So if this process is killed, the next start cannot open the
    append-only file with a second Redis. Raises StackError if another stack has the lock.
    """
    file = os.open(home / "lock", os.O_RDWR | os.O_CREAT, 0o600)
    lock = fcntl.fcntl(file, fcntl.F_DUPFD_CLOEXEC, CLOSED_FILES)
    os.close(file)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        os.truncate(lock, 0)
        os.write(lock, f"{os.getpid()}\n".encode())
        yield lock
    except BlockingIOError:
        owner = os.read(lock, 20).decode().strip()
        raise StackError(f"a stack runs in {home} already, or is still stopping (started as process {owner})") from None
    finally:
        os.close(lock)
