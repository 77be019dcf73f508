"""Charging sessions. Numbers are worked out by hand."""

from datetime import UTC, datetime, timedelta

import pytest

from tests.factories import ago, map_meter, meter, stamp, vehicle

EVENING = datetime(2026, 2, 10, 22, tzinfo=UTC)


def at(minutes: float) -> datetime:
    return EVENING + timedelta(minutes=minutes)


def start(client, vehicle_id="V001", meter_id="M001", started_at=EVENING):
    body = {"vehicleId": vehicle_id, "meterId": meter_id, "startedAt": stamp(started_at)}
    return client.post("/v1/sessions", json=body)


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
        "startedAt": "2026-02-10T22:00:00Z",
        "endedAt": "2026-02-11T02:00:00Z",
        "durationSeconds": 14400.0,
        "totalAcConsumption": 40.0,
        "totalDcDelivery": 36.0,
        "efficiencyRatio": 0.9,
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
    again = end(client, session["id"], at(20))
    assert (again.status_code, again.json["message"]) == (409, "This session ended at 2026-02-10T22:10:00Z")
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
        ({"vehicleId": "V1", "meterId": "M1", "startedAt": "2999-02-10T10:00:00Z"}, {"startedAt"}),
        ({"vehicleId": "V1", "meterId": "M1", "startedAt": "2026-02-10T10:00:00Z", "vehicelId": "V2"}, {"vehicelId"}),
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
    for answer in (
        client.post(f"/v1/sessions/{other.json['id']}/end", headers=bound),
        client.get(f"/v1/sessions/{other.json['id']}", headers=bound),
        client.get("/v1/sessions?vehicleId=V002", headers=bound),
    ):
        assert answer.status_code == 403
    assert [item["vehicleId"] for item in client.get("/v1/sessions", headers=bound).json["items"]] == ["V001"]
    assert len(client.get("/v1/sessions", headers=admin).json["items"]) == 2
    assert client.post(f"/v1/sessions/{session.json['id']}/end", headers=bound).status_code == 200


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
