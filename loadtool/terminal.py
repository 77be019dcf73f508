"""Progress bars on a terminal, plain lines in a file or a log, and tables in both."""

import sys
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager

import click
from rich import box
from rich.console import Console, RenderableType
from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeRemainingColumn
from rich.table import Table
from rich.text import Text

PLAIN_LINE_SECONDS = 5.0
PLAIN_WIDTH = 160  # characters of a table, unless a window bounds it

Show = Callable[..., None]


@contextmanager
def progress(what: str, total: float) -> Iterator[Show]:
    """Yields `show(done, detail)`: moves a bar; without a terminal prints a line every 5 seconds and one at the end."""
    if sys.stdout.isatty():
        columns = (TextColumn("{task.description}"), BarColumn(), TaskProgressColumn(), TimeRemainingColumn())
        with _Bar(*columns) as bar:
            task = bar.add_task(what, total=total, detail="")
            yield lambda done, detail="": bar.update(task, completed=done, detail=detail)
        return
    printed_at, printed, line = time.monotonic(), "", ""

    def show(done: float, detail: str = "") -> None:
        nonlocal printed_at, printed, line
        share = min(1.0, done / total) if total else 1.0
        line = f"{what}: {share:.0%}{'  ' + detail if detail else ''}"
        if time.monotonic() - printed_at >= PLAIN_LINE_SECONDS:
            click.echo(line)
            printed_at, printed = time.monotonic(), line

    yield show
    if line != printed:
        click.echo(line)


class _Bar(Progress):
    """The detail is below the bar: together they are too long for a line."""

    def get_renderables(self) -> Iterator[RenderableType]:
        yield self.make_tasks_table(self.tasks)
        for task in self.tasks:
            if task.fields["detail"]:
                yield Text(task.fields["detail"])


def print_table(headers: Iterable[str], rows: Iterable[Iterable], *, numbers: Iterable[str] = ()) -> None:
    """Columns in `numbers` are aligned to the right. None is shown as a dash."""
    table = new_table(*headers, numbers=numbers)
    for row in rows:
        # As Text, so that square brackets are not read as markup.
        table.add_row(*(Text("–" if value is None else str(value)) for value in row))
    console().print(table)


def new_table(*headers: str, numbers: Iterable[str] = ()) -> Table:
    table = Table(box=box.SIMPLE, pad_edge=False)
    right = set(numbers)
    for header in headers:
        table.add_column(header, justify="right" if header in right else "left", overflow="fold")
    return table


def console() -> Console:
    return Console(width=None if sys.stdout.isatty() else PLAIN_WIDTH)
