"""A loss stays visible until somebody acknowledges it: record, readiness, doctor, metric, command and HTTP."""

import json

import pytest

from models.storage.losses import POSTGRES, REDIS, acknowledge_loss, list_losses, record_loss
from models.stream.entry_ids import NO_ENTRY, EntryId
from tests.factories import bearer
from tests.promises.meters import post_meters

DAY = 1_795_218_259_000


@pytest.fixture
def lost(client, database, drain_all, broker, alive):
    """A Redis that was flushed with accepted entries in it, and was repaired: the losses."""
    post_meters(client, 4)
    drain_all()
    post_meters(client, 2, start=50)
    heartbeats = broker.dump("telemetry:heartbeats")
    broker.flushall()
    broker.restore("telemetry:heartbeats", 0, heartbeats)
    post_meters(client, 4, start=100)
    drain_all()
    return list_losses(database, limit=10)


def test_a_flushed_redis_leaves_a_bounded_loss_a_shard(lost, resources):
    assert {loss.shard for loss in lost} == {0, 1}
    for loss in lost:
        assert (loss.server, loss.max_entries) == (REDIS, resources.settings.shard_max_entries)
        assert loss.lost_from < loss.lost_until <= loss.found_at
        assert f"shard {loss.shard}: at most {loss.max_entries:,} entries accepted between" in loss.message


def test_it_is_a_warning_until_it_is_acknowledged(lost, client, runner, database):
    def verdict() -> str:
        findings = json.loads(runner.invoke(args=["doctor", "--json"]).stdout)["findings"]
        return next(finding["verdict"] for finding in findings if finding["name"] == "losses")

    ready = client.get("/health/ready")
    assert ready.status_code == 200
    (found,) = ready.json["warnings"]["losses"]
    assert "Losses not acknowledged: 2" in found
    assert "energy losses acknowledge" in found
    assert verdict() == "warning"
    assert "Losses not acknowledged: 2" in runner.invoke(args=["status"]).output
    assert "\nenergy_losses 2.0\n" in client.get("/metrics").text

    listed = runner.invoke(args=["losses", "list"]).output
    assert all(str(loss.id) in listed for loss in lost)
    first, second = (str(loss.id) for loss in lost)
    done = runner.invoke(args=["losses", "acknowledge", first, "--note", "sent again", "--by", "Ada"])
    assert f"{first}: acknowledged, shard " in done.output
    assert "energy_losses 1.0" in client.get("/metrics").text
    assert runner.invoke(args=["losses", "acknowledge", second]).exit_code == 0
    assert verdict() == "good"
    assert "losses" not in client.get("/health/ready").json["warnings"]
    assert runner.invoke(args=["losses", "list"]).output == "No losses match.\n"
    assert "Ada" in runner.invoke(args=["losses", "list", "--all"]).output
    assert runner.invoke(args=["losses", "acknowledge", "999"]).exit_code == 1


def test_over_http(lost, client, new_key):
    admin, reader = bearer(new_key("admin")), bearer(new_key("read"))
    page = client.get("/v1/losses?limit=1", headers=reader).json
    assert [loss["id"] for loss in page["items"]] == [lost[0].id]
    assert page["next"]
    path = f"/v1/losses/{lost[0].id}/acknowledge"
    assert client.post(path, headers=reader).status_code == 403
    answer = client.post(path, headers=admin, json={"note": "sent again"}).json
    assert answer["acknowledgedBy"].startswith("key ")
    assert answer["note"] == "sent again"
    assert client.post(path, headers=admin).json["acknowledgedAt"] == answer["acknowledgedAt"]
    left = client.get("/v1/losses?acknowledged=false", headers=reader).json["items"]
    assert [loss["id"] for loss in left] == [lost[1].id]
    assert client.post("/v1/losses/999/acknowledge", headers=admin).status_code == 404
    bound = bearer(new_key("read", device_prefix="A-"))
    assert client.get("/v1/losses", headers=bound).status_code == 403


def test_a_restored_postgres_has_lost_what_was_trimmed_since(database):
    position, stored_id = EntryId(DAY, 0), EntryId(DAY + 60_000, 3)
    for _ in range(2):  # a repair of two pages
        record_loss(database, 1, position=position, stored_id=stored_id, max_entries=10)
    record_loss(database, 0, position=NO_ENTRY, stored_id=stored_id, max_entries=10)
    empty, loss = list_losses(database, limit=10)
    assert (loss.server, loss.max_entries, (loss.lost_until - loss.lost_from).seconds) == (POSTGRES, None, 60)
    assert empty.lost_from is None
    assert "an unknown number of entries accepted before 2026-11-20T23:45:19Z" in empty.message


def test_the_same_divergence_after_an_acknowledgement_is_a_new_loss(database):
    ids = {"position": EntryId(DAY, 0), "stored_id": NO_ENTRY}
    record_loss(database, 1, **ids, max_entries=10)
    (first,) = list_losses(database, limit=10)
    acknowledge_loss(database, first.id, by="Ada")
    record_loss(database, 1, **ids, max_entries=10)
    assert [loss.acknowledged_by for loss in list_losses(database, limit=10)] == [None, "Ada"]
