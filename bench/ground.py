"""The servers of a run: in a folder on a disk with enough room, without the shell's settings, with schema and key."""

import contextlib
import dataclasses
import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import psutil

import devstack.settings
from bench import BenchError
from bench.stack import Stack
from devstack import StackError, postgres_server, programs, redis_server, server
from models.settings import Settings

DEPLOYED = {
    "SIMULATE": "0",
    "WEB_WORKERS": "2",
    "WORKER_CONCURRENCY": "2",
    "AUTH": "required",
    "LOG_FORMAT": "json",
    "LOG_REQUESTS": "all",
}
MEMORY_FILESYSTEMS = {"tmpfs", "ramfs"}


@contextlib.contextmanager
def running(needs_gib: float) -> Iterator[Stack]:
    """The servers, with the schema at head and a key with all scopes; stopped and deleted at the end.

    Raises BenchError if the disk has less than `needs_gib` free, or if something does not start.
    """
    home = Path(tempfile.mkdtemp(prefix="energy-bench-", dir=disk(needs_gib)))
    home.chmod(0o755)  # if this is root, Postgres runs as another user
    try:
        for folder in ("log", "run"):
            (home / folder).mkdir()
        remove_settings()
        os.environ.update(DEPLOYED | {"ENERGY_HOME": str(home)})
        with (
            server.running(postgres_server.prepare(home)) as database_url,
            server.running(redis_server.prepare(home, devstack.settings.read().redis_maxmemory)) as redis_url,
        ):
            stack = Stack(home, database_url, redis_url)
            try:
                _prepare(stack)
                yield stack
            finally:
                stack.stop()
    except StackError as error:
        raise BenchError(str(error)) from None
    finally:
        shutil.rmtree(home, ignore_errors=True)


def disk(needs_gib: float) -> Path:
    """A folder on a disk with that much room: $ENERGY_HOME, else that of temporary files, else the checkout.

    Raises BenchError if there is none.
    """
    chosen = os.environ.get("ENERGY_HOME")
    folders = [chosen] if chosen else [tempfile.gettempdir(), "/var/tmp", str(programs.ROOT)]
    why = []
    for folder in map(Path, folders):
        folder.mkdir(parents=True, exist_ok=True)
        free_gib = psutil.disk_usage(str(folder)).free / 2**30
        if filesystem(folder) in MEMORY_FILESYSTEMS:
            why.append(f"{folder} is in memory")
        elif free_gib < needs_gib:
            why.append(f"{folder} has {free_gib:.1f} GiB")
        else:
            return folder
    raise BenchError(f"needs {needs_gib:g} GiB on a disk: {', '.join(why)}. Set ENERGY_HOME to a folder with room")


def filesystem(folder: Path) -> str:
    mounts = {part.mountpoint: part.fstype for part in psutil.disk_partitions(all=True)}
    return next(
        (mounts[str(above)] for above in (folder.resolve(), *folder.resolve().parents) if str(above) in mounts), ""
    )


def remove_settings() -> None:
    """Settings of the shell must not change the figures."""
    ours = {field.name.upper() for kind in (Settings, devstack.settings.Settings) for field in dataclasses.fields(kind)}
    for name in ours | {"ENERGY_HOME", "ENERGY_API_URL", "ENERGY_API_KEY", "WEB_HOST", "PGPASSWORD"}:
        if name not in ("HOME", "HOST"):  # these are the shell's
            os.environ.pop(name, None)


def _prepare(stack: Stack) -> None:
    stack.engine()
    stack.command([*programs.PYTHON, "alembic", "upgrade", "head"])
    scopes = [word for scope in ("ingest", "read", "admin") for word in ("--scope", scope)]
    stack.key = stack.energy("keys", "create", "--name", "bench", *scopes).strip()
