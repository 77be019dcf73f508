"""The increment: the energy that one reading adds. Numbers are worked out by hand."""

from datetime import UTC, datetime, timedelta

import pytest

from tests.analytics.query_plans import plan_nodes
from tests.factories import map_meter, meter, stamp, vehicle

START = datetime(2026, 2, 10, 12, tzinfo=UTC)
END = START + timedelta(hours=1)


def at(minutes: float) -> datetime:
    return START + timedelta(minutes=minutes)


@pytest.fixture
def counted(client, send):
    """Stores readings of M001, as (minutes after START, kWh); returns the performance of the hour from START."""
    map_meter(client)
    send(vehicle())

    def counted(*readings, start=START, end=END, **settings) -> dict:
        if settings:
            assert client.put("/v1/meters/M001", json=settings).status_code in (200, 201)
        for minutes, kwh in readings:  # one by one: each is accepted after the one before
            send(meter(at=at(minutes), kwhConsumedAc=kwh))
        answer = client.get("/v1/analytics/performance/V001", query_string={"from": stamp(start), "to": stamp(end)})
        assert answer.status_code == 200
        return answer.json

    return counted


def energy(answer: dict) -> tuple[float, int, int]:
    return answer["totalAcConsumption"], answer["meterDataPoints"], answer["implausible"]


# ── Cumulative ───────────────────────────────────────────────────────────────────────────────────────────────


def test_a_counter_adds_its_increases(counted):
    # 101 − 100 + 103.5 − 101
    assert energy(counted((1, 100), (2, 101), (3, 103.5), register="cumulative")) == (3.5, 3, 0)


def test_the_first_reading_ever_adds_nothing(counted):
    assert energy(counted((1, 5000), register="cumulative")) == (0, 1, 0)


def test_the_first_reading_of_a_window_adds_the_difference_to_the_one_before(counted):
    # After three days without a reading: 110 − 100 belongs to minute 5, nothing is spread over the gap. The 90 does not
    # matter, nor does the reading after the window.
    days = -3 * 24 * 60
    assert energy(counted((days - 10, 90), (days, 100), (5, 110), (61, 999), register="cumulative")) == (10, 1, 0)


def test_after_a_reset_the_value_itself_counts(counted):
    # 2 until the meter is exchanged, then the new meter's 3, and 1 more.
    assert energy(counted((1, 500), (2, 502), (3, 3), (4, 4), register="cumulative")) == (6, 4, 0)


def test_a_dip_takes_back_what_is_added_again(counted):
    # +1, −0.1, +0.2: from 100 to 101.1. If a dip counted as a reset it would be 100.9 more.
    assert energy(counted((1, 100), (2, 101), (3, 100.9), (4, 101.1), register="cumulative")) == (1.1, 4, 0)


def test_a_window_with_only_a_dip_is_below_zero(counted):
    answer = counted((-1, 100), (1, 99.9), register="cumulative")
    assert energy(answer) == (-0.1, 1, 0)
    assert (answer["efficiencyRatio"], answer["status"]) == (None, "unknown")


@pytest.mark.parametrize(("value", "kwh"), [(90, -10), (89.9, 89.9)])
def test_nine_tenths_are_a_dip_and_less_is_a_reset(counted, value, kwh):
    assert energy(counted((1, 100), (2, value), register="cumulative")) == (kwh, 2, 0)


def test_a_placeholder_zero_is_a_reset_and_the_way_back_is_caught_by_the_rated_power(counted):
    # A charger sends 0 before it knows its register. 910 → 0 is a reset that adds 0; 0 → 910.08 is an increase in one
    # minute that 22 kW (0.3667 kWh a minute) cannot yield; then 0.1 more.
    readings = ((0, 910), (1, 0), (2, 910.08), (3, 910.18))
    assert energy(counted(*readings, register="cumulative", ratedPowerKw=22)) == (0.1, 4, 1)
    # Without a rated power it looks like an exchanged meter: 910.08 + 0.1.
    assert energy(counted(ratedPowerKw=None)) == (910.18, 4, 0)


def test_energy_after_a_gap_belongs_to_the_reading_that_ends_it(counted):
    # 40 minutes without a reading: the whole increase is at the end of the gap.
    first = counted((1, 10), (41, 50), register="cumulative")
    assert energy(first) == (40, 2, 0)
    assert energy(counted(end=at(41))) == (0, 1, 0)
    assert energy(counted(start=at(41))) == (40, 1, 0)


def test_a_late_reading_divides_an_increase_and_changes_no_sum(counted):
    assert energy(counted((1, 10), (31, 16), register="cumulative")) == (6, 2, 0)
    # At minute 21 it had been 14: 4 before half past, 2 after.
    assert energy(counted((21, 14))) == (6, 3, 0)
    assert energy(counted(end=at(30))) == (4, 2, 0)
    assert energy(counted(start=at(30))) == (2, 1, 0)


def test_a_correction_replaces_the_reading(counted):
    # 10, 900 (wrong), 12: the 900 adds 890, and 12 after it is a reset that adds 12.
    assert energy(counted((1, 10), (2, 900), (3, 12), register="cumulative")) == (902, 3, 0)
    assert energy(counted((2, 11))) == (2, 3, 0)  # 10, 11, 12


def test_a_correction_before_the_window_is_the_value_before(counted):
    assert energy(counted((-5, 10), (-5, 14), (5, 20), register="cumulative")) == (6, 1, 0)


def test_a_changed_register_applies_to_stored_readings(counted):
    assert energy(counted((1, 100), (2, 101))) == (201, 2, 0)
    assert energy(counted(register="cumulative")) == (1, 2, 0)
    assert energy(counted(register=None)) == (201, 2, 0)


def test_a_vehicle_with_a_cumulative_register(client, send):
    map_meter(client)
    client.put("/v1/vehicles/V001", json={"register": "cumulative"})
    send(
        vehicle(at=at(-60), kwhDeliveredDc=1000, batteryTemp=99),
        *[vehicle(at=at(minute), kwhDeliveredDc=1000 + minute, batteryTemp=20 + minute) for minute in (1, 2, 3)],
        meter(at=at(1), kwhConsumedAc=4),
    )
    window = {"from": stamp(START), "to": stamp(END)}
    answer = client.get("/v1/analytics/performance/V001", query_string=window).json
    # 1003 − 1000; the temperature is that of the window's own readings: 21, 22, 23.
    assert (answer["totalDcDelivery"], answer["avgBatteryTemp"], answer["dataPoints"]) == (3, 22, 3)
    assert (answer["efficiencyRatio"], answer["status"]) == (0.75, "degraded")


# ── Rated power ──────────────────────────────────────────────────────────────────────────────────────────────


def test_energy_up_to_the_rated_power_is_plausible(counted):
    # 60 kW are 1 kWh a minute. 1 is allowed, 1.1 is not; after a gap of five minutes 5 are.
    assert energy(counted((0, 0), (1, 1), (2, 2.1), (7, 7.1), register="cumulative", ratedPowerKw=60)) == (6, 4, 1)


def test_a_spike_and_its_return(counted):
    # 10, 11, 5000, 12 at 60 kW: +1, +4989 implausible, then 12 is a reset, judged as well: 12 > 1.
    assert energy(counted((0, 10), (1, 11), (2, 5000), (3, 12), register="cumulative", ratedPowerKw=60)) == (1, 4, 2)


def test_interval_readings_are_judged_by_the_time_between(counted):
    # 60 kW: 1 kWh a minute. The first is not judged; 1.5 after a minute is too much, 1.5 after two is not.
    assert energy(counted((0, 50), (1, 1.5), (3, 1.5), ratedPowerKw=60)) == (51.5, 3, 1)


def test_interval_readings_are_granted_at_least_a_heartbeat(counted):
    # A reading six seconds after another one is granted a whole heartbeat: 5 minutes, 5 kWh.
    assert energy(counted((0, 1), (0.1, 5), ratedPowerKw=60, heartbeatSeconds=300)) == (6, 2, 0)
    assert energy(counted(heartbeatSeconds=60)) == (1, 2, 1)


def test_completeness_follows_the_vehicles_own_heartbeat(client, send):
    send(*[vehicle(at=at(minute)) for minute in range(0, 60, 5)])
    window = {"from": stamp(START), "to": stamp(END)}
    path = "/v1/analytics/performance/V001"
    assert client.get(path, query_string=window).json["completeness"] == 0.2  # 12 of 60
    client.put("/v1/vehicles/V001", json={"heartbeatSeconds": 300})
    assert client.get(path, query_string=window).json["completeness"] == 1


# ── The plan ──────────────────────────────────────────────────────────────────────────────────────────


def test_a_counter_is_read_from_the_covering_index_only(database):
    """The window's readings and one before it: index-only, however much there is before."""
    today = datetime.now(UTC).replace(hour=0, minute=0, second=0, microsecond=0)
    database.execute(
        """insert into meter_readings_history
           select at, now(), 100 + extract(epoch from at - %(start)s) / 600, 230, 'M' || to_char(device, 'FM0000')
           from generate_series(%(start)s::timestamptz, %(end)s, '10 minutes') at, generate_series(1, 500) device""",
        {"start": today - timedelta(days=2), "end": today - timedelta(seconds=1)},
    )
    database.execute("vacuum (analyze) meter_readings_history")
    database.execute("insert into devices (kind, device_id, register) values ('meter', 'M0400', 'cumulative')")
    values = {"id": "M0400", "start": today - timedelta(days=1), "end": today, "heartbeat_seconds": 60}
    query = (
        "select sum(kwh) from meter_increments(%(id)s, %(start)s, %(end)s, %(start)s, %(end)s, %(heartbeat_seconds)s)"
    )
    assert database.execute(query, values).fetchone()[0] == pytest.approx(144)  # one each ten minutes of a day
    (plan,) = database.execute(f"explain (analyze, buffers, format json) {query}", values).fetchone()
    history = [n for n in plan_nodes(plan[0]["Plan"]) if "readings_history" in n.get("Relation Name", "")]
    read = [node for node in history if node["Actual Loops"]]
    assert {node["Node Type"] for node in read} == {"Index Only Scan"}
    assert sum(node["Actual Rows"] for node in read) == 145
    assert plan[0]["Plan"]["Shared Hit Blocks"] + plan[0]["Plan"]["Shared Read Blocks"] < 60
