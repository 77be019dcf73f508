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
PLAIN_WIDTH = 160  # characters of a table that nobody's window bounds

Show = Callable[..., None]


@contextmanager
def progress(what: str, total: float) -> Iterator[Show]:
    """Gives `show(done, detail)`: a bar that moves, or where nobody looks a line now and then and one at the end."""
    if sys.stdout.isatty():
        columns = (TextColumn("{task.description}"), BarColumn(), TaskProgressColumn(), TimeRemainingColumn())
        with _Bar(*columns) as bar:
            task = bar.add_task(what, total=total, detail="")
            yield lambda done, detail="": bar.update(task, completed=done, detail=detail)
        return
    said_at, said, line = time.monotonic(), "", ""

    def show(done: float, detail: str = "") -> None:
        nonlocal said_at, said, line
        share = min(1.0, done / total) if total else 1.0
        line = f"{what}: {share:.0%}{'  ' + detail if detail else ''}"
        if time.monotonic() - said_at >= PLAIN_LINE_SECONDS:
            click.echo(line)
            said_at, said = time.monotonic(), line

    yield show
    if line != said:
        click.echo(line)


class _Bar(Progress):
    """The bar, and below it the detail: together they are too long for a line."""

    def get_renderables(self) -> Iterator[RenderableType]:
        yield self.make_tasks_table(self.tasks)
        for task in self.tasks:
            if task.fields["detail"]:
                yield Text(task.fields["detail"])


def print_table(headers: Iterable[str], rows: Iterable[Iterable], *, numbers: Iterable[str] = ()) -> None:
    """Columns named in `numbers` stand to the right. An absent value is a dash, never 0."""
    table = new_table(*headers, numbers=numbers)
    for row in rows:
        # As text: square brackets in a reason are no markup.
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
