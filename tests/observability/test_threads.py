"""Threads that must live: an error does not end one, is logged in the log's format, and a stuck one shows."""

import json
import threading
import time
from dataclasses import replace

import pytest
import structlog

from models.observability import threads
from models.observability.logs import configure_logs
from models.observability.threads import WatchedThread, list_thread_ages, start_rounds

pytestmark = pytest.mark.slow


@pytest.fixture
def logged(resources, capsys, monkeypatch):
    """The events that were logged so far, in the format of programs."""
    configure_logs(replace(resources.settings, log_format="json"))
    monkeypatch.setattr(threads, "log", structlog.get_logger())  # one that has not cached another configuration
    yield lambda: [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    configure_logs(resources.settings)


@pytest.fixture
def end():
    """Set at the end of the test, for its threads."""
    event = threading.Event()
    yield event
    event.set()


def until(is_true, seconds: float = 20) -> None:
    give_up_at = time.monotonic() + seconds
    while not is_true():
        assert time.monotonic() < give_up_at, "did not happen in time"
        time.sleep(0.01)


def test_a_thread_goes_on_after_any_exception_and_logs_the_same_one_once_with_its_traceback(end, logged):
    outcomes = iter([ValueError("odd"), ValueError("odd"), KeyError("other"), None])
    done = []

    def do_round() -> None:
        outcome = next(outcomes, None)
        if outcome:
            raise outcome
        done.append(1)

    start_rounds("tried", do_round, seconds=0.01, until=end.is_set)
    until(lambda: len(done) > 2)
    events = [event for event in logged() if event["event"] == "thread_round_failed"]
    assert [event["reason"] for event in events] == ["ValueError: odd", "ValueError: odd", "KeyError: 'other'"]
    assert ["exception" in event for event in events] == [True, False, True]
    assert {event["thread"] for event in events} == {"tried"}


def test_a_round_that_is_not_completed_lets_the_age_grow(end):
    rounds = []
    start_rounds("useless", lambda: bool(rounds.append(1)), seconds=0.01, until=end.is_set)
    start_rounds("useful", lambda: None, seconds=0.01, until=end.is_set)
    until(lambda: len(rounds) > 30)
    ages = list_thread_ages()
    assert ages["useless"] > 0.25 > ages["useful"]


def test_a_thread_that_was_ended_is_watched_no_longer_and_one_that_crashed_is(end, monkeypatch):
    monkeypatch.setattr(threading, "excepthook", lambda _: None)
    start_rounds("ended", lambda: None, seconds=0.01, until=end.is_set)

    def crash(_: WatchedThread) -> None:
        raise SystemExit

    crashed = WatchedThread("crashed", crash).start()
    end.set()
    until(lambda: "ended" not in list_thread_ages())
    crashed.join()
    assert "crashed" in list_thread_ages()
    threads._watched.discard(crashed)


def test_the_metric_has_the_time_of_the_last_round(end, client, monkeypatch):
    monkeypatch.setattr(threads, "_SHOWN_EVERY_SECONDS", 0.0)
    start_rounds("shown", lambda: None, seconds=0.01, until=end.is_set)
    time.sleep(0.1)
    line = next(line for line in client.get("/metrics").text.splitlines() if 'thread="shown"' in line)
    assert time.time() - float(line.split()[-1]) < 100  # a time of this test, in seconds


def test_an_error_that_ends_any_thread_is_logged_in_the_format_of_the_log(logged):
    def fail() -> None:
        raise ZeroDivisionError("in a thread")

    thread = threading.Thread(target=fail, name="careless")
    thread.start()
    thread.join()
    (event,) = (event for event in logged() if event["event"] == "thread_ended")
    assert (event["thread"], event["error"], event["level"]) == ("careless", "ZeroDivisionError", "error")
    assert "exception" in event
