"""The terminal shows what matters; the log files have the rest."""

import pytest

from devstack import quiet
from devstack.quiet import Quiet

pytestmark = pytest.mark.slow

AT = "2026-11-21T17:06:10.684946Z"
STORED = (
    f"{AT} [info     ] batch_stored                   dead_letters=0 devices=50 entries=1 readings=50 seconds=0.009"
)


@pytest.mark.parametrize(
    ("program", "line"),
    [
        ("postgres", 'LOG:  listening on IPv4 address "127.0.0.1", port 38881'),
        ("postgres", "LOG:  database system was shut down at 2026-11-21 17:06:08 UTC"),
        ("postgres", "LOG:  database system is ready to accept connections"),
        ("redis", "3405:M 21 Nov 2026 17:06:08.439 # Server initialized"),
        ("redis", "3405:M 21 Nov 2026 17:06:08.440 # WARNING Memory overcommit must be enabled! Without it, …"),
        ("web", f"{AT} [info     ] Spawning worker-1 with PID: 3435 [_granian]"),
        ("worker", f"{AT} [info     ] celery@vm ready.               [celery.apps.worker]"),
        ("worker", ""),
        ("worker", STORED),
    ],
)
def test_lines_of_every_start_are_left_out(program: str, line: str):
    assert not Quiet().shows(program, line)


@pytest.mark.parametrize(
    ("program", "line"),
    [
        ("postgres", "LOG:  database system was interrupted; last known up at 2026-11-21 17:06:08 UTC"),
        ("postgres", "FATAL:  could not write init file: No space left on device"),
        ("redis", "28447:M 21 Nov 2026 17:36:32.728 # Can't recover from AOF write error when the AOF fsync policy …"),
        ("web", f"{AT} [error    ] Unexpected exit from worker-2  [_granian]"),
        ("web", f"{AT} [info     ] request accepted=0 method='POST' status=503"),
        ("worker", f"{AT} [warning  ] drain_failed error='OperationalError' shard=0"),
        ("worker", f"{AT} [info     ] alerts_changed kind='efficiency' opened=4 resolved=0"),
        ("simulate", "25 vehicles are live: a reading of each and its meter every minute."),
    ],
)
def test_what_needs_attention_is_shown(program: str, line: str):
    assert Quiet().shows(program, line)


def test_batches_are_one_line_a_minute(monkeypatch: pytest.MonkeyPatch):
    now = 0.0
    monkeypatch.setattr(quiet.time, "monotonic", lambda: now)
    shown = Quiet()
    for _ in range(3):
        shown.shows("worker", STORED)
    assert shown.summary() is None
    now = 60.0
    assert shown.summary() == "150 readings stored in the last minute, in 3 batches"
    now = 120.0
    assert shown.summary() is None
