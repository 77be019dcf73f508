"""The rules of alerts: when each kind opens and when it is resolved. Numbers are worked out by hand."""

from datetime import timedelta

import pytest

from models.alerts.alert import list_alerts
from tests.factories import ago

# ── Efficiency ───────────────────────────────────────────────────────────────────────────────────────────────────


def test_efficiency_opens_below_the_threshold_and_is_resolved_above_it_by_the_hysteresis(evaluate, roll_up, database):
    # 24 hours of 60 readings; the energy is all in one of them. 84.9 % of 100 kWh.
    for hours in range(2, 25):
        roll_up("V1", hours=hours)
    roll_up("V1", ac=100, dc=84.9)
    opened = evaluate()["V1", "efficiency"]
    assert (opened.state, opened.bound) == ("open", 85.0)
    assert opened.value == pytest.approx(84.9)
    assert opened.detail["acConsumption"] == 100
    assert opened.detail["completeness"] == 1
    # 86.9 is above the threshold, but not by 2 points: the alert goes on with the new value.
    roll_up("V1", ac=100, dc=86.9)
    kept = evaluate(now=ago(seconds=0) + timedelta(minutes=1))["V1", "efficiency"]
    assert kept.id == opened.id
    assert kept.value == pytest.approx(86.9)
    assert kept.last_seen_at > opened.last_seen_at
    # 87 is above it by 2 points.
    roll_up("V1", ac=100, dc=87)
    assert not evaluate()
    (resolved,) = list_alerts(database, limit=10)
    assert (resolved.id, resolved.state) == (opened.id, "resolved")
    assert resolved.value == pytest.approx(87)
    # Between the two no alert opens; below the threshold a new one does.
    roll_up("V1", ac=100, dc=86)
    assert not evaluate()
    roll_up("V1", ac=100, dc=80)
    assert evaluate()["V1", "efficiency"].id != opened.id


def test_efficiency_covers_all_hours_of_the_last_day_and_none_before(evaluate, roll_up):
    # 60 % in one hour and 100 % in another are 80 % of the day, which does not contain the hour 25 hours ago.
    roll_up("V1", hours=24, ac=10, dc=6, readings=720)
    roll_up("V1", hours=1, ac=10, dc=10, readings=720)
    roll_up("V1", hours=25, ac=1000, dc=1000)
    assert evaluate()["V1", "efficiency"].value == pytest.approx(80)


@pytest.mark.parametrize(
    ("ac", "dc", "readings", "opens"),
    [
        (10, 5, 720, True),  # half of 1,440 readings, just enough
        (10, 5, 719, False),
        (1, 0.5, 1440, True),  # 1 kWh, just enough
        (0.99, 0.5, 1440, False),
        (0, 5, 1440, False),  # no meter: unknown, not bad
    ],
)
def test_efficiency_needs_enough_energy_and_readings(evaluate, roll_up, ac, dc, readings, opens):
    roll_up("V1", ac=ac, dc=dc, readings=readings)
    assert (("V1", "efficiency") in evaluate()) == opens


def test_a_kwh_that_is_a_sum_of_tenths_is_enough(evaluate, roll_up):
    for hour in range(1, 11):  # as doubles, ten times 0.1 is 0.9999999999999999
        roll_up("V1", ac=0.1, dc=0.05, readings=144, hours=hour)
        roll_up("V2", ac=0.05, dc=0.1, readings=144, hours=hour)
    assert set(evaluate()) == {("V1", "efficiency"), ("V2", "implausible_efficiency")}


def test_an_alert_stays_as_it_is_while_there_is_too_little_data(evaluate, roll_up):
    roll_up("V1", ac=10, dc=5, readings=1440)
    opened = evaluate()["V1", "efficiency"]
    roll_up("V1", ac=10, dc=10, readings=10)
    assert evaluate()["V1", "efficiency"] == opened


def test_completeness_follows_the_heartbeat_of_the_device(evaluate, roll_up, database):
    database.execute("insert into devices (kind, device_id, heartbeat_seconds) values ('vehicle', 'V1', 900)")
    roll_up("V1", ac=10, dc=5, readings=96)  # one in 15 minutes: all of them
    assert evaluate()["V1", "efficiency"].detail["completeness"] == 1


# ── Implausible efficiency ───────────────────────────────────────────────────────────────────────────────────────


def test_more_energy_out_than_in_opens_an_alert_until_the_efficiency_is_plausible(evaluate, roll_up):
    roll_up("V1", ac=10, dc=10)
    roll_up("V2", ac=0, dc=10)  # no meter: unknown
    roll_up("V3", ac=0.1, dc=0.9)  # too little
    assert not evaluate()
    roll_up("V1", ac=10, dc=10.1, readings=2)
    alerts = evaluate()
    assert set(alerts) == {("V1", "implausible_efficiency")}
    alert = alerts["V1", "implausible_efficiency"]
    assert (alert.value, alert.bound, alert.detail["dcDelivery"]) == (101, 100, 10.1)
    assert alert.message == "Efficiency over the last day: 101.0 % (alert above 100 %: check mappings and registers)"
    roll_up("V1", ac=10, dc=9)
    assert not evaluate()


def test_an_implausible_efficiency_resolves_no_alert(evaluate, roll_up):
    roll_up("V1", ac=10, dc=5, readings=1440)
    assert set(evaluate()) == {("V1", "efficiency")}
    roll_up("V1", ac=10, dc=15, readings=1440)
    assert set(evaluate()) == {("V1", "efficiency"), ("V1", "implausible_efficiency")}


# ── Battery temperature ──────────────────────────────────────────────────────────────────────────────────────────


def test_a_hot_battery_opens_an_alert_until_the_newest_reading_is_cooler(evaluate, report):
    report("V1", battery_temp=60.0)  # the bound itself is allowed
    assert not evaluate()
    report("V1", battery_temp=60.1)
    assert evaluate()["V1", "battery_temperature"].value == 60.1
    report("V1", battery_temp=59)
    assert not evaluate()


def test_a_peak_between_two_evaluations_opens_an_alert_until_its_hour_has_passed(evaluate, report, roll_up, database):
    report("V1", battery_temp=30)
    roll_up("V1", hours=1, hottest=75)
    opened = evaluate()["V1", "battery_temperature"]
    assert (opened.value, opened.detail["newest"]) == (75, 30)
    database.execute("update rollup_state set rolled_until = rolled_until + interval '1 hour'")
    assert not evaluate()


def test_a_vehicle_that_fell_silent_while_hot_stays_alerted(evaluate, report):
    report("V1", ago(hours=30), battery_temp=80)
    report("V2")
    assert {("V1", "battery_temperature"), ("V1", "silent")} == set(evaluate())
    assert {("V1", "battery_temperature"), ("V1", "silent")} == set(evaluate())


# ── Silence ──────────────────────────────────────────────────────────────────────────────────────────────────────


def test_a_device_that_stops_reporting_is_alerted_until_it_reports_again(evaluate, report):
    report("M1", ago(seconds=3605))
    report("V1", ago(seconds=3500))
    alerts = evaluate()
    assert set(alerts) == {("M1", "silent")}
    silent = alerts["M1", "silent"]
    assert silent.value == pytest.approx(3605, abs=5)
    assert silent.detail["lastSeen"].startswith(f"{ago(seconds=3605):%Y-%m-%dT%H}")
    assert silent.message.startswith(f"Last seen {silent.detail['lastSeen']} (alert after 3,600 s)")
    report("M1")
    assert not evaluate()


def test_a_device_with_a_slow_heartbeat_may_miss_one(evaluate, report, database):
    database.execute("insert into devices (kind, device_id, heartbeat_seconds) values ('meter', 'M1', 3000)")
    report("M1", ago(seconds=5900))
    assert not evaluate()
    report("M1", ago(seconds=6100))
    assert evaluate()["M1", "silent"].bound == 6000


def test_a_device_without_a_heartbeat_of_its_own_may_miss_one_of_the_default(evaluate, report, database):
    database.execute("insert into devices (kind, device_id, name) values ('meter', 'M2', 'Bay 2')")
    for device in ("M1", "M2", "V1"):
        report(device, ago(seconds=7190))
    assert not evaluate(heartbeat_seconds=3600)
    for device in ("M1", "M2", "V1"):
        report(device, ago(seconds=7210))
    assert {alert.bound for alert in evaluate(heartbeat_seconds=3600).values()} == {7200}
    report("M1", ago(seconds=119))
    assert ("M1", "silent") not in evaluate(alert_silent_seconds=60)  # 2 × 60 s


@pytest.fixture
def silent_fleet(report):
    """Eleven devices that last reported two hours ago."""
    for number in range(11):
        report(f"M{number}", ago(hours=2))


def each_minute(*minutes: int):
    return [ago(minutes=minute) for minute in range(*minutes)]


def test_a_standstill_of_ingest_does_not_make_a_fleet_silent(evaluate, silent_fleet, store_batches):
    store_batches(*each_minute(20, 60))  # for 20 minutes no device has been stored
    assert not evaluate()


def test_after_a_standstill_each_device_has_its_time_to_report_again(evaluate, silent_fleet, store_batches):
    store_batches(*each_minute(50))  # ingest resumed 50 minutes ago
    assert not evaluate()
    store_batches(*each_minute(50, 60))
    assert len(evaluate()) == 11


def test_a_device_whose_readings_may_wait_in_the_stream_is_not_silent(evaluate, silent_fleet, store_batches):
    store_batches(*each_minute(60))
    assert not evaluate(stored_until=ago(minutes=7))
    assert len(evaluate(stored_until=ago(minutes=5))) == 11


def test_open_alerts_go_on_during_a_standstill(evaluate, silent_fleet, store_batches, report, database):
    store_batches(*each_minute(60))
    assert len(evaluate()) == 11
    database.execute("truncate ingest_batches")
    report("M0")
    alerts = evaluate(now=ago(seconds=0) + timedelta(minutes=1))
    assert len(alerts) == 10
    assert min(alert.last_seen_at for alert in alerts.values()) > ago(seconds=0)


# ── Implausible readings ─────────────────────────────────────────────────────────────────────────────────────────


def test_implausible_readings_are_alerted_while_the_last_day_has_them(evaluate, roll_up, watermark, database):
    roll_up("V1", hours=24, implausible=2)
    roll_up("V1", hours=3, implausible=1)
    database.execute(
        """insert into meter_hourly (meter_id, hour, kwh, voltage_sum, readings, implausible)
           values ('M1', %s, 0, 0, 1, 5)""",
        [watermark - timedelta(hours=2)],
    )
    values = {key: alert.value for key, alert in evaluate().items()}
    assert values == {("V1", "implausible"): 3, ("M1", "implausible"): 5}
    database.execute("delete from meter_hourly")
    database.execute("update rollup_state set rolled_until = rolled_until + interval '1 hour'")
    assert {key: alert.value for key, alert in evaluate().items()} == {("V1", "implausible"): 1}
