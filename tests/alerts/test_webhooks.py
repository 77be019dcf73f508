"""What the webhook sends: signed events, without redirects and without secrets in logs; and its settings."""

import re
import time

import pytest

from models.alerts.figures import count_deliveries
from models.settings import SettingsError, load_settings
from tests import ROOT
from tests.alerts.receiver import SECRET
from workers import webhooks


def test_opened_and_resolved_are_each_sent_once(heat, receiver, database):
    heat("V1", 70)
    heat("V1", 71)
    webhooks.deliver()
    heat("V1", 20)
    webhooks.deliver()
    webhooks.deliver()
    assert [event["event"] for event in receiver.events] == ["opened", "resolved"]
    opened, resolved = (event["alert"] for event in receiver.events)
    assert (opened["state"], opened["deviceId"], opened["value"]) == ("open", "V1", 70)
    assert (resolved["state"], resolved["id"], resolved["value"]) == ("resolved", opened["id"], 20)
    ids = [headers["X-Event-Id"] for headers, _ in receiver.requests]
    assert ids == [event["eventId"] for event in receiver.events]
    assert len(set(ids)) == 2
    assert count_deliveries(database) == {"waiting": 0, "failing": 0, "given_up": 0}


def test_an_event_holds_the_alert_as_the_api_answers_it(heat, receiver, client):
    heat("V1", 70)
    webhooks.deliver()
    (event,) = receiver.events
    assert event["alert"] == client.get("/v1/alerts").json["items"][0]


def test_the_receiver_in_the_docs_accepts_signed_events_only(heat, receiver, monkeypatch):
    heat("V1", 70)
    webhooks.deliver()
    ((headers, body),) = receiver.requests
    code = re.search(r"```python\n(.*?)```", (ROOT / "docs/alerts.md").read_text(), re.DOTALL)[1]
    exec(code, names := {})
    is_genuine = names["is_genuine"]
    assert is_genuine(headers, body, SECRET)
    assert not is_genuine(headers, body.replace(b"V1", b"V2"), SECRET)
    assert not is_genuine(headers, body, SECRET + "x")
    assert not is_genuine(headers | {"X-Timestamp": str(int(headers["X-Timestamp"]) + 1)}, body, SECRET)
    now = time.time()
    monkeypatch.setattr(time, "time", lambda: now + 301)
    assert not is_genuine(headers, body, SECRET)


def test_a_redirect_is_not_followed_and_fails_only_its_own_delivery(heat, receiver, database):
    heat("V1", 70)
    heat("V2", 70)
    receiver.statuses = [302, 200]
    webhooks.deliver()
    assert [headers["X-Event-Id"] for headers, _ in receiver.requests] == [
        event["eventId"] for event in receiver.events
    ]
    assert len(receiver.requests) == 2
    ((error,),) = database.execute("select last_error from alert_deliveries where delivered_at is null").fetchall()
    assert error == "answered 302; redirects are not followed"


def test_metrics_count_deliveries_and_the_log_holds_no_secret(heat, receiver, client, capfd):
    heat("V1", 70)
    receiver.statuses = [500]
    webhooks.deliver()
    figures = client.get("/metrics").text
    assert 'energy_webhook_events{state="failing"} 1.0' in figures
    assert 'energy_webhook_events{state="waiting"} 0.0' in figures
    assert re.search(r'energy_webhook_attempts_total\{outcome="unreachable"\} [1-9]', figures)
    printed = "".join(capfd.readouterr())
    assert "for-nobody" not in printed
    assert SECRET not in printed


@pytest.mark.parametrize(
    ("name", "values"),
    [
        ("ALERT_WEBHOOK_SECRET", {"ALERT_WEBHOOK_URL": "https://example.com/hook"}),
        ("ALERT_WEBHOOK_SECRET", {"ALERT_WEBHOOK_URL": "https://example.com/hook", "ALERT_WEBHOOK_SECRET": "short"}),
        *(
            ("ALERT_WEBHOOK_URL", {"ALERT_WEBHOOK_URL": url, "ALERT_WEBHOOK_SECRET": SECRET})
            for url in ("example.com/hook", "ftp://example.com", "https://", "http://a b/", "http://u:p@example.com/",
                        "http://example.com:70000/", "http://[::1/")
        ),
    ],
)  # fmt: skip
def test_a_wrong_webhook_setting_is_named(servers, monkeypatch, name, values):
    for variable, value in values.items():
        monkeypatch.setenv(variable, value)
    with pytest.raises(SettingsError, match=name):
        load_settings()


def test_a_webhook_with_url_and_secret_is_accepted(servers, monkeypatch):
    monkeypatch.setenv("ALERT_WEBHOOK_URL", "https://example.com:8443/hook?token=x")
    monkeypatch.setenv("ALERT_WEBHOOK_SECRET", SECRET)
    assert load_settings().alert_webhook_url.endswith("token=x")
