"""Charging sessions. Numbers are worked out by hand."""

from datetime import UTC, datetime, timedelta

import psycopg
import pytest

from models.analytics.sessions import records, reports
from tests.factories import ago, map_meter, meter, stamp, vehicle
from tests.rollups import start_watermark
from workers import maintenance

EVENING = datetime.now(UTC).replace(hour=22, minute=0, second=0, microsecond=0) - timedelta(days=3)


def at(minutes: float) -> datetime:
    return EVENING + timedelta(minutes=minutes)


def start(client, vehicle_id="V001", meter_id="M001", started_at=EVENING, ended_at=None, **options):
    body = {"vehicleId": vehicle_id, "meterId": meter_id, "startedAt": stamp(started_at)}
    return client.post("/v1/sessions", json=body | ({"endedAt": stamp(ended_at)} if ended_at else {}), **options)


def end(client, session_id: int, ended_at: datetime | None = None):
    body = {"json": {"endedAt": stamp(ended_at)}} if ended_at else {}
    return client.post(f"/v1/sessions/{session_id}/end", **body)


def charged(client, *span, **devices) -> dict:
    """A session from the first to the last of `span`, in minutes after EVENING."""
    begun = start(client, started_at=at(span[0]), **devices)
    assert begun.status_code == 201, begun.json
    ended = end(client, begun.json["id"], at(span[-1]))
    assert ended.status_code == 200, ended.json
    return ended.json


def test_a_session_across_midnight(client, send):
    send(
        meter(at=at(-1), kwhConsumedAc=100),
        *[meter(at=at(hour * 60), kwhConsumedAc=10) for hour in range(5)],
        *[vehicle(at=at(hour * 60), kwhDeliveredDc=9, soc=20 + 10 * hour) for hour in range(5)],
    )
    # From 22:00 to 02:00, half-open: the readings of 22, 23, 0 and 1 o'clock. 40 AC, 36 DC, from 20 to 50 %.
    session = charged(client, 0, 240)
    assert session.pop("id") > 0
    assert session == {
        "vehicleId": "V001",
        "meterId": "M001",
        "state": "ended",
        "startedAt": stamp(EVENING),
        "endedAt": stamp(at(240)),
        "endReason": "reported",
        "overlapping": False,
        "durationSeconds": 14400.0,
        "unavailable": None,
        "totalAcConsumption": 40.0,
        "totalDcDelivery": 36.0,
        "efficiencyRatio": 0.9,
        "status": "healthy",
        "soc": {"from": 20.0, "to": 50.0},
        "shared": False,
        "dataPoints": 4,
        "meterDataPoints": 4,
        "implausible": 0,
        "energyCost": None,
        "lossCost": None,
        "currency": None,
        "costs": [],
    }


def test_a_session_feeds_the_vehicle_as_a_mapping_does(client, send):
    send(meter(at=at(10), kwhConsumedAc=3), meter(at=at(70), kwhConsumedAc=5), vehicle(at=at(10), kwhDeliveredDc=2))
    charged(client, 0, 60)
    window = {"from": stamp(at(-60)), "to": stamp(at(120))}
    answer = client.get("/v1/analytics/performance/V001", query_string=window).json
    assert (answer["meters"], answer["totalAcConsumption"]) == (["M001"], 3)  # not what came after the end


def test_state_of_charge_is_the_first_and_the_last_in_the_readings(client, send):
    send(
        vehicle(at=at(1), soc=None),
        vehicle(at=at(2), soc=31),
        vehicle(at=at(3), soc=77),
        vehicle(at=at(4), soc=None),
        vehicle(at=at(60), soc=99),
    )
    assert charged(client, 0, 60)["soc"] == {"from": 31.0, "to": 77.0}
    send(vehicle(at=at(2), soc=30))  # a correction
    found = client.get("/v1/sessions?vehicleId=V001").json["items"][0]
    assert found["soc"] == {"from": 30.0, "to": 77.0}
    assert charged(client, 120, 180)["soc"] == {"from": None, "to": None}


def test_two_sessions_at_one_meter_share_it(client, send):
    # V001 from 22:00 to 23:00, V002 from 22:30 on: shared is the second half hour, 3 : 1 by DC.
    send(
        meter(at=at(10), kwhConsumedAc=5),
        meter(at=at(40), kwhConsumedAc=8),
        vehicle("V001", at(10), kwhDeliveredDc=4),
        vehicle("V001", at(40), kwhDeliveredDc=3),
        vehicle("V002", at(40), kwhDeliveredDc=1),
    )
    first = charged(client, 0, 60)
    assert (first["totalAcConsumption"], first["shared"]) == (13, False)
    second = charged(client, 30, 90, vehicle_id="V002")
    assert (second["totalAcConsumption"], second["shared"]) == (2, True)
    first = client.get(f"/v1/sessions/{first['id']}").json
    assert (first["totalAcConsumption"], first["shared"]) == (5 + 6, True)


def test_a_session_counts_its_own_meter_only(client, send):
    map_meter(client, "V001", "M002")
    send(meter("M001", at(5), kwhConsumedAc=2), meter("M002", at(5), kwhConsumedAc=50))
    assert charged(client, 0, 60)["totalAcConsumption"] == 2


def test_a_counter_starts_from_the_reading_before_the_session(client, send):
    client.put("/v1/meters/M001", json={"register": "cumulative"})
    send(*[meter(at=at(minute), kwhConsumedAc=900 + minute) for minute in (-30, 10, 50, 70)])
    # 910 − 870 + 950 − 910: the energy up to minute 10 belongs to the reading of minute 10.
    assert charged(client, 0, 60)["totalAcConsumption"] == 80


def test_a_session_has_a_cost(client, send):
    client.put("/v1/meters/M001", json={"site": "depot"})
    client.put("/v1/tariffs/depot", json={"currency": "EUR", "timezone": "UTC", "pricePerKwh": 0.25})
    send(meter(at=at(5), kwhConsumedAc=10), vehicle(at=at(5), kwhDeliveredDc=9))
    session = charged(client, 0, 60)
    # 10 × 0.25; lost was 1 kWh.
    assert (session["energyCost"], session["lossCost"], session["currency"]) == (2.5, 0.25, "EUR")


def test_an_open_session_is_as_of_now(client, send):
    begun = ago(minutes=30)
    send(meter(at=ago(minutes=10), kwhConsumedAc=1), vehicle(at=ago(minutes=10)))
    session = start(client, started_at=begun).json
    assert (session["state"], session["endedAt"], session["totalAcConsumption"]) == ("open", None, 1)
    assert 1800 <= session["durationSeconds"] < 1860
    assert client.get("/v1/vehicles/V001").json["meters"] == ["M001"]
    ended = end(client, session["id"]).json
    assert (ended["state"], ended["startedAt"]) == ("ended", stamp(begun))
    assert client.get("/v1/vehicles/V001").json["meters"] == []


# ── Starting and ending ──────────────────────────────────────────────────────────────────────────────────────


def test_the_same_start_again_is_the_same_session(client):
    first, again = start(client), start(client)
    assert (first.status_code, again.status_code) == (201, 200)
    assert first.json["id"] == again.json["id"]
    end(client, first.json["id"], at(60))
    assert start(client).json["endedAt"] == stamp(at(60))  # also after it ended
    assert len(client.get("/v1/sessions").json["items"]) == 1


def test_a_vehicle_charges_at_one_place_at_a_time(client):
    session = start(client).json
    refused = start(client, meter_id="M002", started_at=at(5))
    assert refused.status_code == 409
    assert f"Session {session['id']} " in refused.json["message"]
    assert start(client, vehicle_id="V002").status_code == 201  # another vehicle may, at the same meter
    end(client, session["id"], at(4))
    assert start(client, meter_id="M002", started_at=at(5)).status_code == 201


def test_a_session_ends_once(client):
    session = start(client).json
    assert end(client, session["id"], at(10)).status_code == 200
    assert end(client, session["id"], at(10)).status_code == 200  # the same end again
    again = end(client, session["id"], at(20))
    assert (again.status_code, again.json["message"]) == (409, f"This session ended at {stamp(at(10))}")
    assert client.get(f"/v1/sessions/{session['id']}").json["endedAt"] == stamp(at(10))


def test_an_end_is_after_the_start(client):
    session = start(client).json
    for moment in (EVENING, at(-1)):
        refused = end(client, session["id"], moment)
        assert (refused.status_code, list(refused.json["errors"])) == (422, ["endedAt"])


@pytest.mark.parametrize(
    ("body", "fields"),
    [
        ({}, {"vehicleId", "meterId", "startedAt"}),
        ({"vehicleId": "V 1", "meterId": 5, "startedAt": "now"}, {"vehicleId", "meterId", "startedAt"}),
        ({"vehicleId": "V1", "meterId": "M1", "startedAt": "2026-02-10T10:00:00"}, {"startedAt"}),
        ({"vehicleId": "V1", "meterId": "M1", "startedAt": "1999-02-10T10:00:00Z"}, {"startedAt"}),
        ({"vehicleId": "V1", "meterId": "M1", "startedAt": stamp(ago(days=31, minutes=1))}, {"startedAt"}),
        ({"vehicleId": "V1", "meterId": "M1", "startedAt": stamp(EVENING), "endedAt": stamp(EVENING)}, {"endedAt"}),
        (
            {"vehicleId": "V1", "meterId": "M1", "startedAt": stamp(EVENING), "endedAt": "2999-01-01T00:00Z"},
            {"endedAt"},
        ),
        ({"vehicleId": "V1", "meterId": "M1", "startedAt": "2999-02-10T10:00:00Z"}, {"startedAt"}),
        ({"vehicleId": "V1", "meterId": "M1", "startedAt": stamp(EVENING), "vehicelId": "V2"}, {"vehicelId"}),
        ([], {"_schema"}),
    ],
)
def test_a_bad_start_is_refused(client, body, fields):
    answer = client.post("/v1/sessions", json=body)
    assert (answer.status_code, set(answer.json["errors"])) == (422, fields)


@pytest.mark.parametrize("session_id", ["1", "0", "x", "-1", "9223372036854775808", "9" * 5000, "%00", "1.5"])
def test_an_unknown_session_is_not_found(client, session_id):
    for answer in (client.get(f"/v1/sessions/{session_id}"), client.post(f"/v1/sessions/{session_id}/end")):
        assert (answer.status_code, answer.json["message"]) == (404, "Session not found")


def test_a_session_has_one_path(client):
    session_id = start(client).json["id"]
    assert client.get(f"/v1/sessions/{session_id}").status_code == 200
    for other in (f"{session_id}.0", f"{session_id}e0", f"0{session_id}", f"+{session_id}"):
        for answer in (client.get(f"/v1/sessions/{other}"), client.post(f"/v1/sessions/{other}/end")):
            assert (answer.status_code, answer.json["message"]) == (404, "Session not found"), other


def test_sessions_are_listed_by_vehicle_and_meter_and_paged(client):
    for number in range(4):
        charged(client, 10 * number, 10 * number + 5, meter_id=f"M00{number % 2}")
    charged(client, 0, 5, vehicle_id="V002", meter_id="M000")

    def listed(**query) -> list[tuple]:
        items = client.get("/v1/sessions", query_string=query).json["items"]
        return [(item["vehicleId"], item["meterId"], item["startedAt"][11:16]) for item in items]

    assert [when for *_, when in listed(vehicleId="V001")] == ["22:30", "22:20", "22:10", "22:00"]
    assert listed(vehicleId="V001", meterId="M000") == [("V001", "M000", "22:20"), ("V001", "M000", "22:00")]
    assert [who for who, *_ in listed(meterId="M000")] == ["V001", "V002", "V001"]
    seen, cursor = [], {}
    for _ in range(5):
        page = client.get("/v1/sessions", query_string={"limit": 1, **cursor}).json
        seen += [item["id"] for item in page["items"]]
        cursor = {"cursor": page["next"]}
    assert len(set(seen)) == 5
    assert page["next"] is None
    assert seen == [item["id"] for item in client.get("/v1/sessions").json["items"]]


# ── Sessions that come late, whole or never end ──────────────────────────────────────────────────────────────


def test_a_late_start_of_an_earlier_session_ends_where_the_later_one_starts_until_its_end_is_reported(client, send):
    send(*[vehicle(at=at(minutes), kwhDeliveredDc=1) for minutes in (10, 70, 130)])
    later = start(client, meter_id="M002", started_at=at(120))
    earlier = start(client)
    assert (later.status_code, earlier.status_code) == (201, 201)
    assert (earlier.json["state"], earlier.json["endedAt"]) == ("ended", stamp(at(120)))
    assert (earlier.json["endReason"], earlier.json["totalDcDelivery"]) == ("next_session", 2)
    assert client.get(f"/v1/sessions/{later.json['id']}").json["endReason"] is None
    too_late = end(client, earlier.json["id"], at(121))
    assert too_late.status_code == 409
    assert too_late.json["message"].startswith(f"Session {later.json['id']} of this vehicle started at ")
    ended = end(client, earlier.json["id"], at(60))
    assert (ended.json["endedAt"], ended.json["endReason"], ended.json["totalDcDelivery"]) == (
        stamp(at(60)), "reported", 1,
    )  # fmt: skip
    assert end(client, earlier.json["id"], at(50)).status_code == 409


def test_the_order_in_which_chargers_report_does_not_matter(client, send):
    send(*[vehicle(at=at(minutes), kwhDeliveredDc=1) for minutes in (10, 70, 130)])
    last = start(client, meter_id="M003", started_at=at(120)).json
    first = start(client).json  # its end is assumed: where the last one starts
    between = start(client, meter_id="M002", started_at=at(60), ended_at=at(90))
    assert between.status_code == 201
    cut = client.get(f"/v1/sessions/{first['id']}").json
    assert (cut["endedAt"], cut["endReason"], cut["totalDcDelivery"]) == (stamp(at(60)), "next_session", 1)
    assert end(client, first["id"], at(50)).json["endReason"] == "reported"
    # An end that was reported stays, and so does one that the new session would overlap in the other direction.
    assert start(client, meter_id="M004", started_at=at(40), ended_at=at(55)).status_code == 409
    assert start(client, meter_id="M004", started_at=at(100), ended_at=at(130)).status_code == 409
    assert client.get(f"/v1/sessions/{last['id']}").json["state"] == "open"


def test_a_refused_session_cuts_none(client):
    start(client, meter_id="M003", started_at=at(120))
    first = start(client).json
    assert start(client, meter_id="M002", started_at=at(60), ended_at=at(130)).status_code == 409
    assert client.get(f"/v1/sessions/{first['id']}").json["endedAt"] == stamp(at(120))


def test_a_charger_reports_a_session_that_is_over_in_one_message(client):
    open_session = start(client, meter_id="M002", started_at=at(180)).json
    whole = start(client, started_at=at(0), ended_at=at(60))
    assert (whole.status_code, whole.json["state"], whole.json["endedAt"]) == (201, "ended", stamp(at(60)))
    again = start(client, started_at=at(0), ended_at=at(60))
    assert (again.status_code, again.json["id"]) == (200, whole.json["id"])
    assert start(client, started_at=at(0), ended_at=at(70)).status_code == 409
    # A session that is open is ended by the whole one.
    ended = start(client, meter_id="M002", started_at=at(180), ended_at=at(200))
    assert (ended.status_code, ended.json["id"], ended.json["state"]) == (200, open_session["id"], "ended")


@pytest.mark.parametrize("span", [(0, 60), (10, 20), (-10, 10), (50, 70), (-10, 70), (0, 10), (59, None), (0, None)])
def test_sessions_of_a_vehicle_do_not_overlap(client, span):
    session = start(client, ended_at=at(60)).json
    ended_at = None if span[1] is None else at(span[1])
    refused = start(client, meter_id="M002", started_at=at(span[0]), ended_at=ended_at)
    assert refused.status_code == 409
    assert refused.json["message"].startswith(f"Session {session['id']} of this vehicle overlaps it, at M001 from ")
    assert start(client, "V002", "M002", at(span[0]), ended_at).status_code == 201


def test_adjoining_sessions_do_not_overlap(client):
    assert start(client, ended_at=at(60)).status_code == 201
    assert start(client, meter_id="M002", started_at=at(60)).status_code == 201
    assert start(client, meter_id="M003", started_at=at(-60), ended_at=at(0)).status_code == 201


def test_the_database_refuses_overlapping_sessions(database):
    insert = "insert into charging_sessions (vehicle_id, meter_id, started_at, ended_at) values (%s, 'M', %s, %s)"
    database.execute(insert, ["V1", at(0), at(60)])
    database.execute(insert, ["V1", at(60), at(61)])
    database.execute(insert, ["V2", at(0), at(60)])
    with pytest.raises(psycopg.errors.ExclusionViolation):
        database.execute(insert, ["V1", at(30), "infinity"])


def test_a_session_that_never_ends_is_ended_after_its_longest_time(client, database, send):
    long_ago = ago(days=40)
    send(vehicle(at=ago(days=39), kwhDeliveredDc=1), vehicle(at=ago(days=2), kwhDeliveredDc=50))
    start_watermark(database, ago(days=1))
    session, _ = records.start_session(database, "V001", "M001", long_ago)
    # Also before it is ended, only its first 31 days count.
    assert client.get(f"/v1/sessions/{session.id}").json["totalDcDelivery"] == 1
    database.execute("truncate rollup_marks")
    maintenance.end_overdue()
    maintenance.end_overdue()
    found = client.get(f"/v1/sessions/{session.id}").json
    assert (found["state"], found["endReason"], found["totalDcDelivery"]) == ("ended", "too_long", 1)
    assert found["endedAt"] == stamp(long_ago + timedelta(days=31))
    assert database.execute("select count(*) from rollup_marks").fetchone() == (2,)
    assert end(client, session.id).status_code == 422
    assert end(client, session.id, ago(days=30)).json["endReason"] == "reported"
    fresh = start(client, started_at=ago(days=30)).json
    maintenance.end_overdue()
    assert client.get(f"/v1/sessions/{fresh['id']}").json["state"] == "open"


def test_an_operator_imports_and_deletes_sessions_of_any_age(client, runner, tmp_path, database):
    file = tmp_path / "charges.csv"
    file.write_text("vehicleId,meterId,startedAt,endedAt\nV001,M001,2025-03-01T20:00Z,2025-03-02T05:00Z\n")
    for outcome in ("1 new, 0 existed", "0 new, 1 existed"):
        done = runner.invoke(args=["sessions", "import", str(file)])
        assert (done.exit_code, outcome in done.output) == (0, True), done.output
    (session,) = client.get("/v1/sessions").json["items"]
    assert (session["startedAt"], session["endedAt"]) == ("2025-03-01T20:00:00Z", "2025-03-02T05:00:00Z")
    file.write_text("vehicleId,meterId,startedAt,endedAt\nV001,M002,2025-03-01T21:00Z,2025-03-02T05:00Z\n")
    done = runner.invoke(args=["sessions", "import", str(file)])
    assert (done.exit_code, f"session {session['id']} is in the way" in done.output) == (1, True)
    start_watermark(database, EVENING)
    assert client.delete(f"/v1/sessions/{session['id']}").status_code == 204
    assert client.delete(f"/v1/sessions/{session['id']}").status_code == 404
    assert client.get("/v1/sessions").json["items"] == []
    marks = database.execute("select kind, device_ids[1], to_hour - from_hour from rollup_marks order by 1").fetchall()
    assert marks == [("meter", "M001", timedelta(hours=9)), ("vehicle", "V001", timedelta(hours=9))]


# ── Sessions that can't be computed in time ──────────────────────────────────────────────────────────────────


@pytest.fixture
def slow_vehicle(monkeypatch, with_settings):
    """The performance of V666 takes a minute."""
    real = reports.get_performances

    def get_performances(connection, queries, **options):
        if any(query.vehicle_id == "V666" for query in queries):
            connection.execute("select pg_sleep(60)")
        return real(connection, queries, **options)

    monkeypatch.setattr(reports, "get_performances", get_performances)
    with_settings(db_timeout_seconds=1)


def test_a_list_does_not_fail_because_of_one_session(client, send, slow_vehicle):
    send(vehicle("V001", at(5), kwhDeliveredDc=3, soc=40))
    started = start(client, "V666", started_at=at(0), ended_at=at(60))
    # The session was made, so the answer is not 503.
    assert (started.status_code, started.json["unavailable"]) == (201, "failed")
    assert start(client, "V001", "M002", at(0), at(60)).json["totalDcDelivery"] == 3
    items = {session["vehicleId"]: session for session in client.get("/v1/sessions").json["items"]}
    slow, good = items["V666"], items["V001"]
    assert (slow["unavailable"], slow["totalDcDelivery"], slow["status"]) == ("failed", None, "unknown")
    assert (good["unavailable"], good["totalDcDelivery"], good["soc"]["from"]) == (None, 3, 40)
    assert end(client, slow["id"], at(60)).status_code == 200


def test_a_session_that_was_started_is_answered_although_postgres_is_lost(client, monkeypatch):
    def lose(*_, **__):
        raise psycopg.OperationalError("the connection is lost")

    monkeypatch.setattr(reports, "get_performances", lose)
    assert start(client).status_code == 201


# ── Keys ─────────────────────────────────────────────────────────────────────────────────────────────────────


def test_a_charger_may_start_and_end_sessions_of_its_own_devices(client, new_key):
    bound = {"X-API-Key": new_key("ingest", "read", device_ids=frozenset({"V001", "M001"}))}
    reads = {"X-API-Key": new_key("read")}
    body = {"vehicleId": "V001", "meterId": "M001", "startedAt": stamp(EVENING)}
    assert client.post("/v1/sessions", json=body, headers=reads).status_code == 403
    assert client.post("/v1/sessions", json={**body, "meterId": "M002"}, headers=bound).status_code == 403
    assert client.post("/v1/sessions", json={**body, "vehicleId": "V002"}, headers=bound).status_code == 403
    session = client.post("/v1/sessions", json=body, headers=bound)
    assert session.status_code == 201
    admin = {"X-API-Key": new_key("admin", "read")}
    other = client.post("/v1/sessions", json={**body, "vehicleId": "V002"}, headers=admin)
    assert other.status_code == 201
    # As if it did not exist: ids of others can't be probed.
    for answer in (
        client.post(f"/v1/sessions/{other.json['id']}/end", headers=bound),
        client.get(f"/v1/sessions/{other.json['id']}", headers=bound),
    ):
        assert (answer.status_code, answer.json["message"]) == (404, "Session not found")
    assert client.get("/v1/sessions?vehicleId=V002", headers=bound).status_code == 403
    assert [item["vehicleId"] for item in client.get("/v1/sessions", headers=bound).json["items"]] == ["V001"]
    assert len(client.get("/v1/sessions", headers=admin).json["items"]) == 2
    assert client.post(f"/v1/sessions/{session.json['id']}/end", headers=bound).status_code == 200


def test_a_key_without_read_gets_times_and_no_energy(client, new_key):
    ingest = {"headers": {"X-API-Key": new_key("ingest")}}
    made = start(client, **ingest)
    assert (made.status_code, made.json["unavailable"]) == (201, "scope")
    ended = client.post(f"/v1/sessions/{made.json['id']}/end", json={"endedAt": stamp(at(60))}, **ingest)
    for answer in (made, ended):
        for name in ("totalAcConsumption", "totalDcDelivery", "efficiencyRatio", "dataPoints", "shared", "energyCost"):
            assert answer.json[name] is None, name
        assert (answer.json["soc"], answer.json["costs"]) == ({"from": None, "to": None}, [])
    assert client.get("/v1/sessions", **ingest).status_code == 403
    assert client.get(f"/v1/sessions/{made.json['id']}", **ingest).status_code == 403
    assert client.delete(f"/v1/sessions/{made.json['id']}", **ingest).status_code == 403


def test_the_session_in_the_way_is_named_to_those_who_may_see_it(client, new_key):
    session = start(client, headers={"X-API-Key": new_key("admin")}).json
    for scopes, meter_id, is_named in ((["ingest"], "M002", False), (["ingest"], "M001", True),
                                       (["ingest", "read"], "M002", True)):  # fmt: skip
        refused = start(client, meter_id=meter_id, started_at=at(5), headers={"X-API-Key": new_key(*scopes)})
        assert refused.status_code == 409
        assert (f"Session {session['id']} " in refused.json["message"]) == is_named, scopes


# ── Marks ────────────────────────────────────────────────────────────────────────────────────────────────────


def test_changes_of_stored_energy_leave_stale_marks(client, database):
    def marks() -> list[tuple]:
        found = database.execute(
            "delete from rollup_marks returning kind, device_ids, nullif(from_hour, '-infinity'), to_hour"
        ).fetchall()
        return sorted((kind, ids[0], start and start.hour, end.hour) for kind, ids, start, end in found)

    rolled = EVENING + timedelta(hours=1)  # 23:00
    database.execute("insert into rollup_state (marked_until, rolled_until) values (%s, %s)", [rolled, rolled])
    session = start(client, started_at=at(-70)).json
    assert marks() == [("meter", "M001", 20, 23), ("vehicle", "V001", 20, 23)]
    end(client, session["id"], at(5))
    assert marks() == [("meter", "M001", 22, 23), ("vehicle", "V001", 22, 23)]
    start(client, started_at=rolled)
    assert marks() == []  # nothing of it is rolled up
    map_meter(client, "V002", "M002", **{"from": at(-130), "to": at(-100)})
    assert marks() == [("meter", "M002", 19, 21), ("vehicle", "V002", 19, 21)]
    map_meter(client, "V002", "M002", **{"from": at(-130), "to": at(-30)})
    assert marks() == [("meter", "M002", 20, 22), ("vehicle", "V002", 20, 22)]  # by what it became longer
    client.put("/v1/meters/M001", json={"name": "Bay 1", "site": "depot"})
    assert marks() == []
    client.put("/v1/meters/M001", json={"register": "cumulative"})
    assert marks() == [("meter", "M001", None, 23)]
    client.put("/v1/meters/M001", json={"register": "cumulative"})
    assert marks() == []
