"""Every submission and the outcomes of its attempts; from these follows what may be in the database."""

import itertools
import threading
import time
from collections import Counter
from dataclasses import dataclass, field
from datetime import UTC, datetime
from enum import Enum

from models.stream.entry_ids import EntryId, parse_receipt


class Outcome(Enum):
    ACCEPTED = "accepted"  # 2xx: a promise
    REFUSED = "refused"  # 503, 429, no connection: nothing was accepted
    UNKNOWN = "unknown"  # 504, no answer: accepted once or not at all
    UNEXPECTED = "unexpected"  # anything else is an error of the service


@dataclass
class Submission:
    """The readings `first` … `last` of one request, sent in one attempt or several."""

    first: int
    last: int
    kind: str  # meter, vehicle, mixed
    at: datetime
    key: str | None
    attempts: Counter = field(default_factory=Counter)
    receipts: set[str] = field(default_factory=set)

    @property
    def count(self) -> int:
        return self.last - self.first + 1

    @property
    def at_least(self) -> int:
        """How often each of its readings must be stored."""
        accepted = self.attempts[Outcome.ACCEPTED]
        return min(1, accepted) if self.key else accepted

    @property
    def at_most(self) -> int:
        open_ended = self.attempts[Outcome.UNKNOWN] + self.attempts[Outcome.UNEXPECTED]
        possible = self.attempts[Outcome.ACCEPTED] + open_ended
        return min(1, possible) if self.key else possible


@dataclass
class Tally:
    """The outcomes that clients saw, in attempts and in readings."""

    attempts: Counter = field(default_factory=Counter)
    readings: Counter = field(default_factory=Counter)
    statuses: Counter = field(default_factory=Counter)
    slowest_accepted: float = 0.0  # seconds
    wrong_replays: int = 0


class Ledger:
    def __init__(self):
        self.submissions: list[Submission] = []
        self.total = Tally()
        self.recent = Tally()  # since the last fault
        self.unexpected: list[str] = []
        self.last_accepted_at = 0.0
        self.newest: dict[int, EntryId] = {}  # of each shard, by its receipts
        self._next = itertools.count(1)
        self._lock = threading.Lock()

    def open(self, kind: str, count: int, key: str | None) -> Submission:
        """A new submission with numbers of its own."""
        with self._lock:
            first = next(self._next)
            for _ in range(count - 1):
                last = next(self._next)
            at = datetime.now(UTC).replace(microsecond=0)
            made = Submission(first, last if count > 1 else first, kind, at, key)
            self.submissions.append(made)
            return made

    def record(self, submission: Submission, outcome: Outcome, seen: str, seconds: float, answer: dict) -> None:
        """One attempt; `seen` is the status, or the failure of the connection."""
        with self._lock:
            submission.attempts[outcome] += 1
            for tally in (self.total, self.recent):
                tally.attempts[outcome] += 1
                tally.readings[outcome] += submission.count
                tally.statuses[seen] += 1
            if outcome is Outcome.ACCEPTED:
                self._record_receipt(submission, answer, seconds)
            if outcome is Outcome.UNEXPECTED:
                self.unexpected.append(f"{seen} {answer}")

    def _record_receipt(self, submission: Submission, answer: dict, seconds: float) -> None:
        is_repeat = submission.attempts[Outcome.ACCEPTED] > 1
        submission.receipts.add(answer["receipt"])
        shard, entry_id = parse_receipt(answer["receipt"])
        self.newest[shard] = max(entry_id, self.newest.get(shard, entry_id))
        self.last_accepted_at = time.monotonic()
        for tally in (self.total, self.recent):
            tally.slowest_accepted = max(tally.slowest_accepted, seconds)
            # A repeat under a key is marked as a replay. The first 2xx may be one too, if an answer was lost before.
            may_be_replay, must_be_replay = bool(submission.key), bool(submission.key) and is_repeat
            tally.wrong_replays += not must_be_replay <= answer["replayed"] <= may_be_replay

    def start_recent(self) -> None:
        """Outcomes from now on are counted in `recent`."""
        with self._lock:
            self.recent = Tally()
