"""A row that is no key is refused alone and named; no other key depends on it."""

import json

import pytest
import structlog

from models.access.keys import KeyNotUsable, UnreadableKey, list_keys, revoke_key, rotate_key, split_key
from tests.factories import ago, meter, post_with_key

CONSTRAINTS = "select conname, pg_get_constraintdef(oid) from pg_constraint where conrelid = 'api_keys'::regclass"
BREAKS = [
    "readings_per_second = 'NaN'",
    "readings_per_second = 'Infinity'",
    "requests_per_second = 'NaN'",
    "readings_per_second = 1e307",  # finite, but no burst of it is
    "readings_burst = -1",
    "scopes = '{root}'",
    "scopes = '{}'",
    "device_prefix = ''",
    "expires_at = 'infinity'",
    "created_at = '-infinity'",
    "expires_at = '20000-01-01'",
    "secret_hash = 'é'",
]


@pytest.fixture(autouse=True)
def _drained(drain_all):
    yield
    drain_all()


@pytest.fixture
def unchecked(database):
    """The table takes any value, as one of an older version did, or one without its constraints."""
    constraints = database.execute(f"{CONSTRAINTS} and contype = 'c'").fetchall()
    for name, _ in constraints:
        database.execute(f"alter table api_keys drop constraint {name}")
    yield
    database.execute("delete from api_keys")
    for name, definition in constraints:
        database.execute(f"alter table api_keys add constraint {name} {definition}")


@pytest.mark.parametrize("change", BREAKS)
def test_a_broken_row_refuses_itself_alone_and_others_can_be_revoked(
    client, new_key, database, refresh, unchecked, change
):
    broken, other = new_key("ingest"), new_key("ingest")
    database.execute(f"update api_keys set {change} where id = %s", [split_key(broken)[0]])
    refresh()
    reading = meter(at=ago(minutes=1))
    assert [post_with_key(client, text, reading).status_code for text in (broken, other)] == [401, 202]
    made_afterwards = new_key("ingest")
    assert post_with_key(client, made_afterwards, reading).status_code == 202
    revoke_key(database, split_key(other)[0])
    refresh()
    assert post_with_key(client, other, reading).status_code == 401
    assert revoke_key(database, split_key(broken)[0])


def test_a_broken_row_is_named_by_the_list_by_doctor_and_in_the_log(
    runner, alive, new_key, database, unchecked, refresh, capsys, monkeypatch
):
    monkeypatch.setattr("models.access.keys.log", structlog.get_logger())  # one that has not cached another stdout
    key_id = split_key(new_key("read"))[0]
    database.execute("update api_keys set readings_per_second = 'NaN'")
    refresh()
    assert "key_unreadable" in (printed := capsys.readouterr().out)
    assert key_id in printed
    listed = runner.invoke(args=["keys", "list"])
    assert listed.exit_code == 0
    assert "unreadable, refused" in listed.output
    assert "readings_per_second" in listed.output.replace("\n", "")
    (finding,) = (f for f in _findings(runner) if f["name"] == "stored rows")
    assert finding["verdict"] == "warning"
    assert f"key {key_id}" in finding["found"]
    with pytest.raises(KeyNotUsable, match="unreadable"):
        rotate_key(database, key_id, overlap=ago(hours=0) - ago(hours=1))
    revoke_key(database, key_id)
    assert [key.is_revoked for key in list_keys(database) if isinstance(key, UnreadableKey)] == [True]
    (finding,) = (f for f in _findings(runner) if f["name"] == "stored rows")
    assert finding["verdict"] == "good"


def _findings(runner) -> list[dict]:
    return json.loads(runner.invoke(args=["doctor", "--json"]).stdout)["findings"]


@pytest.mark.parametrize("option", ["--readings-per-second", "--requests-per-second"])
@pytest.mark.parametrize("number", ["nan", "inf", "-inf", "1e999", "1e307"])
def test_a_command_takes_finite_numbers_only(runner, option, number):
    result = runner.invoke(args=["keys", "create", "--name", "x", "--scope", "ingest", f"{option}={number}"])
    assert result.exit_code == 2
    assert option in result.output


def test_the_tables_take_finite_numbers_only(database):
    import psycopg

    for statement in (
        "insert into api_keys (id, name, secret_hash, scopes, readings_per_second) values ('1', '', '', '{read}', %s)",
        "insert into api_keys (id, name, secret_hash, scopes, requests_per_second) values ('1', '', '', '{read}', %s)",
        "insert into devices (kind, device_id, rated_power_kw) values ('meter', 'M1', %s)",
        "insert into tariffs (site, currency, timezone, price_per_kwh) values ('s', 'EUR', 'UTC', %s)",
    ):
        for value in ("NaN", "Infinity"):
            with pytest.raises(psycopg.errors.CheckViolation):
                database.execute(statement, [value])
