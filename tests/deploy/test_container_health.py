"""The health checks of the containers."""

import os
import socket
import time

import pytest

from deploy import health


def _append_old_entry(broker, seconds_old: int) -> None:
    broker.xadd("telemetry:{0}", {"v1": b"x"}, id=f"{int((time.time() - seconds_old) * 1000)}-0")


def test_worker_is_healthy_without_a_backlog_and_with_a_young_one(resources, broker, alive):
    assert health.worker() is None
    _append_old_entry(broker, seconds_old=5)
    assert health.worker() is None
    broker.flushall()


def test_worker_is_unhealthy_when_its_position_does_not_move(resources, broker, alive):
    _append_old_entry(broker, seconds_old=90)
    assert "shard 0 has not moved" in health.worker()
    broker.flushall()
    assert "No worker was seen" in health.worker()


@pytest.mark.parametrize(
    ("variable", "url"),
    [("DATABASE_URL", "postgresql://energy@127.0.0.1:1/energy"), ("REDIS_URL", "redis://127.0.0.1:1/0")],
)
def test_worker_stays_healthy_while_a_server_is_unavailable(resources, broker, alive, monkeypatch, variable, url):
    _append_old_entry(broker, seconds_old=90)
    monkeypatch.setenv(variable, url)
    assert health.worker() is None
    broker.flushall()


def test_web_is_unhealthy_when_it_does_not_answer():
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = str(server.getsockname()[1])
    assert "does not answer" in health.web(port)


def test_beat_is_unhealthy_when_its_schedule_is_old(tmp_path):
    assert "has written no schedule" in health.beat(str(tmp_path))
    schedule = tmp_path / "schedule"
    schedule.touch()
    assert health.beat(str(tmp_path)) is None
    os.utime(schedule, (0, time.time() - 601))
    assert "has written no schedule" in health.beat(str(tmp_path))
