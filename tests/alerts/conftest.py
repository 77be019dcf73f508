"""Alerts arranged in the database: roll-ups, live rows and batches as workers write them, then an evaluation.

And a receiver of the webhook, to which workers/webhooks.py delivers in this process.
"""

from collections.abc import Iterator
from dataclasses import replace
from datetime import datetime, timedelta
from itertools import count

import pytest

from models.alerts.alert import RESOLVED, list_alerts
from models.alerts.evaluation import evaluate_alerts
from models.resources import Resources
from models.settings import Settings
from tests.alerts.receiver import SECRET, Receiver, listening
from tests.factories import ago
from tests.rollups import start_watermark
from workers import exchange, webhooks


@pytest.fixture
def watermark(database) -> datetime:
    """The watermark, on the hour: the last day is the 24 full hours before it."""
    watermark = ago(minutes=0).replace(minute=0, second=0)
    start_watermark(database, watermark)
    return watermark


@pytest.fixture
def roll_up(database, watermark):
    """Stores an hour of a vehicle, `hours` before the watermark: roll_up("V1", ac=10, dc=8, readings=1440)."""

    def roll_up(device, *, hours=1, dc=0.0, ac=0.0, readings=60, hottest=25.0, implausible=0):
        database.execute(
            """insert into vehicle_hourly (vehicle_id, hour, kwh, battery_temp_sum, battery_temp_max, readings,
                 implausible, fed_by, fed_kwh, fed_readings, ac_kwh)
               values (%(device)s, %(hour)s, %(dc)s, 0, %(hottest)s, %(readings)s, %(implausible)s,
                 '{M1,M2}', array[%(ac)s * 0.25, %(ac)s * 0.75], %(readings)s, %(ac)s)
               on conflict (vehicle_id, hour) do update set kwh = excluded.kwh, fed_kwh = excluded.fed_kwh,
                 ac_kwh = excluded.ac_kwh, readings = excluded.readings, implausible = excluded.implausible,
                 battery_temp_max = excluded.battery_temp_max""",
            {
                "device": device, "hour": watermark - timedelta(hours=hours), "dc": dc, "ac": ac, "readings": readings,
                "hottest": hottest, "implausible": implausible,
            },
        )  # fmt: skip

    return roll_up


@pytest.fixture
def report(database):
    """Stores a live row, as if the device had just reported: report("V1", at, battery_temp=70)."""

    def report(device: str, at: datetime | None = None, battery_temp=25.0):
        kind, values = ("vehicle", "kwh_delivered_dc, battery_temp") if device[0] == "V" else (
            "meter", "kwh_consumed_ac, voltage")  # fmt: skip
        database.execute(
            f"""insert into {kind}_readings_live as l ({kind}_id, recorded_at, received_at, {values})
                values (%(id)s, %(at)s, %(at)s, 0, %(value)s) on conflict ({kind}_id) do update
                set recorded_at = excluded.recorded_at {", battery_temp = %(value)s" if kind == "vehicle" else ""}""",
            {"id": device, "at": at or ago(seconds=5), "value": battery_temp},
        )

    return report


@pytest.fixture
def store_batches(database):
    """Stores a batch for each time, whose last entry was accepted then."""
    numbers = count()

    def store_batches(*times: datetime):
        for at in times:
            number = (int(at.timestamp() * 1000) << 20) + next(numbers)
            database.execute(
                """insert into ingest_batches (shard, last_entry, first_entry, entries, readings, dead_letters)
                   values (0, %(n)s, %(n)s, array[%(n)s], 1, 0)""",
                {"n": number},
            )

    return store_batches


@pytest.fixture
def evaluate(database, resources):
    """Evaluates all rules; returns the unresolved alerts by (device, kind)."""

    def evaluate(*, stored_until=None, now=None, **settings):
        now = now or ago(seconds=0)
        evaluate_alerts(database, replace(resources.settings, **settings), stored_until=stored_until or now, now=now)
        alerts = list_alerts(database, limit=1000)
        return {(alert.device_id, alert.kind): alert for alert in alerts if alert.state != RESOLVED}

    return evaluate


@pytest.fixture
def open_alerts(evaluate, report) -> dict[str, int]:
    """The ids of three open alerts by device, in this order: M1 (silent), V1 and V2 (hot batteries)."""
    report("M1", ago(hours=2))
    evaluate()
    for device in ("V1", "V2"):
        report(device, battery_temp=70)
        evaluate()
    return {device: alert.id for (device, _), alert in evaluate().items()}


# ── The webhook ──────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.fixture
def receiver() -> Receiver:
    return Receiver()


@pytest.fixture
def webhook_settings(resources, receiver, monkeypatch) -> Iterator[Settings]:
    """Settings with the receiver's URL; tasks in this process use them too."""
    with listening(receiver) as url:
        settings = replace(resources.settings, alert_webhook_url=url, alert_webhook_secret=SECRET)
        changed = Resources(settings, resources.database, resources.stream)
        monkeypatch.setattr(webhooks, "current_resources", lambda: changed)
        monkeypatch.setattr(exchange, "CONNECT_SECONDS", 0.5)
        monkeypatch.setattr(exchange, "ANSWER_SECONDS", 0.5)
        yield settings


@pytest.fixture
def heat(report, evaluate, webhook_settings):
    """Sets the temperature of a vehicle's battery and evaluates: heat("V1", 70)."""
    webhook = {
        "alert_webhook_url": webhook_settings.alert_webhook_url,
        "alert_webhook_secret": webhook_settings.alert_webhook_secret,
    }

    def heat(device: str, temperature: float, **settings):
        report(device, battery_temp=temperature)
        evaluate(**webhook | settings)

    return heat


@pytest.fixture
def make_due(database):
    """Makes every pending delivery due now."""
    return lambda: database.execute("update alert_deliveries set next_attempt_at = now()")
