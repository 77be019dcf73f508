"""Alerts over HTTP and by command: listed, acknowledged, and visible to the keys of their devices."""

import pytest

from tests.factories import bearer

ALERTS = "/v1/alerts"


def test_alerts_are_listed_newest_first_by_filters_and_in_pages(client, open_alerts):
    def ids(**query):
        return [item["id"] for item in client.get(ALERTS, query_string=query).json["items"]]

    newest_first = [open_alerts["V2"], open_alerts["V1"], open_alerts["M1"]]
    assert ids() == ids(state="open") == newest_first
    assert ids(kind="silent") == ids(deviceId="M1") == [open_alerts["M1"]]
    assert ids(kind="battery_temperature", deviceId="V1") == [open_alerts["V1"]]
    assert ids(state="resolved") == ids(deviceId="V9") == []
    first = client.get(ALERTS, query_string={"limit": 2}).json
    second = client.get(ALERTS, query_string={"limit": 2, "cursor": first["next"]}).json
    assert [item["id"] for item in first["items"] + second["items"]] == newest_first
    assert second["next"] is None


def test_an_alert_has_a_message_for_people(client, open_alerts):
    alert = client.get(f"{ALERTS}/{open_alerts['V1']}").json
    assert alert["message"] == "Battery temperature: 70 °C (alert above 60 °C)"
    assert (alert["value"], alert["bound"], alert["unit"], alert["state"]) == (70, 60, "°C", "open")
    assert alert["acknowledgedAt"] is alert["resolvedAt"] is alert["note"] is None


def test_an_alert_is_acknowledged_until_it_is_resolved(client, open_alerts, evaluate, report):
    path = f"{ALERTS}/{open_alerts['V1']}/acknowledge"
    # JSON has characters that Postgres does not.
    first = client.post(path, data=r'{"note": "seen\u0000 \ud800"}', content_type="application/json")
    assert first.status_code == 200
    assert (first.json["state"], first.json["note"]) == ("acknowledged", "seen\ufffd ?")
    again = client.post(path)
    assert (again.status_code, again.json) == (200, first.json)
    assert client.post(path, json={"note": "ordered"}).json == first.json | {"note": "ordered"}
    report("V1", battery_temp=20)
    evaluate()
    refused = client.post(path)
    assert refused.status_code == 409
    assert refused.json["message"] == "This alert is resolved"


@pytest.mark.parametrize(
    ("body", "status"),
    [({"note": 5}, 422), ({"note": ""}, 422), ({"note": "x" * 1001}, 422), ({"nota": "x"}, 422), ([], 422), ({}, 200)],
)
def test_a_note_is_validated(client, open_alerts, body, status):
    assert client.post(f"{ALERTS}/{open_alerts['V1']}/acknowledge", json=body).status_code == status


@pytest.mark.parametrize("alert_id", ["0", "999999", str(2**63), "nonsense", "-1"])
def test_an_unknown_alert_is_not_found(client, open_alerts, alert_id):
    assert client.get(f"{ALERTS}/{alert_id}").status_code == 404
    assert client.post(f"{ALERTS}/{alert_id}/acknowledge").status_code == 404


@pytest.mark.parametrize("query", ["state=over", "kind=hot", "deviceId=a%20b", "cursor=nonsense", "limit=0"])
def test_the_wrong_parameter_is_named(client, query):
    answer = client.get(f"{ALERTS}?{query}")
    assert answer.status_code == 422
    assert set(answer.json["errors"]) == {query.split("=")[0]}


def test_a_bound_key_sees_and_acknowledges_its_devices_only(client, open_alerts, new_key):
    def request(key, path="", method="get", **query):
        return client.open(ALERTS + path, method=method, query_string=query, headers=bearer(key))

    reader, admin = new_key("read", device_ids=["V1", "M1"]), new_key("admin", device_prefix="V1")
    assert [item["deviceId"] for item in request(reader).json["items"]] == ["V1", "M1"]
    assert request(reader, deviceId="V2").status_code == 403
    assert request(reader, f"/{open_alerts['V1']}").status_code == 200
    assert request(reader, f"/{open_alerts['V2']}").status_code == 404
    assert request(reader, f"/{open_alerts['V1']}/acknowledge", "post").status_code == 403
    assert request(admin, f"/{open_alerts['V2']}/acknowledge", "post").status_code == 404
    assert request(admin, f"/{open_alerts['V1']}/acknowledge", "post").status_code == 200
    assert request(new_key("read"), state="open").json["items"][0]["deviceId"] == "V2"


def test_unresolved_alerts_are_metrics(client, open_alerts):
    metrics = client.get("/metrics").text
    assert 'energy_alerts{kind="battery_temperature"} 2.0' in metrics
    assert 'energy_alerts{kind="efficiency"} 0.0' in metrics


def test_the_commands_list_and_acknowledge_alerts(runner, open_alerts, database):
    listed = runner.invoke(args=["alerts", "list"])
    assert all(text in listed.output for text in ("vehicle V1", "meter M1", "Battery temperature: 70 °C"))
    done = runner.invoke(args=["alerts", "acknowledge", str(open_alerts["V1"]), "--note", "seen"])
    assert done.exit_code == 0, done.output
    assert "vehicle V1" not in runner.invoke(args=["alerts", "list"]).output
    assert "seen" in runner.invoke(args=["alerts", "list", "--state", "acknowledged"]).output
    assert "No alerts match" in runner.invoke(args=["alerts", "list", "--device", "V9"]).output
    failed = runner.invoke(args=["alerts", "acknowledge", "999999", str(open_alerts["V2"])])
    assert failed.exit_code == 1
    assert "999999: not found" in failed.output
    assert f"{open_alerts['V2']}: acknowledged" in failed.output
