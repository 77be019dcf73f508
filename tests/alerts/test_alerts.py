"""Alerts: when they open, what keeps them, when they are over, and who may see them. Numbers are worked out by hand."""

from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import timedelta
from itertools import count

import psycopg
import pytest

from models.alerts.alert import acknowledge_alert, list_alerts
from models.alerts.evaluation import evaluate_alerts
from tests.factories import ago, meter, vehicle

ALERTS = "/v1/alerts"
# The hour of the watermark, so that the day is the 24 full hours before it and nothing of the hour it is in.
WATERMARK = ago(minutes=0).replace(minute=0, second=0)


@pytest.fixture
def rolled_up(database):
    """Everything before WATERMARK is rolled up."""
    database.execute("insert into rollup_state (marked_until, rolled_until) values (%s, %s)", [WATERMARK, WATERMARK])


@pytest.fixture
def roll_up(database, rolled_up):
    """An hour of a vehicle, so many hours before the watermark: roll_up("V1", ac=10, dc=8, readings=1440)."""

    def roll_up(device, *, hours=1, dc=0.0, ac=0.0, readings=60, hottest=25.0, implausible=0):
        database.execute(
            """insert into vehicle_hourly (vehicle_id, hour, kwh, battery_temp_sum, battery_temp_max, readings,
                 implausible, fed_by, fed_kwh, fed_readings)
               values (%(device)s, %(hour)s, %(dc)s, 0, %(hottest)s, %(readings)s, %(implausible)s,
                 '{M1,M2}', array[%(ac)s * 0.25, %(ac)s * 0.75], %(readings)s)
               on conflict (vehicle_id, hour) do update set kwh = excluded.kwh, fed_kwh = excluded.fed_kwh,
                 readings = excluded.readings, implausible = excluded.implausible,
                 battery_temp_max = excluded.battery_temp_max""",
            {
                "device": device, "hour": WATERMARK - timedelta(hours=hours), "dc": dc, "ac": ac, "readings": readings,
                "hottest": hottest, "implausible": implausible,
            },
        )  # fmt: skip

    return roll_up


@pytest.fixture
def heard(database):
    """Live rows, as the drain writes them: heard("V1", at, battery_temp=70)."""

    def heard(device, at=None, battery_temp=25.0):
        kind, values = ("vehicle", "kwh_delivered_dc, battery_temp") if device[0] == "V" else (
            "meter", "kwh_consumed_ac, voltage")  # fmt: skip
        database.execute(
            f"""insert into {kind}_readings_live as l ({kind}_id, recorded_at, received_at, {values})
                values (%(id)s, %(at)s, %(at)s, 0, %(value)s) on conflict ({kind}_id) do update
                set recorded_at = excluded.recorded_at {", battery_temp = %(value)s" if kind == "vehicle" else ""}""",
            {"id": device, "at": at or ago(seconds=5), "value": battery_temp},
        )

    return heard


@pytest.fixture
def judge(database, resources):
    """Evaluates; returns the alerts that are not resolved by (device, kind)."""

    def judge(*, stored_until=None, now=None, **settings):
        now = now or ago(seconds=0)
        evaluate_alerts(database, replace(resources.settings, **settings), stored_until=stored_until or now, now=now)
        return {(a.device_id, a.kind): a for a in list_alerts(database, limit=1000) if a.state != "resolved"}

    return judge


@pytest.fixture
def taken_in(database):
    """A batch whose last entry was accepted then."""
    numbers = count()

    def taken_in(*times):
        for at in times:
            number = (int(at.timestamp() * 1000) << 20) + next(numbers)
            database.execute(
                """insert into ingest_batches (shard, last_entry, first_entry, entries, readings, dead_letters)
                   values (0, %(n)s, %(n)s, array[%(n)s], 1, 0)""",
                {"n": number},
            )

    return taken_in


# ── Efficiency ───────────────────────────────────────────────────────────────────────────────────────────────────


def test_efficiency_opens_below_the_threshold_and_is_over_above_it_by_the_hysteresis(judge, roll_up, database):
    # 24 hours of 60 readings; the energy is all in one of them. 84.9 % of 100 kWh.
    for hours in range(2, 25):
        roll_up("V1", hours=hours)
    roll_up("V1", ac=100, dc=84.9)
    opened = judge()["V1", "efficiency"]
    assert (opened.state, opened.bound) == ("open", 85.0)
    assert opened.value == pytest.approx(84.9)
    assert opened.detail["acConsumption"] == 100
    assert opened.detail["completeness"] == 1
    # 86.9 is above the threshold and not by 2 points: it goes on, with the new value.
    roll_up("V1", ac=100, dc=86.9)
    kept = judge(now=ago(seconds=0) + timedelta(minutes=1))["V1", "efficiency"]
    assert kept.id == opened.id
    assert kept.value == pytest.approx(86.9)
    assert kept.last_seen_at > opened.last_seen_at
    # 87 is.
    roll_up("V1", ac=100, dc=87)
    assert not judge()
    (over,) = list_alerts(database, limit=10)
    assert (over.id, over.state) == (opened.id, "resolved")
    assert over.value == pytest.approx(87)
    # Between the two nothing opens anew; below the threshold another alert does.
    roll_up("V1", ac=100, dc=86)
    assert not judge()
    roll_up("V1", ac=100, dc=80)
    assert judge()["V1", "efficiency"].id != opened.id


def test_a_day_is_judged_by_all_its_hours_and_none_before(judge, roll_up):
    # The day: 60 % in one hour and 100 % in another are 80 % of it. What was 25 hours ago is not in it.
    roll_up("V1", hours=24, ac=10, dc=6, readings=720)
    roll_up("V1", hours=1, ac=10, dc=10, readings=720)
    roll_up("V1", hours=25, ac=1000, dc=1000)
    assert judge()["V1", "efficiency"].value == pytest.approx(80)


@pytest.mark.parametrize(
    ("ac", "dc", "readings", "is_said"),
    [
        (10, 5, 720, True),  # half of 1,440 readings, just enough
        (10, 5, 719, False),
        (1, 0.5, 1440, True),  # 1 kWh, just enough
        (0.99, 0.5, 1440, False),
        (0, 5, 1440, False),  # no meter: unknown, not bad
    ],
)
def test_of_little_data_nothing_is_said(judge, roll_up, ac, dc, readings, is_said):
    roll_up("V1", ac=ac, dc=dc, readings=readings)
    assert (("V1", "efficiency") in judge()) == is_said


def test_with_little_data_what_is_there_stays(judge, roll_up):
    roll_up("V1", ac=10, dc=5, readings=1440)
    opened = judge()["V1", "efficiency"]
    roll_up("V1", ac=10, dc=10, readings=10)
    assert judge()["V1", "efficiency"] == opened


def test_completeness_is_by_the_heartbeat_of_the_device(judge, roll_up, database):
    database.execute("insert into devices (kind, device_id, heartbeat_seconds) values ('vehicle', 'V1', 900)")
    roll_up("V1", ac=10, dc=5, readings=96)  # one in 15 minutes: all of them
    assert judge()["V1", "efficiency"].detail["completeness"] == 1


# ── Battery ──────────────────────────────────────────────────────────────────────────────────────────────────────


def test_a_hot_battery_is_alerted_by_its_newest_reading_and_over_when_that_is_cooler(judge, heard):
    heard("V1", battery_temp=60.0)  # the bound itself is not above it
    assert not judge()
    heard("V1", battery_temp=60.1)
    assert judge()["V1", "battery_temperature"].value == 60.1
    heard("V1", battery_temp=59)
    assert not judge()


def test_a_peak_between_two_looks_is_alerted_until_its_hour_is_past(judge, heard, roll_up, database):
    heard("V1", battery_temp=30)
    roll_up("V1", hours=1, hottest=75)
    opened = judge()["V1", "battery_temperature"]
    assert (opened.value, opened.detail["newest"]) == (75, 30)
    database.execute("update rollup_state set rolled_until = rolled_until + interval '1 hour'")
    assert not judge()


def test_a_vehicle_that_fell_silent_while_hot_has_not_cooled_down(judge, heard):
    heard("V1", ago(hours=30), battery_temp=80)
    heard("V2")
    assert {("V1", "battery_temperature"), ("V1", "silent")} == set(judge())
    assert {("V1", "battery_temperature"), ("V1", "silent")} == set(judge())


# ── Silence ──────────────────────────────────────────────────────────────────────────────────────────────────────


def test_a_device_that_was_heard_once_and_is_no_more_is_alerted_until_it_is_heard(judge, heard):
    heard("M1", ago(seconds=3605))
    heard("V1", ago(seconds=3500))
    found = judge()
    assert set(found) == {("M1", "silent")}
    assert found["M1", "silent"].value == pytest.approx(3605, abs=5)
    assert found["M1", "silent"].detail["lastSeen"].startswith(f"{ago(seconds=3605):%Y-%m-%dT%H:%M}"[:13])
    heard("M1")
    assert not judge()


def test_a_device_with_a_slow_heartbeat_may_miss_one(judge, heard, database):
    database.execute("insert into devices (kind, device_id, heartbeat_seconds) values ('meter', 'M1', 3000)")
    heard("M1", ago(seconds=5900))
    assert not judge()
    heard("M1", ago(seconds=6100))
    assert judge()["M1", "silent"].bound == 6000


@pytest.fixture
def fleet(heard):
    """Eleven devices, not heard for two hours."""
    for number in range(11):
        heard(f"M{number}", ago(hours=2))


def every_minute(minutes):
    return [ago(minutes=minute) for minute in range(minutes)]


def test_a_standstill_of_ours_is_not_the_silence_of_a_fleet(judge, fleet, taken_in):
    taken_in(*(ago(minutes=minute) for minute in range(20, 60)))  # then nothing came in, of any device
    assert not judge()


def test_after_a_standstill_each_device_has_its_time_to_be_heard_again(judge, fleet, taken_in):
    taken_in(*every_minute(50))  # it went on 50 minutes ago
    assert not judge()
    taken_in(*(ago(minutes=minute) for minute in range(50, 60)))
    assert len(judge()) == 11


def test_what_waits_in_the_stream_is_not_silent(judge, fleet, taken_in):
    taken_in(*every_minute(60))
    assert not judge(stored_until=ago(minutes=7))
    assert len(judge(stored_until=ago(minutes=5))) == 11


def test_an_alert_that_is_there_goes_on_while_ingest_stands_still(judge, fleet, taken_in, heard, database):
    taken_in(*every_minute(60))
    assert len(judge()) == 11
    database.execute("truncate ingest_batches")
    heard("M0")
    found = judge(now=ago(seconds=0) + timedelta(minutes=1))
    assert len(found) == 10
    assert min(alert.last_seen_at for alert in found.values()) > ago(seconds=0)


# ── Implausible ──────────────────────────────────────────────────────────────────────────────────────────────────


def test_implausible_readings_are_alerted_while_the_day_has_them(judge, roll_up, database):
    roll_up("V1", hours=24, implausible=2)
    roll_up("V1", hours=3, implausible=1)
    database.execute(
        """insert into meter_hourly (meter_id, hour, kwh, voltage_sum, readings, implausible)
           values ('M1', %s, 0, 0, 1, 5)""",
        [WATERMARK - timedelta(hours=2)],
    )
    found = judge()
    assert {key: alert.value for key, alert in found.items()} == {("V1", "implausible"): 3, ("M1", "implausible"): 5}
    database.execute("delete from meter_hourly")
    database.execute("update rollup_state set rolled_until = rolled_until + interval '1 hour'")
    assert {key: alert.value for key, alert in judge().items()} == {("V1", "implausible"): 1}


# ── A life ───────────────────────────────────────────────────────────────────────────────────────────────────────


def test_an_acknowledged_alert_is_kept_and_not_opened_again(judge, heard, database):
    heard("V1", battery_temp=70)
    opened = judge()["V1", "battery_temperature"]
    acknowledged = acknowledge_alert(database, opened.id, "on its way to the shop")
    heard("V1", battery_temp=90)
    kept = judge(now=ago(seconds=0) + timedelta(minutes=1))["V1", "battery_temperature"]
    assert (kept.id, kept.state, kept.note) == (opened.id, "acknowledged", "on its way to the shop")
    assert kept.acknowledged_at == acknowledged.acknowledged_at
    assert kept.value == 90
    assert kept.last_seen_at > acknowledged.last_seen_at
    heard("V1", battery_temp=20)
    judge()
    (over,) = list_alerts(database, limit=10)
    assert (over.state, over.note) == ("resolved", "on its way to the shop")


def test_there_is_one_alert_a_device_and_kind_that_is_not_resolved(judge, heard, database):
    heard("V1", battery_temp=70)
    judge()
    judge()
    assert len(list_alerts(database, limit=10)) == 1
    with pytest.raises(psycopg.errors.UniqueViolation):
        database.execute(
            "insert into alerts (device_kind, device_id, kind) values ('vehicle', 'V1', 'battery_temperature')"
        )


def test_two_evaluators_at_a_time_do_no_harm(heard, database, resources):
    for number in range(200):
        heard(f"V{number}", battery_temp=70)

    def one(_) -> int:
        with psycopg.connect(resources.settings.database_url, autocommit=True) as connection:
            found = evaluate_alerts(connection, resources.settings, stored_until=ago(seconds=0))
            return sum(kind.opened for kind in found.values())

    with ThreadPoolExecutor(4) as pool:
        assert sum(pool.map(one, range(8))) == 200
    assert len(list_alerts(database, limit=1000)) == 200


def test_the_task_judges_what_devices_sent(send, client, monkeypatch):
    from workers.alerts import evaluate

    send(vehicle("V1", batteryTemp=71.5), meter("M1", ago(hours=2)))
    evaluate()
    answer = client.get(ALERTS).json["items"]
    assert {(a["deviceKind"], a["deviceId"], a["kind"]) for a in answer} == {
        ("vehicle", "V1", "battery_temperature"), ("meter", "M1", "silent"),
    }  # fmt: skip


# ── Over HTTP ────────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.fixture
def three(judge, heard):
    """Alerts of V1 (hot), V2 (hot) and M1 (silent); their ids."""
    heard("M1", ago(hours=2))
    judge()
    for device in ("V1", "V2"):
        heard(device, battery_temp=70)
        judge()
    return {device: alert.id for (device, _), alert in judge().items()}


def test_alerts_are_listed_newest_first_in_pages_and_by_what_is_asked_for(client, three):
    def ids(**query):
        return [item["id"] for item in client.get(ALERTS, query_string=query).json["items"]]

    newest_first = [three["V2"], three["V1"], three["M1"]]
    assert ids() == ids(state="open") == newest_first
    assert ids(kind="silent") == ids(deviceId="M1") == [three["M1"]]
    assert ids(kind="battery_temperature", deviceId="V1") == [three["V1"]]
    assert ids(state="resolved") == ids(deviceId="never-heard") == []
    first = client.get(ALERTS, query_string={"limit": 2}).json
    second = client.get(ALERTS, query_string={"limit": 2, "cursor": first["next"]}).json
    assert [item["id"] for item in first["items"] + second["items"]] == newest_first
    assert second["next"] is None


def test_an_alert_is_shown_as_a_person_reads_it(client, three):
    shown = client.get(f"{ALERTS}/{three['V1']}").json
    assert shown["message"] == "Battery temperature: 70 °C (alert above 60 °C)"
    assert (shown["value"], shown["bound"], shown["unit"], shown["state"]) == (70, 60, "°C", "open")
    assert shown["acknowledgedAt"] is shown["resolvedAt"] is shown["note"] is None


def test_acknowledging(client, three, judge, heard):
    path = f"{ALERTS}/{three['V1']}/acknowledge"
    # JSON can say what Postgres can't keep.
    first = client.post(path, data=r'{"note": "seen\u0000 \ud800"}', content_type="application/json")
    assert first.status_code == 200
    assert (first.json["state"], first.json["note"]) == ("acknowledged", "seen\ufffd ?")
    again = client.post(path)
    assert (again.status_code, again.json) == (200, first.json)
    assert client.post(path, json={"note": "ordered"}).json == first.json | {"note": "ordered"}
    heard("V1", battery_temp=20)
    judge()
    refused = client.post(path)
    assert refused.status_code == 409
    assert refused.json["message"] == "This alert is resolved"


@pytest.mark.parametrize(
    ("body", "status"),
    [({"note": 5}, 422), ({"note": ""}, 422), ({"note": "x" * 1001}, 422), ({"nota": "x"}, 422), ([], 422), ({}, 200)],
)
def test_a_note_that_is_none_is_refused(client, three, body, status):
    assert client.post(f"{ALERTS}/{three['V1']}/acknowledge", json=body).status_code == status


@pytest.mark.parametrize("alert_id", ["0", "999999", str(2**63), "nonsense", "-1"])
def test_there_is_no_such_alert(client, three, alert_id):
    assert client.get(f"{ALERTS}/{alert_id}").status_code == 404
    assert client.post(f"{ALERTS}/{alert_id}/acknowledge").status_code == 404


@pytest.mark.parametrize("query", ["state=over", "kind=hot", "deviceId=a%20b", "cursor=nonsense", "limit=0"])
def test_what_is_wrong_with_the_question_is_named(client, query):
    answer = client.get(f"{ALERTS}?{query}")
    assert answer.status_code == 422
    assert set(answer.json["errors"]) == {query.split("=")[0]}


def test_a_bound_key_sees_and_acknowledges_its_devices_only(client, three, new_key):
    def ask(key, path="", method="get", **query):
        headers = {"Authorization": f"Bearer {key}"}
        return client.open(ALERTS + path, method=method, query_string=query, headers=headers)

    reader, admin = new_key("read", device_ids=["V1", "M1"]), new_key("admin", device_prefix="V1")
    assert [item["deviceId"] for item in ask(reader).json["items"]] == ["V1", "M1"]
    assert ask(reader, deviceId="V2").status_code == 403
    assert ask(reader, f"/{three['V1']}").status_code == 200
    assert ask(reader, f"/{three['V2']}").status_code == 403
    assert ask(reader, f"/{three['V1']}/acknowledge", "post").status_code == 403
    assert ask(admin, f"/{three['V2']}/acknowledge", "post").status_code == 403
    assert ask(admin, f"/{three['V1']}/acknowledge", "post").status_code == 200
    assert ask(new_key("read"), state="open").json["items"][0]["deviceId"] == "V2"


def test_open_alerts_are_figures(client, three):
    figures = client.get("/metrics").text
    assert 'energy_alerts{kind="battery_temperature"} 2.0' in figures
    assert 'energy_alerts{kind="efficiency"} 0.0' in figures


# ── Commands ─────────────────────────────────────────────────────────────────────────────────────────────────────


def test_commands_list_and_acknowledge(runner, three, database):
    listed = runner.invoke(args=["alerts", "list"])
    assert all(text in listed.output for text in ("vehicle V1", "meter M1", "Battery temperature: 70 °C"))
    done = runner.invoke(args=["alerts", "acknowledge", str(three["V1"]), "--note", "seen"])
    assert done.exit_code == 0, done.output
    assert "vehicle V1" not in runner.invoke(args=["alerts", "list"]).output
    assert "seen" in runner.invoke(args=["alerts", "list", "--state", "acknowledged"]).output
    assert "no such alerts" in runner.invoke(args=["alerts", "list", "--device", "V9"]).output
    failed = runner.invoke(args=["alerts", "acknowledge", "999999", str(three["V2"])])
    assert failed.exit_code == 1
    assert "999999: there is no such alert" in failed.output
    assert f"{three['V2']}: acknowledged" in failed.output
