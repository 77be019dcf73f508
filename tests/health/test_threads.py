"""A thread that has stopped is named by readiness, status and doctor, in the process and in all others."""

import json
import threading
import time
from types import SimpleNamespace

import pytest

from models.access.keyring import KeyRing, KeysUnknown
from models.observability import threads
from models.observability.thread_ages import list_published_ages, start_publication
from models.observability.threads import WatchedThread

pytestmark = pytest.mark.slow


@pytest.fixture
def stop(alive):
    """Watches a thread that ended without a word: `stop("keys")`."""
    stopped = []

    def stop(name: str) -> None:
        def crash(_: WatchedThread) -> None:
            raise SystemExit

        stopped.append(WatchedThread(name, crash).start())
        stopped[-1].join()
        stopped[-1]._completed_at -= 60

    yield stop
    for thread in stopped:
        threads._watched.discard(thread)


@pytest.fixture
def publish(resources, broker):
    """Publishes the threads of this process once, as a web process does."""

    def publish() -> None:
        broker.delete("telemetry:threads")
        pool = SimpleNamespace(closed=False)
        start_publication(resources.settings, "web", pool)
        give_up_at = time.monotonic() + 20
        while not broker.exists("telemetry:threads"):
            assert time.monotonic() < give_up_at
            time.sleep(0.01)
        pool.closed = True

    return publish


@pytest.mark.parametrize(("thread", "check"), [("keys", "keys"), ("appender", "threads")])
def test_a_stopped_thread_is_named_in_its_process_and_in_others(client, runner, stop, publish, thread, check):
    assert client.get("/health/ready").status_code == 200
    stop(thread)
    answer = client.get("/health/ready")
    assert answer.status_code == 503
    assert list(answer.json["errors"]) == [check]
    assert "Remedy: see thread_round_failed" in answer.json["errors"][check][0]
    publish()
    for command in ("doctor", "status"):
        done = runner.invoke(args=[command, "--json"])
        assert done.exit_code == 1, command
        assert "web " in done.stdout
    found = {f["name"]: f["found"] for f in json.loads(runner.invoke(args=["doctor", "--json"]).stdout)["findings"]}
    assert "60 s" in found[check].replace("61 s", "60 s")
    assert "/" in found[check]  # host and process id, for operators alone
    assert "/" not in answer.json["errors"][check][0].split("Remedy")[0]


def test_processes_that_ended_are_ignored_and_forgotten(broker, resources, publish, app):
    publish()
    assert {age.process.split()[0] for age in list_published_ages(broker)} == {"web"}
    (name,) = broker.hkeys("telemetry:threads")
    moment, _, ages = broker.hget("telemetry:threads", name).partition(b" ")
    broker.hset("telemetry:threads", "web ended/1", b"%d %s" % (int(moment) - 31, ages))
    assert b"web ended/1" in broker.hkeys("telemetry:threads")
    assert "web ended/1" not in {age.process for age in list_published_ages(broker)}


def test_a_reader_of_the_keys_that_hangs_is_named_though_it_never_read_them(client, resources, alive, monkeypatch):
    end = threading.Event()
    ring = KeyRing(resources.database)
    monkeypatch.setattr("models.access.keyring.WAIT_SECONDS", 0.01)
    monkeypatch.setattr(ring, "refresh", end.wait)
    try:
        with pytest.raises(KeysUnknown):
            ring.find("eie_x_y")
        assert client.get("/health/ready").status_code == 200
        ring._thread._completed_at -= 60
        errors = client.get("/health/ready").json["errors"]
        assert list(errors) == ["keys"]
        assert "Last read 60 s ago" in errors["keys"][0]
    finally:
        end.set()
        threads._watched.discard(ring._thread)
