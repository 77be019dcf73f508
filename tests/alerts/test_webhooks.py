"""The webhook, against a real receiver that takes, refuses, fails, hangs and redirects."""

import json
import re
import threading
import time
from contextlib import contextmanager
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest
import urllib3

from models.alerts import deliveries
from models.alerts.evaluation import evaluate_alerts
from models.resources import Resources
from models.settings import SettingsError, load_settings
from tests import ROOT
from tests.factories import ago
from workers import webhooks

SECRET = "correct horse battery staple"


class Receiver:
    """What it got, and what it answers: statuses in turn, the last of them from then on; None hangs."""

    def __init__(self):
        self.got: list[tuple[dict, bytes]] = []
        self.statuses = [204]
        self.released = threading.Event()

    def answer(self, request: BaseHTTPRequestHandler) -> None:
        body = request.rfile.read(int(request.headers["Content-Length"]))
        self.got.append((dict(request.headers), body))
        status = self.statuses.pop(0) if len(self.statuses) > 1 else self.statuses[0]
        if status is None:
            self.released.wait(20)
            return
        request.send_response(status)
        request.send_header("Location", "/elsewhere")
        request.send_header("Content-Length", "0")
        request.end_headers()

    @property
    def events(self) -> list[dict]:
        return [json.loads(body) for _, body in self.got]


@contextmanager
def listening(receiver: Receiver):
    class Handler(BaseHTTPRequestHandler):
        def do_POST(self):
            receiver.answer(self)

        def log_message(self, *_):
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield f"http://127.0.0.1:{server.server_port}/alerts?token=for-nobody"
    finally:
        receiver.released.set()
        server.shutdown()
        server.server_close()


@pytest.fixture
def receiver():
    return Receiver()


@pytest.fixture
def settings(resources, receiver, monkeypatch):
    """A worker's settings with the webhook set; tasks in this process have them too."""
    with listening(receiver) as url:
        told = replace(resources.settings, alert_webhook_url=url, alert_webhook_secret=SECRET)
        changed = Resources(told, resources.database, resources.stream)
        monkeypatch.setattr(webhooks, "current_resources", lambda: changed)
        monkeypatch.setattr(webhooks, "TIMEOUT", urllib3.Timeout(connect=0.5, read=0.5))
        yield told


@pytest.fixture
def battery(database, settings):
    """Sets the temperature of a vehicle's battery and judges it."""

    def battery(device, temperature, **changes):
        database.execute(
            """insert into vehicle_readings_live (vehicle_id, recorded_at, received_at, kwh_delivered_dc, battery_temp)
               values (%s, now(), now(), 0, %s) on conflict (vehicle_id) do update
               set battery_temp = excluded.battery_temp""",
            [device, temperature],
        )
        evaluate_alerts(database, replace(settings, **changes), stored_until=ago(seconds=0))

    return battery


@pytest.fixture
def due(database):
    """All that waits is due now."""
    return lambda: database.execute("update alert_deliveries set next_attempt_at = now()")


def waiting(database) -> dict:
    return deliveries.count_deliveries(database)


def test_opened_and_resolved_are_told_once_each_and_signed(battery, receiver, database):
    battery("V1", 70)
    battery("V1", 71)
    webhooks.deliver()
    battery("V1", 20)
    webhooks.deliver()
    webhooks.deliver()
    assert [event["event"] for event in receiver.events] == ["opened", "resolved"]
    opened, resolved = (event["alert"] for event in receiver.events)
    assert (opened["state"], opened["deviceId"], opened["value"]) == ("open", "V1", 70)
    assert (resolved["state"], resolved["id"], resolved["value"]) == ("resolved", opened["id"], 20)
    ids = [headers["X-Event-Id"] for headers, _ in receiver.got]
    assert ids == [event["eventId"] for event in receiver.events]
    assert len(set(ids)) == 2
    assert waiting(database) == {"waiting": 0, "failing": 0, "given_up": 0}


def test_what_is_told_is_what_the_api_answers(battery, receiver, client):
    battery("V1", 70)
    webhooks.deliver()
    (event,) = receiver.events
    assert event["alert"] == client.get("/v1/alerts").json["items"][0]


def test_the_receiver_of_the_document_takes_it_and_nothing_else(battery, receiver, monkeypatch):
    battery("V1", 70)
    webhooks.deliver()
    ((headers, body),) = receiver.got
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


@pytest.mark.parametrize(
    ("status", "why"), [(500, "answered 500"), (429, "answered 429"), (None, "did not answer in time")]
)
def test_a_receiver_that_fails_is_left_alone_and_told_later(battery, receiver, database, due, status, why):
    battery("V1", 70)
    battery("V2", 70)
    receiver.statuses = [status, 200]
    webhooks.deliver()
    assert len(receiver.got) == 1  # the other event waits: nobody is there
    assert waiting(database) == {"waiting": 1, "failing": 1, "given_up": 0}
    error, wait = database.execute(
        "select last_error, extract(epoch from next_attempt_at - now()) from alert_deliveries where attempts = 1"
    ).fetchone()
    assert error == why
    assert 5 < wait <= 10
    due()
    webhooks.deliver()
    ids = [event["eventId"] for event in receiver.events]
    assert len(ids) == 3  # the first event twice, under one id
    assert len(set(ids)) == 2
    assert waiting(database) == {"waiting": 0, "failing": 0, "given_up": 0}


def test_a_receiver_that_is_not_there(battery, receiver, database, due, monkeypatch, settings, resources):
    away = replace(settings, alert_webhook_url="http://127.0.0.1:1/")
    battery("V1", 70)
    with monkeypatch.context() as patch:
        patch.setattr(webhooks, "current_resources", lambda: Resources(away, resources.database, resources.stream))
        webhooks.deliver()
    ((error,),) = database.execute("select last_error from alert_deliveries").fetchall()
    assert error.startswith("unreachable")
    due()
    webhooks.deliver()
    assert len(receiver.got) == 1


def test_a_redirect_is_not_followed_and_holds_up_only_its_own_event(battery, receiver, database):
    battery("V1", 70)
    battery("V2", 70)
    receiver.statuses = [302, 200]
    webhooks.deliver()
    assert [headers["X-Event-Id"] for headers, _ in receiver.got] == [event["eventId"] for event in receiver.events]
    assert len(receiver.got) == 2
    ((error,),) = database.execute("select last_error from alert_deliveries where delivered_at is null").fetchall()
    assert error == "answered 302; redirects are not followed"


def test_of_one_alert_resolved_waits_for_opened(battery, receiver, database, due):
    battery("V1", 70)
    receiver.statuses = [400]
    webhooks.deliver()
    battery("V1", 20)
    webhooks.deliver()
    assert [event["event"] for event in receiver.events] == ["opened"]
    due()
    receiver.statuses = [200]
    webhooks.deliver()
    assert [event["event"] for event in receiver.events] == ["opened", "opened", "resolved"]


def test_a_sender_killed_while_it_sends_leaves_the_event_to_the_next(battery, receiver, database, settings, due):
    battery("V1", 70)
    claimed = deliveries.claim_delivery(database)  # and then it is gone, before or after the receiver got it
    webhooks.deliver()
    assert not receiver.got
    due()  # the lease is over
    webhooks.deliver()
    assert [event["eventId"] for event in receiver.events] == [str(claimed.event_id)]


def test_two_senders_send_an_event_once(battery, receiver, due):
    for number in range(20):
        battery(f"V{number}", 70)
    threads = [threading.Thread(target=webhooks.deliver) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    webhooks.deliver()
    ids = [event["eventId"] for event in receiver.events]
    assert len(ids) == len(set(ids)) == 20


def test_waits_are_doubled_up_to_an_hour_and_end_after_a_week(battery, receiver, database, due):
    battery("V1", 70)
    battery("V1", 20)
    receiver.statuses = [400]
    waits = []
    for _ in range(11):
        due()
        webhooks.deliver()
        waits += database.execute(
            """select round(extract(epoch from next_attempt_at - now()), -1)::int from alert_deliveries
               where attempts > 0"""
        ).fetchone()
    assert waits == [10, 20, 40, 80, 160, 320, 640, 1280, 2560, 3600, 3600]
    database.execute("update alert_deliveries set created_at = now() - interval '8 days' where event = 'opened'")
    due()
    webhooks.deliver()
    assert waiting(database)["given_up"] == 1
    receiver.statuses = [200]
    due()
    webhooks.deliver()
    assert receiver.events[-1]["event"] == "resolved"  # it need not wait for what was given up
    database.execute("update alert_deliveries set delivered_at = now() - interval '31 days' where event = 'resolved'")
    assert deliveries.delete_old_deliveries(database) == 1


def test_an_event_is_there_when_its_alert_is_and_not_without(battery, database, monkeypatch):
    monkeypatch.setattr("models.alerts.evaluation.enqueue_deliveries", lambda *_: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        battery("V1", 70)
    assert database.execute("select count(*) from alerts").fetchone() == (0,)


def test_without_a_url_nothing_is_put_down(battery, database, receiver):
    battery("V1", 70, alert_webhook_url="")
    assert waiting(database) == {"waiting": 0, "failing": 0, "given_up": 0}


def test_figures_and_log_tell_what_waits_and_no_secret(battery, receiver, client, capfd):
    battery("V1", 70)
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
def test_a_webhook_that_can_not_work_stops_the_start_by_name(servers, monkeypatch, name, values):
    for variable, value in values.items():
        monkeypatch.setenv(variable, value)
    with pytest.raises(SettingsError, match=name):
        load_settings()


def test_a_webhook_that_can_work_is_taken(servers, monkeypatch):
    monkeypatch.setenv("ALERT_WEBHOOK_URL", "https://example.com:8443/hook?token=x")
    monkeypatch.setenv("ALERT_WEBHOOK_SECRET", SECRET)
    assert load_settings().alert_webhook_url.endswith("token=x")
