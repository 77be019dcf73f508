"""The output of all programs on one terminal, each line with its program's name in front.

supervisord writes their output to log files, which are followed here. So a slow or stopped (Ctrl-S) terminal blocks
no program, and no output is lost at the end. Lines of every start are left out, see quiet.py.
"""

import os
import queue
import signal
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import BinaryIO

from rich.console import Console
from rich.text import Text

from devstack.quiet import Quiet

POLL_SECONDS = 0.1
DRAIN_SECONDS = 2  # at the end, for a slow terminal
OWN_NAME = "devstack"
COLOWN_NAME = ["cyan", "green", "magenta", "yellow", "blue", "bright_cyan", "bright_green", "bright_magenta"]


class LogFile:
    """A log file, read from its current end on and across rotations."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._file: BinaryIO = path.open("ab+")  # creates it, at its end
        self._rest = b""

    def lines(self) -> Iterator[str]:
        """The complete lines since the last call."""
        yield from self._added()
        if self._is_rotated():
            self._file.close()
            self._file = self._path.open("rb")
            yield from self._added()

    def rest(self) -> str:
        """The text after the last complete line."""
        return self._rest.decode(errors="replace")

    def _added(self) -> Iterator[str]:
        *lines, self._rest = (self._rest + self._file.read()).split(b"\n")
        yield from (line.decode(errors="replace").rstrip("\r") for line in lines)

    def _is_rotated(self) -> bool:
        try:
            return os.stat(self._path).st_ino != os.fstat(self._file.fileno()).st_ino
        except FileNotFoundError:  # renamed, and not created again yet
            return False


class Output:
    """The terminal that all programs share. Only a thread of this class writes to it, since a write may block."""

    def __init__(self, log: Path, programs: list[str], translate: Callable[[str], str | None]) -> None:
        """`translate` returns the text to show for a line of supervisord's own log, or None."""
        names = [OWN_NAME, *programs]
        self._width = max(map(len, names))
        self._colours = dict(zip(names, COLOWN_NAME, strict=False))
        self._console = Console(highlight=False, markup=False, emoji=False, soft_wrap=True)
        self._logs = {name: LogFile(log / f"{name}.log") for name in programs}
        self._supervisord = LogFile(log / "supervisord.log")
        self._translate = translate
        self._quiet = Quiet()
        self._awaited: list[tuple[str, str, threading.Event]] = []
        self._queue: queue.SimpleQueue[Text] = queue.SimpleQueue()
        self._over = threading.Event()
        self._follower = threading.Thread(target=self._follow, name="output", daemon=True)

    def __enter__(self) -> "Output":
        self._follower.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self._follower.join(DRAIN_SECONDS)

    def say(self, text: str) -> None:
        """Shows a line of devstack itself."""
        self.line(OWN_NAME, text)

    def expect(self, program: str, text: str) -> threading.Event:
        """An event that is set once the program logs a line with the text."""
        event = threading.Event()
        self._awaited.append((program, text, event))
        return event

    def line(self, program: str, text: str) -> None:
        """Shows a line of a program."""
        self._queue.put(self._named(program, text))

    def plain(self, text: str) -> None:
        """Shows a line without a name in front, so that it can be copied."""
        self._queue.put(Text(text))

    def _follow(self) -> None:
        try:
            while not self._over.wait(POLL_SECONDS):
                self._show()
            self._show()
            for program, log in self._logs.items():
                if unfinished := log.rest():
                    self._console.print(self._named(program, unfinished))
        except SystemExit:  # from rich, if the reader of a pipe has closed it (`make up | head`)
            os.kill(os.getpid(), signal.SIGTERM)

    def _show(self) -> None:
        while not self._queue.empty():
            self._console.print(self._queue.get())
        for program, log in self._logs.items():
            for line in log.lines():
                if self._quiet.shows(program, line):
                    self._console.print(self._named(program, line))
                for awaited_program, text, event in self._awaited:
                    if awaited_program == program and text in line:
                        event.set()
        for line in self._supervisord.lines():
            if news := self._translate(line):
                self._console.print(self._named(OWN_NAME, news))
        if summary := self._quiet.summary():
            self._console.print(self._named(OWN_NAME, summary))

    def _named(self, program: str, text: str) -> Text:
        colour = self._colours.get(program, "white")
        return Text.assemble((f"{program:<{self._width}} | ", colour), text)
