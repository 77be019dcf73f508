"""A key from its creation to its end: rotation, expiry, revocation, Idempotency-Keys, secrecy, commands."""

import re
import time
from datetime import timedelta

import pytest
import redis

from models.access.keyring import REFRESH_SECONDS, WAIT_SECONDS, KeyRing
from models.access.keys import KeyNotUsable, Rights, create_key, list_keys, load_keys, revoke_key, rotate_key, split_key
from tests.factories import ago, bearer, meter, post_with_key

DAY = timedelta(days=1)


@pytest.fixture(autouse=True)
def _drained(drain_all):
    yield
    drain_all()


def test_an_idempotency_key_belongs_to_one_api_key(client, new_key, database, drain_all):
    one, two = new_key("ingest"), new_key("ingest")
    reading, named = meter(at=ago(minutes=1)), {"Idempotency-Key": "delivery-1"}
    first = post_with_key(client, one, reading, headers=named)
    other = post_with_key(client, two, reading, headers=named)
    assert (first.status_code, other.status_code) == (202, 202)
    assert "Idempotent-Replay" not in other.headers
    assert other.json["receipt"] != first.json["receipt"]
    assert post_with_key(client, two, meter("M9"), headers={"Idempotency-Key": "delivery-2"}).status_code == 202
    assert post_with_key(client, one, meter("M8"), headers={"Idempotency-Key": "delivery-2"}).status_code == 202
    assert post_with_key(client, one, reading, headers=named).headers["Idempotent-Replay"] == "true"
    drain_all()
    assert database.execute("select count(*) from meter_readings_history").fetchone() == (4,)


def test_a_repeat_is_recognised_with_the_key_that_replaced_the_first(client, new_key, database, refresh):
    old = new_key("ingest")
    reading, named = meter(at=ago(minutes=1)), {"Idempotency-Key": "delivery-1"}
    first = post_with_key(client, old, reading, headers=named)
    new = rotate_key(database, split_key(old)[0], overlap=DAY)
    newest = rotate_key(database, split_key(new)[0], overlap=DAY)
    refresh()
    for text in (new, newest):
        again = post_with_key(client, text, reading, headers=named)
        assert (again.headers["Idempotent-Replay"], again.json) == ("true", first.json)


def test_a_rotated_key_has_the_rights_of_the_old_one_which_ends_with_the_overlap(client, new_key, database, refresh):
    old = new_key("ingest", device_prefix="A-", readings_per_second=5.0, readings_burst=7, lasts=DAY)
    new = rotate_key(database, split_key(old)[0], overlap=timedelta(hours=1))
    refresh()
    assert [post_with_key(client, text, meter("A-1")).status_code for text in (old, new)] == [202, 202]
    assert post_with_key(client, new, meter("B-1")).status_code == 403
    keys = load_keys(database)
    before, after = keys[split_key(old)[0]], keys[split_key(new)[0]]
    assert after.expires_at - before.expires_at > timedelta(hours=22)
    assert (after.scopes, after.binding, after.readings) == (before.scopes, before.binding, before.readings)
    database.execute("update api_keys set expires_at = now() - interval '1 second' where id = %s", [before.id])
    refresh()
    assert [post_with_key(client, text, meter("A-1")).status_code for text in (old, new)] == [401, 202]
    with pytest.raises(KeyNotUsable, match="replaced"):
        rotate_key(database, before.id, overlap=DAY)


def test_a_rotated_key_keeps_the_owner_of_the_first(database, resources):
    first = create_key(database, Rights("test", ("ingest",), readings_per_second=1.0))
    second = rotate_key(database, split_key(first)[0], overlap=DAY)
    third = rotate_key(database, split_key(second)[0], overlap=DAY)
    assert {key.owner for key in load_keys(database).values()} == {split_key(first)[0]}
    revoke_key(database, split_key(first)[0])
    assert load_keys(database)[split_key(third)[0]].owner == split_key(first)[0]
    database.execute(
        "update api_keys set created_at = created_at - interval '1 hour' where id = %s", [split_key(third)[0]]
    )  # the clock of Postgres was set back before the second rotation
    assert load_keys(database)[split_key(third)[0]].owner == split_key(first)[0]


def test_a_key_expires_without_another_look_up(client, new_key, database):
    text = new_key("ingest", lasts=timedelta(seconds=1))
    deadline = time.monotonic() + 20
    while post_with_key(client, text).status_code != 401:
        assert time.monotonic() < deadline


def test_the_secret_is_in_no_table_and_in_no_log(client, new_key, database, capsys):
    text = new_key("ingest", "read")
    post_with_key(client, text)
    post_with_key(client, text + "x")
    client.get(f"/v1/vehicles/{text}", headers=bearer(text))
    row = database.execute("select k::text from api_keys k").fetchone()[0]
    printed = capsys.readouterr()
    secret = text.split("_", 2)[2]
    assert secret not in row
    assert secret not in printed.out + printed.err


def test_no_key_is_stored_in_redis(client, new_key, broker: redis.Redis):
    text = new_key("ingest", readings_per_second=5.0)
    post_with_key(client, text, headers={"Idempotency-Key": "one"})
    assert broker.dbsize()
    assert not [key for key in broker.scan_iter() if text.split("_", 2)[2].encode() in key]


def test_known_keys_stay_valid_while_postgres_is_unavailable(app, client, new_key, monkeypatch):
    """Readings are accepted without Postgres, and must not be lost because a key could not be looked up."""
    import psycopg

    text = new_key("ingest")

    def refuse(*_args, **_kwargs):
        raise psycopg.OperationalError("unavailable")

    monkeypatch.setattr(app.extensions["keyring"]._database, "connection", refuse)
    with pytest.raises(psycopg.OperationalError):
        app.extensions["keyring"].refresh()
    assert post_with_key(client, text).status_code == 202
    assert post_with_key(client, text + "x").status_code == 401
    monkeypatch.setitem(app.extensions, "keyring", KeyRing(app.extensions["resources"].database))
    answer = post_with_key(client, text)
    assert answer.status_code == 503
    assert "Retry-After" in answer.headers


def test_a_revocation_takes_effect_within_five_seconds():
    assert REFRESH_SECONDS + WAIT_SECONDS < 5


def test_every_change_is_noticed_by_the_version(database, resources):
    ring = KeyRing(resources.database)
    text = create_key(database, Rights("test", ("read",)))
    ring.refresh()
    key_id = split_key(text)[0]
    assert list(ring._keys) == [key_id]
    for change in (
        lambda: create_key(database, Rights("test", ("read",))),
        lambda: rotate_key(database, key_id, overlap=DAY),
        lambda: revoke_key(database, key_id),
    ):
        before = ring._keys
        ring.refresh()
        assert ring._keys is before
        change()
        ring.refresh()
        assert ring._keys is not before
    assert key_id not in ring._keys


def test_the_commands_create_list_rotate_and_revoke_a_key(runner, client, refresh, database):
    def run(*words: str, status: int = 0) -> str:
        result = runner.invoke(args=["keys", *words])
        assert result.exit_code == status, result.output
        return result.stdout if status == 0 else result.output

    assert "There are no keys" in run("list")
    options = "--scope ingest --scope read --device-prefix SITE1- --readings-per-second 100 --burst 600 --expires 90d"
    text = run("create", "--name", "Depot 1", *options.split()).strip()
    assert re.fullmatch(r"eie_[0-9a-f]{12}_[A-Za-z0-9_-]{43}", text)
    key_id, secret = text.split("_", 2)[1:]
    refresh()
    assert post_with_key(client, text, meter("SITE1-1")).status_code == 202
    new = run("rotate", key_id, "--overlap", "15m").strip()
    revoked = run("revoke", key_id)
    assert key_id in revoked
    assert "before" in run("revoke", key_id)
    refresh()
    assert [post_with_key(client, each, meter("SITE1-1")).status_code for each in (text, new)] == [401, 202]
    listed = run("list")
    assert secret not in listed
    for word in ("Depot 1", "SITE1-…", "100 (600)", "revoked", "active"):
        assert word in listed
    assert {key.state for key in list_keys(database)} == {"revoked", "active"}
    assert "There is no key unknown" in run("revoke", "unknown", status=1)
    assert "There is no key unknown" in run("rotate", "unknown", status=1)
    for wrong in (["--expires", "soon"], ["--device-prefix", "a%"], ["--scope", "root"], ["--burst", "5"]):
        run("create", "--name", "x", "--scope", "read", *wrong, status=2)
