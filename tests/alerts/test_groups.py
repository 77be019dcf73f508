"""Where more alerts of a kind would open than the bound, one alert is for all of their devices."""

import pytest

from models.alerts import evaluation
from models.alerts.alert import list_alerts
from tests.factories import ago, bearer

BOUND = 6


@pytest.fixture
def storm(report, evaluate):
    """Hot batteries of many vehicles, and an evaluation: `storm(7)`."""

    def storm(count: int, temperature: float = 99.0, prefix: str = "V-FAKE-") -> dict:
        for number in range(count):
            report(f"{prefix}{number}", battery_temp=temperature)
        return evaluate(alert_max_opened=BOUND)

    return storm


GROUP = ("*", "battery_temperature")


def test_as_many_as_the_bound_open_alerts_of_their_own(storm):
    assert len(storm(BOUND)) == BOUND


def test_more_than_the_bound_become_one_alert(storm, evaluate, client, database):
    (key, alert), *others = storm(BOUND + 1).items()
    assert (key, others) == (GROUP, [])
    assert (alert.device_kind, alert.value, alert.bound, alert.unit) == ("fleet", BOUND + 1, BOUND, "devices")
    assert alert.message == "Battery temperature: 7 devices at once"
    assert alert.detail == {"devices": [f"V-FAKE-{number}" for number in range(7)]}
    again = evaluate(alert_max_opened=BOUND)
    assert again[GROUP].id == alert.id
    assert again.keys() == {GROUP}
    shown = client.get(f"/v1/alerts/{alert.id}").json
    assert (shown["deviceKind"], shown["deviceId"], shown["unit"]) == ("fleet", "*", "devices")
    assert client.post(f"/v1/alerts/{alert.id}/acknowledge").json["state"] == "acknowledged"


def test_a_device_that_follows_gets_an_alert_of_its_own(storm, report, evaluate):
    storm(BOUND + 1)
    report("V-REAL", battery_temp=70)
    assert evaluate(alert_max_opened=BOUND).keys() == {GROUP, ("V-REAL", "battery_temperature")}
    assert storm(50, prefix="V-MORE-")[GROUP].value == BOUND + 51


def test_the_alert_is_resolved_when_few_are_left_which_get_their_own(storm, report, evaluate, database):
    storm(BOUND + 3)
    for number in range(5):
        report(f"V-FAKE-{number}", battery_temp=20)
    assert evaluate(alert_max_opened=BOUND)[GROUP].value == 4
    report("V-FAKE-5", battery_temp=20)
    assert evaluate(alert_max_opened=BOUND) == {}
    (alert,) = list_alerts(database, limit=10)
    assert (alert.state, alert.value) == ("resolved", 3)
    assert {device for device, _ in evaluate(alert_max_opened=BOUND)} == {"V-FAKE-6", "V-FAKE-7", "V-FAKE-8"}
    assert storm(BOUND + 9, prefix="V-AGAIN-")[GROUP].id != alert.id


def test_implausible_devices_leave_their_group(roll_up, evaluate):
    for number in range(BOUND + 1):
        roll_up(f"V{number}", implausible=3)
    assert evaluate(alert_max_opened=BOUND).keys() == {("*", "implausible")}
    for number in range(BOUND + 1):
        roll_up(f"V{number}", implausible=0)
    assert evaluate(alert_max_opened=BOUND) == {}


@pytest.mark.slow
def test_a_group_is_one_event_of_the_webhook_and_no_other_waits_behind_thousands(
    storm, heat, webhook_settings, database, count, report
):
    for number in range(2000):
        report(f"V-FAKE-{number}", battery_temp=99)
    heat("V-FIRST", 99, alert_max_opened=BOUND)
    assert count("alert_deliveries") == 1
    heat("V-REAL", 99, alert_max_opened=BOUND)
    assert count("alert_deliveries") == 2
    for number in range(2000):
        report(f"V-FAKE-{number}", battery_temp=20)
    heat("V-FIRST", 20, alert_max_opened=BOUND)
    events = database.execute("select event, payload->'alert'->>'deviceId' from alert_deliveries order by created_at")
    assert events.fetchall() == [("opened", "*"), ("opened", "V-REAL"), ("resolved", "*")]


def test_a_bound_key_does_not_see_the_alert_of_the_fleet(storm, client, new_key):
    alert = storm(BOUND + 1)[GROUP]
    text = new_key("read", device_prefix="V-")
    assert client.get("/v1/alerts", headers=bearer(text)).json["items"] == []
    assert client.get(f"/v1/alerts/{alert.id}", headers=bearer(text)).status_code in (403, 404)


def test_a_kind_that_fails_keeps_no_other_from_its_evaluation(report, evaluate, monkeypatch):
    monkeypatch.setitem(evaluation.RULES, "efficiency", "select 1/0")
    report("V1", battery_temp=99)
    report("M1", ago(hours=2))
    assert evaluate().keys() == {("V1", "battery_temperature"), ("M1", "silent")}
