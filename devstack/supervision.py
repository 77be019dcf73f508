"""Runs the programs under supervisord, which restarts them after a crash and stops them in order."""

import contextlib
import os
import re
import shlex
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
import xmlrpc.client
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

from supervisor.xmlrpc import SupervisorTransport

from devstack import StackError
from devstack.programs import Program
from devstack.server import bound_to_parent

SOCKET_PATH_BYTES = 90  # limit: 107 on Linux, 103 on macOS; supervisord appends its PID while it starts
# supervisord polls once a second, so a program takes up to two seconds longer than its stop_seconds. After this time
# supervisord is killed, and the remaining programs get their stop signals at once.
STOP_SECONDS = 29
REPEAT_SECONDS = 600  # until the same error is shown again
# supervisord closes file descriptors below this number, also for its children. That of the lock is above.
CLOSED_FILES = 64


class Supervisor:
    """A running supervisord. It knows the programs from its configuration and starts each on request."""

    def __init__(self, process: subprocess.Popen[bytes], socket: Path) -> None:
        self.process = process
        self._socket = socket

    @property
    def _rpc(self) -> Any:
        # A new one for each call: a transport is unusable after an error. ServerProxy has no unix sockets, so its URL
        # is never used.
        transport = SupervisorTransport(serverurl=f"unix://{self._socket}")
        return xmlrpc.client.ServerProxy("http://localhost", transport).supervisor

    def start(self, program: str) -> None:
        """Starts the program and keeps it running from now on; does not wait for it."""
        self._rpc.startProcess(program, False)

    def is_failing(self, program: str) -> bool:
        """Whether the program ended soon after its start and waits for a restart."""
        return self._rpc.getProcessInfo(program)["statename"] == "BACKOFF"

    def answers(self) -> bool:
        try:
            return bool(self._rpc.getState())
        except OSError:  # its socket does not exist yet
            return False


@contextlib.contextmanager
def supervised(
    home: Path, programs: list[Program], environment: dict[str, str], lock: int, say: Callable[[str], None]
) -> Iterator[Supervisor]:
    """supervisord with these programs, stopped in reverse order on exit, within half a minute. `say` shows its errors.

    If this process is killed, supervisord gets a SIGTERM and stops all in order. If supervisord is killed, each program
    gets its own stop signal. (Both on Linux only.)
    """
    socket = home / "run/supervisor.sock"
    if len(os.fsencode(socket)) > SOCKET_PATH_BYTES:
        socket = Path(tempfile.mkdtemp(prefix="energy-")) / "supervisor.sock"
    config = home / "supervisord.conf"
    config.write_text(configuration(home, socket, programs))
    command = [sys.executable, "-m", "supervisor.supervisord", "-n", "-c", str(config)]
    process = subprocess.Popen(  # noqa: S603 (a fixed command)
        bound_to_parent(command, signal.SIGTERM),
        env=environment,
        stdin=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        pass_fds=[lock],
        process_group=0,  # Ctrl-C goes to this process only, which then stops the others
    )
    threading.Thread(target=_show_errors, args=(process.stderr, say), name="supervisord", daemon=True).start()
    try:
        supervisor = Supervisor(process, socket)
        while not supervisor.answers():
            if process.poll() is not None:
                raise StackError(f"supervisord did not start (exit status {process.returncode})")
            time.sleep(0.05)
        yield supervisor
    finally:
        process.terminate()
        try:
            process.wait(STOP_SECONDS)
        except subprocess.TimeoutExpired:
            process.kill()
        if socket.parent != home / "run":
            shutil.rmtree(socket.parent, ignore_errors=True)


def _show_errors(lines: Iterable[bytes], say: Callable[[str], None]) -> None:
    """supervisord prints a traceback for each line that it can't write to a log; one in ten minutes is shown."""
    shown: dict[str, float] = {}
    is_logging = False
    for raw in lines:
        line = raw.decode(errors="replace").rstrip()
        if line.startswith(("Traceback", " ")):
            is_logging = True
        elif time.monotonic() - shown.get(line, -REPEAT_SECONDS) >= REPEAT_SECONDS:
            shown[line] = time.monotonic()
            say(f"logs are incomplete ({line})" if is_logging else line)


def configuration(home: Path, socket: Path, programs: list[Program]) -> str:
    """supervisord.conf for the programs; the first is stopped last."""
    sections: dict[str, dict[str, Any]] = {
        "supervisord": {
            "logfile": home / "log/supervisord.log",
            "logfile_maxbytes": "1MB",
            "logfile_backups": 1,
            "pidfile": home / "run/supervisord.pid",
            "childlogdir": home / "log",
            "silent": "true",
            "minfds": CLOSED_FILES,
            **({"user": "root"} if os.geteuid() == 0 else {}),  # without it supervisord warns
        },
        "unix_http_server": {"file": socket, "chmod": "0700"},
        "supervisorctl": {"serverurl": f"unix://{socket}"},
        "rpcinterface:supervisor": {
            "supervisor.rpcinterface_factory": "supervisor.rpcinterface:make_main_rpcinterface"
        },
    }
    for priority, program in enumerate(programs, start=1):
        sections[f"program:{program.name}"] = {
            "command": shlex.join(bound_to_parent(program.argv, program.stop_signal)),
            "directory": program.directory,
            "priority": priority,
            "autostart": "false",
            "autorestart": "true",
            "startsecs": 5,  # a program that ends sooner is restarted after 1, 2, 3 … seconds, else at once
            "startretries": 1_000_000_000,  # only a requested stop ends the stack
            "stopsignal": program.stop_signal.name.removeprefix("SIG"),
            "stopwaitsecs": program.stop_seconds,
            "killasgroup": "true",
            "redirect_stderr": "true",
            "stdout_logfile": home / f"log/{program.name}.log",
            "stdout_logfile_maxbytes": "10MB",
            "stdout_logfile_backups": 2,
            **({"user": program.user} if program.user else {}),
        }
    lines = []
    for section, options in sections.items():
        lines.append(f"[{section}]")
        for name, value in options.items():
            if re.search(r"%|\s[;#]|\n", str(value)):  # read as a placeholder or comment
                raise StackError(f"supervisord cannot work with '%', ' ;' or ' #' in a folder's name: {value}")
            lines.append(f"{name}={value}")
    return "\n".join(lines) + "\n"


class Events:
    """Translates supervisord's log for the terminal.

    The log names the cause of an exit; supervisord's event listeners do not get it.
    """

    SPAWNED = re.compile(r"spawned: '(\S+)' with pid (\d+)")
    EXITED = re.compile(r"exited: (\S+) \((.*); (?:not )?expected\)")
    STOPPED = re.compile(r"stopped: (\S+) \(")
    KILLED = re.compile(r"killing '(\S+)' \(\d+\) with SIGKILL")
    TROUBLE = re.compile(r" (?:ERRO|INFO spawnerr:) (.*)")

    def __init__(self) -> None:
        self._pids: dict[str, int] = {}

    def translate(self, line: str) -> str | None:
        """The text for a line of the log; None if it is not worth showing."""
        if match := self.SPAWNED.search(line):
            self._pids[match[1]] = int(match[2])
        elif match := self.EXITED.search(line):
            self._end_orphans(match[1])
            return f"{match[1]} ended ({match[2]}); restarting it"
        elif match := self.STOPPED.search(line):
            self._end_orphans(match[1])
            return f"{match[1]} stopped"
        elif match := self.KILLED.search(line):
            # supervisord may log it twice; only the first is shown.
            return f"{match[1]} did not stop in time: killed" if self._pids.pop(match[1], None) else None
        elif match := self.TROUBLE.search(line):
            return match[1]
        return None

    def _end_orphans(self, program: str) -> None:
        # The processes of granian outlive a killed parent and continue to serve. supervisord makes each program the
        # leader of a process group, so they can be found.
        if pid := self._pids.pop(program, None):
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.killpg(pid, signal.SIGKILL)
