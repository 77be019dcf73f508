"""Degraded and completeness: one rule each, in performance, series, fleet and alerts alike."""

import random
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from decimal import Decimal

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from models.alerts.alert import list_alerts
from models.alerts.evaluation import evaluate_alerts
from models.analytics.energy.efficiency import completeness, efficiency_percent, status
from tests.factories import map_meter, meter, stamp, vehicle
from tests.rollups import roll_up, start_watermark

WATERMARK = datetime.now(UTC).replace(minute=0, second=0, microsecond=0)
VALUES = [Decimal(text) for text in ("0.1", "0.2", "0.3", "0.6", "0.7", "1.1", "1.4")]
VEHICLES = [f"V{number}" for number in range(12)]


@pytest.fixture
def send_day(client, send, database):
    """Stores 48 readings of each vehicle and of its meter, with DC energy in this proportion to AC, as decimals."""
    for name in VEHICLES:
        map_meter(client, name, f"M-{name}")
    start_watermark(database, WATERMARK - timedelta(hours=25))

    def send_day(proportion: str) -> None:
        draw = random.Random(7)
        readings = []
        for name in VEHICLES:
            for number in range(1, 49):
                at, kwh = WATERMARK - timedelta(minutes=30 * number), draw.choice(VALUES)
                readings.append(meter(f"M-{name}", at, kwhConsumedAc=float(kwh)))
                readings.append(vehicle(name, at, kwhDeliveredDc=float(kwh * Decimal(proportion))))
        send(*readings)
        roll_up(database, WATERMARK)

    return send_day


@pytest.fixture
def alerted(database, resources):
    """Evaluates the alerts; returns the vehicles with an efficiency alert that is not resolved."""

    def alerted() -> set[str]:
        changed = replace(resources.settings, alert_min_completeness=0)
        evaluate_alerts(database, changed, stored_until=WATERMARK, now=WATERMARK)
        open_alerts = [alert for alert in list_alerts(database, limit=1000) if alert.state != "resolved"]
        return {alert.device_id for alert in open_alerts if alert.kind == "efficiency"}

    return alerted


def test_a_vehicle_at_the_threshold_is_healthy_everywhere_and_opens_no_alert(client, send_day, alerted):
    send_day("0.85")
    window = {"from": stamp(WATERMARK - timedelta(hours=24)), "to": stamp(WATERMARK)}
    for name in VEHICLES:
        performance = client.get(f"/v1/analytics/performance/{name}", query_string=window).json
        assert (performance["efficiencyRatio"], performance["status"]) == (0.85, "healthy")
    assert client.get("/v1/analytics/fleet").json["vehicles"]["healthy"] == len(VEHICLES)
    assert alerted() == set()


def test_an_alert_is_resolved_at_the_threshold_and_the_hysteresis(send_day, alerted):
    send_day("0.8")
    assert alerted() == set(VEHICLES)
    send_day("0.87")
    assert alerted() == set()


def test_a_vehicle_at_100_percent_is_healthy_whatever_the_last_bits_are(client, send_day, alerted):
    send_day("1")
    assert client.get("/v1/analytics/fleet").json["vehicles"]["healthy"] == len(VEHICLES)
    assert alerted() == set()


def test_more_energy_out_than_in_is_implausible_everywhere(client, send, database):
    """A mapping that is missing for a part of the day is not the best vehicle of the fleet."""
    start_watermark(database, WATERMARK - timedelta(hours=3))
    map_meter(client, "V1", "M1", **{"from": WATERMARK - timedelta(hours=1)})
    for hours in (1, 2):
        at = WATERMARK - timedelta(hours=hours)
        send(meter("M1", at, kwhConsumedAc=10), vehicle("V1", at, kwhDeliveredDc=9))
    roll_up(database, WATERMARK)
    window = {"from": stamp(WATERMARK - timedelta(hours=24)), "to": stamp(WATERMARK)}
    performance = client.get("/v1/analytics/performance/V1", query_string=window).json
    assert (performance["efficiencyRatio"], performance["status"]) == (1.8, "implausible")
    fleet = client.get("/v1/analytics/fleet").json
    assert fleet["vehicles"] == {"known": 1, "healthy": 0, "degraded": 0, "implausible": 1, "unknown": 0}
    (found,) = client.get("/v1/analytics/fleet/vehicles?status=implausible").json["items"]
    # Loss stays AC less DC: below 0, so that the energies of the fleet add up.
    assert (found["vehicleId"], found["status"], found["loss"]) == ("V1", "implausible", -8)


def test_completeness_is_null_in_a_window_in_which_no_reading_was_expected(client, send):
    send(vehicle("V1"))
    ahead = datetime.now(UTC) + timedelta(hours=1)
    window = {"from": stamp(ahead), "to": stamp(ahead + timedelta(hours=1))}
    performance = client.get("/v1/analytics/performance/V1", query_string=window)
    series = client.get("/v1/vehicles/V1/series", query_string=window)
    assert performance.json["completeness"] is series.json["buckets"][0]["completeness"] is None


@given(st.floats(-1, 10_000), st.floats(1e-6, 10_000) | st.just(0.0), st.sampled_from([0, 84.9, 85, 100]))
@example(17.0, 20.0, 85)
@example(0.849999995, 1.0, 85)
@example(1.000000004, 1.0, 85)
@example(1.000000006, 1.0, 85)
@pytest.mark.slow
@settings(max_examples=50, suppress_health_check=list(HealthCheck))
def test_python_and_sql_give_the_same_status(database, dc, ac, threshold):
    query = "select efficiency_percent(%(dc)s, %(ac)s), efficiency_status(%(dc)s, %(ac)s, %(threshold)s)"
    found = database.execute(query, {"dc": dc, "ac": ac, "threshold": threshold}).fetchone()
    assert found == (efficiency_percent(dc, ac), status(dc, ac, threshold))


@given(st.integers(0, 10_000), st.integers(-3600, 2_678_400), st.sampled_from([1, 60, 86_400]))
@pytest.mark.slow
@settings(max_examples=50, suppress_health_check=list(HealthCheck))
def test_python_and_sql_give_the_same_completeness(database, instants, seconds, heartbeat):
    (found,) = database.execute("select completeness(%s, %s, %s)", [instants, seconds, heartbeat]).fetchone()
    end = WATERMARK + timedelta(seconds=seconds)
    assert completeness(instants, WATERMARK, end, heartbeat_seconds=heartbeat, now=end) == pytest.approx(found)
