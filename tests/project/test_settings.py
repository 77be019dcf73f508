"""Settings: read once, checked, and named where they are wrong."""

import subprocess
import sys

import pytest

from models.settings import SettingsError, load_settings
from tests import ROOT

GOOD = {"DATABASE_URL": "postgresql://localhost/energy", "REDIS_URL": "redis://localhost:6379/0"}


@pytest.fixture
def environment(monkeypatch):
    def set_to(**values):
        for name, value in {**GOOD, **values}.items():
            monkeypatch.setenv(name, value)

    for name in GOOD:
        monkeypatch.delenv(name, raising=False)
    return set_to


def test_the_broker_is_the_redis_of_the_stream_unless_told_otherwise(environment):
    environment()
    assert load_settings().celery_broker_url == GOOD["REDIS_URL"]
    environment(CELERY_BROKER_URL="redis://broker:6379/1")
    assert load_settings().celery_broker_url == "redis://broker:6379/1"


def test_the_bound_of_the_backlog_is_shared_by_the_shards(environment):
    environment(STREAM_SHARDS="4", STREAM_MAX_ENTRIES="10")
    assert load_settings().shard_max_entries == 2


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("DATABASE_URL", "mysql://localhost/energy"),
        ("REDIS_URL", "localhost"),
        ("STREAM_SHARDS", "0"),
        ("STREAM_SHARDS", "many"),
        ("STREAM_MAX_ENTRIES", "-1"),
        ("DRAIN_SECONDS", "600"),
        ("ALERT_THRESHOLD", "850"),
        ("LOG_FORMAT", "xml"),
        ("DB_TIMEOUT_SECONDS", "soon"),
    ],
)
def test_a_wrong_setting_is_named(environment, name, value):
    environment(**{name: value})
    with pytest.raises(SettingsError, match=name):
        load_settings()


def test_all_wrong_settings_are_named_at_once(environment):
    environment(STREAM_SHARDS="x", DRAIN_SECONDS="y")
    with pytest.raises(SettingsError, match=r"(?s)STREAM_SHARDS.*DRAIN_SECONDS|DRAIN_SECONDS.*STREAM_SHARDS"):
        load_settings()


@pytest.mark.parametrize(
    "command",
    [
        [sys.executable, "-c", "from webapp import create_app; create_app()"],
        [sys.executable, "-m", "celery", "-A", "workers", "worker"],
    ],
)
def test_a_process_with_a_wrong_setting_does_not_start_and_names_it(environment, command):
    environment(DRAIN_SECONDS="600")
    stopped = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=30)
    assert stopped.returncode != 0
    assert "DRAIN_SECONDS" in stopped.stdout + stopped.stderr
    assert "Traceback" not in stopped.stdout + stopped.stderr
