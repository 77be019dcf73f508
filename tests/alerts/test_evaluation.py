"""Evaluations: what they keep, and what they may be repeated with."""

from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta

import psycopg
import pytest

from models.alerts.alert import acknowledge_alert, list_alerts
from models.alerts.evaluation import evaluate_alerts
from tests.factories import ago, meter, vehicle


def test_an_acknowledged_alert_goes_on_and_is_not_opened_again(evaluate, report, database):
    report("V1", battery_temp=70)
    opened = evaluate()["V1", "battery_temperature"]
    acknowledged = acknowledge_alert(database, opened.id, "on its way to the shop")
    report("V1", battery_temp=90)
    kept = evaluate(now=ago(seconds=0) + timedelta(minutes=1))["V1", "battery_temperature"]
    assert (kept.id, kept.state, kept.note) == (opened.id, "acknowledged", "on its way to the shop")
    assert kept.acknowledged_at == acknowledged.acknowledged_at
    assert kept.value == 90
    assert kept.last_seen_at > acknowledged.last_seen_at
    report("V1", battery_temp=20)
    evaluate()
    (resolved,) = list_alerts(database, limit=10)
    assert (resolved.state, resolved.note) == ("resolved", "on its way to the shop")


def test_at_most_one_alert_per_device_and_kind_is_not_resolved(evaluate, report, database):
    report("V1", battery_temp=70)
    evaluate()
    evaluate()
    assert len(list_alerts(database, limit=10)) == 1
    with pytest.raises(psycopg.errors.UniqueViolation):
        database.execute(
            "insert into alerts (device_kind, device_id, kind) values ('vehicle', 'V1', 'battery_temperature')"
        )


def test_concurrent_evaluations_open_each_alert_once(report, database, resources):
    for number in range(100):
        report(f"V{number}", battery_temp=70)

    def opened(_) -> int:
        with psycopg.connect(resources.settings.database_url, autocommit=True) as connection:
            changes = evaluate_alerts(connection, resources.settings, stored_until=ago(seconds=0))
            return sum(kind.opened for kind in changes.values())

    with ThreadPoolExecutor(4) as pool:
        assert sum(pool.map(opened, range(8))) == 100
    assert len(list_alerts(database, limit=1000)) == 100


def test_the_task_evaluates_what_devices_sent(send, client):
    from workers.alerts import evaluate

    send(vehicle("V1", batteryTemp=71.5), meter("M1", ago(hours=2)))
    evaluate()
    alerts = client.get("/v1/alerts").json["items"]
    assert {(a["deviceKind"], a["deviceId"], a["kind"]) for a in alerts} == {
        ("vehicle", "V1", "battery_temperature"), ("meter", "M1", "silent"),
    }  # fmt: skip
