"""One embedded server: how to run it, whether it answers, and a context that runs it without supervisord."""

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

from devstack import StackError, private

ANSWER_SECONDS = 2
STOP_SECONDS = 10
# Recovery after a crash may replay a long log; after this time the start has failed.
RECOVERY_SECONDS = 600


@dataclass(frozen=True)
class Server:
    name: str
    url: str
    argv: list[str]
    directory: Path
    stop_signal: signal.Signals
    user: str | None = None  # the system user to run as; None: the current one


@contextlib.contextmanager
def running(server: Server) -> Iterator[str]:
    """Runs the server as a child process, yields its URL once it answers, and stops it on exit; the data is kept.

    Raises StackError with the last line of its log if it does not start.
    """
    log = server.directory.with_suffix(".log")
    with log.open("ab") as output:
        process = subprocess.Popen(  # noqa: S603 (a fixed command)
            bound_to_parent(server.argv, server.stop_signal),
            cwd=server.directory,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,  # Ctrl-C goes to the caller only, which then stops the server
            umask=private.PRIVATE,
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
    """Returns once the server at the URL answers. Raises StackError once `failed()`, or after `seconds`."""
    deadline = time.monotonic() + seconds
    while reason := unreachable(url):
        if failed() or time.monotonic() > deadline:
            raise StackError(f"{name} does not answer: {reason}")
        time.sleep(0.1)


def unreachable(url: str) -> str | None:
    """Why the Postgres or Redis at the URL does not answer, in one line; None if it answers.

    Raises StackError if this is not the URL of a server.
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
    """The URL in the form of psql and psycopg: without SQLAlchemy's driver name."""
    return sqlalchemy.make_url(url).set(drivername="postgresql").render_as_string(hide_password=False)


def remembered_port(file: Path) -> int:
    """The loopback port stored in the file, if it is still free; else a free one, which is then stored.

    With the same port, programs in other terminals find the stack again after a restart.
    """
    for port in (int(file.read_text()) if file.exists() else 0, 0):
        if chosen := free_port("127.0.0.1", port):
            file.write_text(str(chosen))
            return chosen
    raise StackError("there is no free port on 127.0.0.1")


def free_port(host: str, port: int) -> int | None:
    """The port, if no program listens there (0: any free one); None if it is in use."""
    with socket.socket() as listener:
        # As servers do: ignores connections of an earlier run in TIME_WAIT.
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            listener.bind((host, port))
            listener.listen()
        except OSError:
            return None
        bound: int = listener.getsockname()[1]
        return bound


def as_user(user: str | None) -> dict[str, Any]:
    """Arguments of subprocess that run a command as that system user; None: as the current one."""
    return {"user": user, "group": user, "extra_groups": []} if user else {}


def bound_to_parent(argv: list[str], stop_signal: signal.Signals) -> list[str]:
    """The command, started so that Linux sends it the signal when its parent ends, even by kill -9."""
    setpriv = shutil.which("setpriv") if os.uname().sysname == "Linux" else None
    return [setpriv, "--pdeathsig", stop_signal.name.removeprefix("SIG"), *argv] if setpriv else argv
