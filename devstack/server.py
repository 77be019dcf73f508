"""One embedded server: how to run it, whether it answers, and running it for a while without supervisord."""

import contextlib
import os
import shutil
import signal
import socket
import subprocess
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psycopg
import redis
import sqlalchemy
from redis.backoff import NoBackoff
from redis.retry import Retry

from devstack import StackError

ANSWER_SECONDS = 2
STOP_SECONDS = 10
# Recovery after a crash may replay a lot of log; it is given this long before the start is called failed.
RECOVERY_SECONDS = 600


@dataclass(frozen=True)
class Server:
    name: str
    url: str
    argv: list[str]
    directory: Path
    stop_signal: signal.Signals
    user: str | None = None  # the system user to run as; None: whoever starts it


@contextlib.contextmanager
def running(server: Server) -> Iterator[str]:
    """Run the server as our child and yield its URL once it answers; stop it, its data kept, on leaving.

    Raises StackError, with the server's last words, where it does not come up.
    """
    log = server.directory.with_suffix(".log")
    with log.open("ab") as output:
        process = subprocess.Popen(  # noqa: S603 (our own command)
            bound_to_parent(server.argv, server.stop_signal),
            cwd=server.directory,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,  # a Ctrl-C in the terminal is for the caller, which then stops the server
            **as_user(server.user),
        )
    try:
        wait_until_answering(server.name, server.url, lambda: process.poll() is not None)
        yield server.url
    except StackError as error:
        raise StackError(f"{error} ({log.read_text(errors='replace').strip().splitlines()[-1:]})") from None
    finally:
        process.send_signal(server.stop_signal)
        try:
            process.wait(STOP_SECONDS)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def wait_until_answering(name: str, url: str, failed: Callable[[], bool], seconds: float = RECOVERY_SECONDS) -> None:
    """Return once the server at the URL answers; StackError once `failed()`, or after so many seconds."""
    deadline = time.monotonic() + seconds
    while reason := unreachable(url):
        if failed() or time.monotonic() > deadline:
            raise StackError(f"{name} does not answer: {reason}")
        time.sleep(0.1)


def unreachable(url: str) -> str | None:
    """Why the Postgres or Redis at the URL does not answer, in one line; None where it does.

    Raises StackError for what is no such URL at all.
    """
    try:
        if url.startswith("postgres"):
            with psycopg.connect(libpq_url(url), connect_timeout=ANSWER_SECONDS):
                return None
        timeouts = {"socket_connect_timeout": ANSWER_SECONDS, "socket_timeout": ANSWER_SECONDS}
        with redis.Redis.from_url(url, retry=Retry(NoBackoff(), 0), **timeouts) as client:
            client.ping()
        return None
    except (psycopg.OperationalError, redis.RedisError, OSError) as error:
        return str(error).splitlines()[0]
    except (psycopg.ProgrammingError, sqlalchemy.exc.ArgumentError, ValueError) as error:
        raise StackError(f'"{url}" is not the URL of a server: {str(error).splitlines()[0]}') from None


def libpq_url(url: str) -> str:
    """The URL as psql and psycopg take it: without SQLAlchemy's driver name."""
    return sqlalchemy.make_url(url).set(drivername="postgresql").render_as_string(hide_password=False)


def remembered_port(file: Path) -> int:
    """The loopback port noted in the file, if it is still free; else a free one, which is noted there.

    Keeping the port lets what was started in another terminal, with the address it had, find the stack again.
    """
    for port in (int(file.read_text()) if file.exists() else 0, 0):
        if chosen := free_port("127.0.0.1", port):
            file.write_text(str(chosen))
            return chosen
    raise StackError("there is no free port on 127.0.0.1")


def free_port(host: str, port: int) -> int | None:
    """The port, if nothing listens there (0: any that is free); None if it is taken."""
    with socket.socket() as listener:
        # As servers do it: connections of an earlier run that linger in TIME_WAIT are no obstacle.
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            listener.bind((host, port))
            listener.listen()
        except OSError:
            return None
        return listener.getsockname()[1]


def as_user(user: str | None) -> dict[str, Any]:
    """Arguments of subprocess that run a command as that system user; None: as our own."""
    return {"user": user, "group": user, "extra_groups": []} if user else {}


def bound_to_parent(argv: list[str], stop_signal: signal.Signals) -> list[str]:
    """The command, such that Linux sends it the signal when its parent dies, were it by kill -9."""
    setpriv = shutil.which("setpriv") if os.uname().sysname == "Linux" else None
    return [setpriv, "--pdeathsig", stop_signal.name.removeprefix("SIG"), *argv] if setpriv else argv
