"""What the programs print, on one terminal: each line with its program's name in front.

supervisord writes what they print into log files, and those are followed here. So a terminal that is slow,
or stopped with Ctrl-S, holds nothing up, and nothing is lost at the end.
"""

import os
import queue
import signal
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

from rich.console import Console
from rich.text import Text

POLL_SECONDS = 0.1
DRAIN_SECONDS = 2  # at the end, for a terminal that does not take it
OURS = "devstack"
COLOURS = ["cyan", "green", "magenta", "yellow", "blue", "bright_cyan", "bright_green", "bright_magenta"]


class LogFile:
    """A log file from its present end on, across its rotation."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._file = path.open("ab+")  # makes it and goes to its end
        self._rest = b""

    def lines(self) -> Iterator[str]:
        """The whole lines that were added since the last call."""
        yield from self._added()
        if self._is_rotated():
            self._file.close()
            self._file = self._path.open("rb")
            yield from self._added()

    def rest(self) -> str:
        """What was added after the last whole line."""
        return self._rest.decode(errors="replace")

    def _added(self) -> Iterator[str]:
        *lines, self._rest = (self._rest + self._file.read()).split(b"\n")
        yield from (line.decode(errors="replace").rstrip("\r") for line in lines)

    def _is_rotated(self) -> bool:
        try:
            return os.stat(self._path).st_ino != os.fstat(self._file.fileno()).st_ino
        except FileNotFoundError:  # renamed, and the new one not made yet
            return False


class Output:
    """The terminal, shared by all programs, while entered. Only its own thread writes to it, and may get stuck."""

    def __init__(self, log: Path, programs: list[str], translate: Callable[[str], str | None]) -> None:
        """`translate`: what to say about a line of supervisord's own log, if anything."""
        names = [OURS, *programs]
        self._width = max(map(len, names))
        self._colours = dict(zip(names, COLOURS, strict=False))
        self._console = Console(highlight=False, markup=False, emoji=False, soft_wrap=True)
        self._logs = {name: LogFile(log / f"{name}.log") for name in programs}
        self._supervisord = LogFile(log / "supervisord.log")
        self._translate = translate
        self._said: queue.SimpleQueue[Text] = queue.SimpleQueue()
        self._over = threading.Event()
        self._follower = threading.Thread(target=self._follow, name="output", daemon=True)

    def __enter__(self) -> "Output":
        self._follower.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self._follower.join(DRAIN_SECONDS)

    def say(self, text: str) -> None:
        """A line of our own."""
        self.line(OURS, text)

    def line(self, program: str, text: str) -> None:
        """A line of a program's."""
        self._said.put(self._named(program, text))

    def plain(self, text: str) -> None:
        """A line to be copied: nothing in front."""
        self._said.put(Text(text))

    def _follow(self) -> None:
        try:
            while not self._over.wait(POLL_SECONDS):
                self._show()
            self._show()
            for program, log in self._logs.items():
                if unfinished := log.rest():
                    self._console.print(self._named(program, unfinished))
        except SystemExit:  # rich's answer to a reader that is gone, as in `make up | head`: a wish to stop
            os.kill(os.getpid(), signal.SIGTERM)

    def _show(self) -> None:
        while not self._said.empty():
            self._console.print(self._said.get())
        for program, log in self._logs.items():
            for line in log.lines():
                self._console.print(self._named(program, line))
        for line in self._supervisord.lines():
            if news := self._translate(line):
                self._console.print(self._named(OURS, news))

    def _named(self, program: str, text: str) -> Text:
        colour = self._colours.get(program, "white")
        return Text.assemble((f"{program:<{self._width}} | ", colour), text)
