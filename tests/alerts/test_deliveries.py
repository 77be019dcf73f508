"""Deliveries are sent at least once, in order for each alert, and again after failures until they are given up."""

import threading
from dataclasses import replace

import pytest

from models.alerts import deliveries
from models.alerts.figures import count_deliveries
from models.resources import Resources
from workers import webhooks


@pytest.mark.parametrize(
    ("status", "error"), [(500, "answered 500"), (429, "answered 429"), (None, "did not answer in time")]
)
def test_after_a_failure_the_task_ends_and_a_later_one_sends_again(heat, receiver, database, make_due, status, error):
    heat("V1", 70)
    heat("V2", 70)
    receiver.statuses = [status, 200]
    webhooks.deliver()
    assert len(receiver.requests) == 1  # the other delivery waits too
    assert count_deliveries(database) == {"waiting": 1, "failing": 1, "given_up": 0}
    last_error, wait = database.execute(
        "select last_error, extract(epoch from next_attempt_at - now()) from alert_deliveries where attempts = 1"
    ).fetchone()
    assert last_error == error
    assert 5 < wait <= 10
    make_due()
    webhooks.deliver()
    ids = [event["eventId"] for event in receiver.events]
    assert len(ids) == 3  # the first event twice, under one id
    assert len(set(ids)) == 2
    assert count_deliveries(database) == {"waiting": 0, "failing": 0, "given_up": 0}


def test_an_unreachable_receiver_gets_its_events_later(
    heat, receiver, database, make_due, monkeypatch, webhook_settings, resources
):
    elsewhere = replace(webhook_settings, alert_webhook_url="http://127.0.0.1:1/")
    heat("V1", 70)
    with monkeypatch.context() as patch:
        patch.setattr(webhooks, "current_resources", lambda: Resources(elsewhere, resources.database, resources.stream))
        webhooks.deliver()
    ((error,),) = database.execute("select last_error from alert_deliveries").fetchall()
    assert error.startswith("unreachable")
    make_due()
    webhooks.deliver()
    assert len(receiver.requests) == 1


def test_resolved_is_not_sent_before_opened(heat, receiver, database, make_due):
    heat("V1", 70)
    receiver.statuses = [400]
    webhooks.deliver()
    heat("V1", 20)
    webhooks.deliver()
    assert [event["event"] for event in receiver.events] == ["opened"]
    make_due()
    receiver.statuses = [200]
    webhooks.deliver()
    assert [event["event"] for event in receiver.events] == ["opened", "opened", "resolved"]


def test_a_delivery_claimed_by_a_killed_sender_is_sent_after_its_lease(heat, receiver, database, make_due):
    heat("V1", 70)
    claimed = deliveries.claim_delivery(database)  # the sender is killed here, before or after it sent the event
    webhooks.deliver()
    assert not receiver.requests
    make_due()  # the lease is over
    webhooks.deliver()
    assert [event["eventId"] for event in receiver.events] == [str(claimed.event_id)]


def test_two_senders_send_each_event_once(heat, receiver, make_due):
    for number in range(20):
        heat(f"V{number}", 70)
    threads = [threading.Thread(target=webhooks.deliver) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    webhooks.deliver()
    ids = [event["eventId"] for event in receiver.events]
    assert len(ids) == len(set(ids)) == 20


def test_waits_double_up_to_an_hour_and_end_after_a_week(heat, receiver, database, make_due):
    heat("V1", 70)
    heat("V1", 20)
    receiver.statuses = [400]
    waits = []
    for _ in range(11):
        make_due()
        webhooks.deliver()
        waits += database.execute(
            """select round(extract(epoch from next_attempt_at - now()), -1)::int from alert_deliveries
               where attempts > 0"""
        ).fetchone()
    assert waits == [10, 20, 40, 80, 160, 320, 640, 1280, 2560, 3600, 3600]
    database.execute("update alert_deliveries set created_at = now() - interval '8 days' where event = 'opened'")
    make_due()
    webhooks.deliver()
    assert count_deliveries(database)["given_up"] == 1
    receiver.statuses = [200]
    make_due()
    webhooks.deliver()
    assert receiver.events[-1]["event"] == "resolved"  # does not wait for a delivery that was given up
    database.execute("update alert_deliveries set delivered_at = now() - interval '31 days' where event = 'resolved'")
    assert deliveries.delete_old_deliveries(database) == 1


def test_an_alert_and_its_delivery_are_stored_together_or_not_at_all(heat, database, monkeypatch):
    monkeypatch.setattr("models.alerts.evaluation.enqueue_deliveries", lambda *_: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        heat("V1", 70)
    assert database.execute("select count(*) from alerts").fetchone() == (0,)


def test_without_a_url_no_delivery_is_stored(heat, database, receiver):
    heat("V1", 70, alert_webhook_url="")
    assert count_deliveries(database) == {"waiting": 0, "failing": 0, "given_up": 0}
