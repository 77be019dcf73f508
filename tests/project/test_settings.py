"""Settings are read once, checked, and named if they are wrong."""

import re
import subprocess
import sys
from dataclasses import dataclass, fields

import pytest

from models.environment import SettingsError, choice, declared, number, read_settings, text, url
from models.settings import Settings, load_settings
from tests import ROOT

GOOD = {"DATABASE_URL": "postgresql://localhost/energy", "REDIS_URL": "redis://localhost:6379/0"}


@pytest.fixture
def environment(monkeypatch):
    def set_to(**values):
        for name, value in {**GOOD, **values}.items():
            monkeypatch.setenv(name, value)

    for name in declared(Settings):
        monkeypatch.delenv(name, raising=False)
    return set_to


# ── The engine's settings ────────────────────────────────────────────────────────────────────────────────────────


def test_the_broker_is_the_redis_of_the_stream_by_default(environment):
    environment()
    assert load_settings().celery_broker_url == GOOD["REDIS_URL"]
    environment(CELERY_BROKER_URL="redis://broker:6379/1")
    assert load_settings().celery_broker_url == "redis://broker:6379/1"


def test_the_bound_of_the_backlog_is_divided_among_the_shards(environment):
    environment(STREAM_SHARDS="4", STREAM_MAX_ENTRIES="10")
    assert load_settings().shard_max_entries == 2


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("DATABASE_URL", "mysql://localhost/energy"),
        ("REDIS_URL", "localhost"),
        ("STREAM_SHARDS", "0"),
        ("STREAM_SHARDS", "many"),
        ("STREAM_SHARDS", "1.5"),
        ("STREAM_MAX_ENTRIES", "-1"),
        ("DRAIN_SECONDS", "600"),
        ("ALERT_THRESHOLD", "850"),
        ("ALERT_THRESHOLD", "nan"),
        ("ALERT_MIN_KWH", "inf"),
        ("ALERT_WEBHOOK_URL", "http://user@receiver/"),
        ("ALERT_WEBHOOK_URL", "http://receiver:0/"),
        ("ALERT_WEBHOOK_SECRET", "short"),
        ("ALLOW_INSECURE", "2"),
        ("CORS_ORIGINS", "*"),
        ("LOG_FORMAT", "xml"),
        ("DB_TIMEOUT_SECONDS", "soon"),
    ],
)
def test_a_wrong_setting_is_named(environment, name, value):
    environment(**{name: value})
    with pytest.raises(SettingsError, match=rf"\A{name}: [^\n]+ is not an? [^\n]+\.\Z|\A{name}: .* is not one of"):
        load_settings()


def test_all_wrong_settings_are_named_at_once(environment):
    environment(STREAM_SHARDS="x", DRAIN_SECONDS="y")
    with pytest.raises(SettingsError) as error:
        load_settings()
    assert [line.split(":")[0] for line in str(error.value).splitlines()] == ["STREAM_SHARDS", "DRAIN_SECONDS"]


def test_without_any_setting_the_error_shows_how_to_load_those_of_make_up(environment):
    with pytest.raises(SettingsError) as error:
        load_settings()
    database, redis, hint = str(error.value).splitlines()
    assert database == "DATABASE_URL: is not set; set it to a URL that starts with postgresql:// or postgres://."
    assert redis.startswith("REDIS_URL: is not set")
    assert hint.endswith("set -a; . .energy/env; set +a")


@pytest.mark.parametrize("name", ["DATABASE_URL", "REDIS_URL", "CELERY_BROKER_URL", "ALERT_WEBHOOK_URL"])
def test_an_error_does_not_repeat_a_password(environment, name):
    environment(**{name: "ftp://energy:s3cret@host/"})
    with pytest.raises(SettingsError) as error:
        load_settings()
    assert "s3cret" not in str(error.value)


def test_a_password_completes_the_url(environment, tmp_path):
    (tmp_path / "password").write_text("p@ss/w:rd\n")
    environment(
        DATABASE_URL="postgresql://energy@postgres:5432/energy",
        DATABASE_PASSWORD="a b",
        REDIS_URL="redis://redis:6379/0",
        REDIS_PASSWORD_FILE=str(tmp_path / "password"),
    )
    settings = load_settings()
    assert settings.database_url == "postgresql://energy:a%20b@postgres:5432/energy"
    assert settings.redis_url == settings.celery_broker_url == "redis://:p%40ss%2Fw%3Ard@redis:6379/0"


def test_two_passwords_are_refused(environment):
    environment(REDIS_URL="redis://:one@redis", REDIS_PASSWORD="two")
    with pytest.raises(SettingsError, match=r"\AREDIS_PASSWORD: REDIS_URL has a password too"):
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
    assert 'DRAIN_SECONDS: "600" is not a whole number from 1 to 30.' in stopped.stdout + stopped.stderr
    assert "Traceback" not in stopped.stdout + stopped.stderr


def test_every_setting_is_read_by_something():
    rooms = ("models", "webapp", "workers", "celeryconfig.py", "migrations")
    paths = [path for room in rooms for path in [ROOT / room, *(ROOT / room).rglob("*.py")] if path.is_file()]
    code = "\n".join(path.read_text() for path in paths)
    for field in fields(Settings):
        assert re.search(rf"(settings|self)\.{field.name}\b", code), field.name


# ── How a setting is declared ────────────────────────────────────────────────────────────────────────────────────


@dataclass(frozen=True)
class Example:
    size: int = number(3, 1, 5, unit="boxes", help="how many")
    share: float = number(0.5, 0, help="how much")
    mode: str = choice("slow", "fast", help="how")
    name: str = text("", "a name", variable="THE_NAME", help="who")
    address: str = url(None, "http", help="where")


def test_values_have_the_type_of_the_default():
    given = {"SIZE": "5", "SHARE": "2", "MODE": "fast", "THE_NAME": "x", "ADDRESS": "http://a"}
    assert read_settings(Example, given) == Example(5, 2.0, "fast", "x", "http://a")


def test_an_empty_variable_counts_as_not_set():
    given = {"SIZE": "", "MODE": "", "THE_NAME": "", "ADDRESS": "http://a"}
    assert read_settings(Example, given) == Example(3, 0.5, "slow", "", "http://a")
    with pytest.raises(SettingsError, match=r"\AADDRESS: is not set; set it to a URL that starts with http://\.\Z"):
        read_settings(Example, {"ADDRESS": ""})


def test_a_declaration_has_a_range_for_people():
    assert [setting.allowed for setting in declared(Example).values()] == [
        "1–5 boxes",
        "≥ 0",
        "`slow`, `fast`",
        "a name",
        "`http://…`",
    ]


# ── Values in files ──────────────────────────────────────────────────────────────────────────────────────────────


def test_a_file_may_hold_a_value_that_may_be_secret(tmp_path):
    (tmp_path / "address").write_text("http://a\n")
    assert read_settings(Example, {"ADDRESS_FILE": str(tmp_path / "address")}).address == "http://a"
    (tmp_path / "size").write_text("5")
    assert read_settings(Example, {"ADDRESS": "http://a", "SIZE_FILE": str(tmp_path / "size")}).size == 3


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"ADDRESS_FILE": "/absent"}, "ADDRESS: ADDRESS_FILE: /absent can't be read: "),
        ({"ADDRESS_FILE": "/dev/null"}, "ADDRESS: ADDRESS_FILE: /dev/null is empty."),
        ({"ADDRESS_FILE": "/dev/null", "ADDRESS": "http://a"}, "ADDRESS: is set, and ADDRESS_FILE too"),
    ],
)
def test_a_file_that_gives_no_value_is_named(given, message):
    with pytest.raises(SettingsError, match=rf"\A{message}"):
        read_settings(Example, given)
