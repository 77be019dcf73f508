"""Compares the ledger with history, live rows, dead letters, receipts and positions, row by row."""

import random
from dataclasses import asdict, dataclass, field

import psycopg
from rich.console import Console
from rich.table import Table

from models.settings import DIRECT_SHARD
from models.stream.entry_ids import parse_receipt
from tests.chaos import queries
from tests.chaos.ledger import Ledger, Outcome
from tests.chaos.stack import Stack

RECEIPTS_CHECKED = 200  # over HTTP
STORE_SECONDS = 60
FINAL_STATES = ("stored", "dead-lettered", "partly-dead-lettered")


@dataclass
class Audit:
    """Counts of readings, unless noted. Those after `dead_letters` must be 0."""

    sent: int = 0
    accepted: int = 0
    refused: int = 0
    unknown: int = 0
    promised: int = 0  # accepted; repeats under one key count once
    stored: int = 0
    dead_letters: int = 0
    doubled: int = 0
    lost: int = 0
    rows_wrong: int = 0  # never submitted, or with another content
    live_rows_wrong: int = 0
    receipts_wrong: int = 0
    positions_wrong: int = 0
    answers_wrong: int = 0  # not as documented
    diverged: int = 0  # shards with a noted divergence that no fault caused
    notes: list[str] = field(default_factory=list)
    seconds_to_store: float = 0.0

    @property
    def faults(self) -> dict[str, int]:
        informative = (
            "sent",
            "accepted",
            "refused",
            "unknown",
            "promised",
            "stored",
            "dead_letters",
            "notes",
            "seconds_to_store",
        )
        return {name: count for name, count in asdict(self).items() if name not in informative and count}


def assert_conserved(audit: Audit) -> None:
    assert not audit.faults, f"{audit.faults}\n" + "\n".join(audit.notes[:20])


def audit(stack: Stack, ledger: Ledger, store_seconds: float = STORE_SECONDS) -> Audit:
    """Waits until the backlog is stored, then compares. Nothing may be submitted meanwhile."""
    found = Audit()
    found.seconds_to_store = stack.wait_until(lambda: is_drained(stack), store_seconds, "has not stored its backlog")
    total = ledger.total.readings
    found.sent = sum(total.values())
    found.accepted, found.refused, found.unknown = (
        total[outcome] for outcome in (Outcome.ACCEPTED, Outcome.REFUSED, Outcome.UNKNOWN)
    )
    found.promised = sum(each.at_least * each.count for each in ledger.submissions)
    found.answers_wrong = len(ledger.unexpected) + ledger.total.wrong_replays
    found.notes += ledger.unexpected
    with stack.database() as connection, connection.transaction():
        _load(connection, ledger)
        _compare_rows(connection, found)
        _compare_live(connection, found)
        _compare_receipts(connection, ledger, found)
        _compare_positions(connection, stack, ledger, found)
    _check_receipts_over_http(stack, ledger, found)
    return found


def is_drained(stack: Stack) -> bool:
    """Every stream is empty and has the stored id of its position."""
    try:
        return not stack.backlog() and all(
            stack.stream.stored_id(shard) == position for shard, position in stack.positions().items()
        )
    except (psycopg.Error, OSError):
        return False


def _load(connection: psycopg.Connection, ledger: Ledger) -> None:
    connection.execute(
        """create temp table ledger (first int8, last int8, kind text, at timestamptz, at_least int, at_most int)
           on commit drop"""
    )
    with connection.cursor().copy("copy ledger from stdin") as copy:
        for each in ledger.submissions:
            copy.write_row((each.first, each.last, each.kind, each.at, each.at_least, each.at_most))
    connection.execute(queries.EXPECTED)
    connection.execute(queries.STORED)
    connection.execute("create temp table receipts (shard int, number int8) on commit drop")
    with connection.cursor().copy("copy receipts from stdin") as copy:
        for each in ledger.submissions:
            for shard, entry_id in map(parse_receipt, each.receipts):
                copy.write_row((shard, entry_id.number))


def _compare_rows(connection: psycopg.Connection, found: Audit) -> None:
    found.stored, found.dead_letters = connection.execute(
        "select (select count(*) from stored), (select count(*) from dead_letters where replayed_at is null)"
    ).fetchone()
    found.doubled, found.lost = connection.execute(queries.COUNTED).fetchone()
    wrong = connection.execute(queries.ROWS_WRONG).fetchall()
    found.rows_wrong = len(wrong)
    found.notes += [f"wrong row: {row} instead of {expected}" for row, expected in wrong]
    if found.doubled or found.lost:
        rows = connection.execute(queries.MISCOUNTED).fetchall()
        found.notes += [f"reading {n} exists {t} times, not {low} to {high}" for n, low, high, t in rows]


def _compare_live(connection: psycopg.Connection, found: Audit) -> None:
    for query in queries.LIVE_WRONG:
        wrong = connection.execute(query).fetchall()
        found.live_rows_wrong += len(wrong)
        found.notes += [f"live row of {device}: {live}, newest of history: {newest}" for device, live, newest in wrong]


def _compare_receipts(connection: psycopg.Connection, ledger: Ledger, found: Audit) -> None:
    connection.execute(queries.BATCH_ENTRIES)
    missing = connection.execute(queries.RECEIPTS_MISSING).fetchall()
    twice = connection.execute(queries.ENTRIES_STORED_TWICE).fetchall()
    shared = connection.execute("select count(*) - count(distinct (shard, number)) from receipts").fetchone()[0]
    several = [each.receipts for each in ledger.submissions if each.key and len(each.receipts) > 1]
    found.receipts_wrong += len(missing) + len(twice) + shared + len(several)
    found.notes += [f"receipt {r} is in no batch" for r in missing] + [f"entry {r} is in two batches" for r in twice]
    found.notes += [f"one key, several receipts: {receipts}" for receipts in several]
    found.notes += [f"{shared} receipts were given for two submissions"] if shared else []


def _compare_positions(connection: psycopg.Connection, stack: Stack, ledger: Ledger, found: Audit) -> None:
    positions = stack.positions()
    newest = connection.execute("select shard, max(number) from receipts group by shard").fetchall()
    notes = [
        f"shard {shard} is at {positions.get(shard)}, before the receipt {number >> 20}-{number & 1048575}"
        for shard, number in newest
        if shard != DIRECT_SHARD and (shard not in positions or positions[shard].number < number)
    ]
    recorded, existing = connection.execute(queries.BATCH_COUNTS).fetchone()
    if recorded != existing:
        notes.append(f"the batches have {recorded} readings, the tables {existing}")
    found.positions_wrong += len(notes)
    diverged = connection.execute(
        "select shard, diverged_at from ingest_positions where diverged_at is not null"
    ).fetchall()
    found.diverged = len(diverged)
    found.notes += notes + [f"shard {shard}: divergence noted at {at}" for shard, at in diverged]


def _check_receipts_over_http(stack: Stack, ledger: Ledger, found: Audit) -> None:
    receipts = sorted(receipt for each in ledger.submissions for receipt in each.receipts)
    for receipt in random.sample(receipts, min(RECEIPTS_CHECKED, len(receipts))):
        state = stack.get(f"/v1/telemetry/receipts/{receipt}").get("state")
        if state not in FINAL_STATES:
            found.receipts_wrong += 1
            found.notes.append(f"the state of receipt {receipt} is {state}")


def show(found: Audit, console: Console | None = None) -> None:
    table = Table("", "readings", title="audit")
    for name, count in asdict(found).items():
        if name not in ("notes", "seconds_to_store"):
            table.add_row(name.replace("_", " "), f"{count:,}", style="red" if name in found.faults else "")
    console = console or Console()
    console.print(table)
    for note in found.notes[:20]:
        console.print(note, markup=False)
