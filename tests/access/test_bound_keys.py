"""What a key that is bound to devices may post, read and map."""

import json
from collections import defaultdict
from datetime import timedelta

import pytest

from models.access.keys import rotate_key, split_key
from models.analytics.sessions.records import start_session
from tests.factories import ago, bearer, meter, post_with_key, vehicle
from tests.webapp.documents import operations
from webapp.http.operations import declared

TELEMETRY = "/v1/telemetry"
MAPPING = "/v1/analytics/vehicle-mapping"


@pytest.fixture(autouse=True)
def _drained(drain_all):
    yield
    drain_all()


@pytest.mark.parametrize("ndjson", [False, True])
def test_rows_of_other_devices_are_refused_row_by_row(client, new_key, database, drain_all, ndjson):
    text = new_key("ingest", device_prefix="A-", device_ids=("X1",))
    rows = [meter("A-1"), meter("B-1"), meter("X1"), meter("X11"), vehicle("A-7"), meter("a-1"), {}]
    body = "\n".join(map(json.dumps, rows)) if ndjson else json.dumps(rows)
    content_type = "application/x-ndjson" if ndjson else "application/json"
    answer = client.post(TELEMETRY, data=body, content_type=content_type, headers=bearer(text))
    assert (answer.status_code, answer.json["accepted"], answer.json["rejected"]) == (202, 3, 4)
    errors = {error["index"]: error["errors"] for error in answer.json["errors"]}
    assert errors.keys() == {1, 3, 5, 6}
    assert errors[1] == {"meterId": ["This key may not post for this device."]}
    drain_all()
    stored = database.execute("select meter_id from meter_readings_history order by 1").fetchall()
    assert stored == [("A-1",), ("X1",)]


def test_nothing_but_other_devices_is_forbidden(client, new_key, database, drain_all):
    text = new_key("ingest", device_prefix="A-")
    single = post_with_key(client, text, meter("B-1"))
    assert single.status_code == 403
    assert single.json["errors"] == {"meterId": ["This key may not post for this device."]}
    several = post_with_key(client, text, [meter("B-1"), vehicle("B-2")])
    assert (several.status_code, several.json["accepted"], several.json["rejected"]) == (403, 0, 2)
    assert several.json["errors"][1]["errors"] == {"vehicleId": ["This key may not post for this device."]}
    atomic = post_with_key(client, text, [meter("A-1"), meter("B-1")], query_string={"atomic": "true"})
    assert atomic.status_code == 403
    assert post_with_key(client, text, [meter("B-1"), {}]).status_code == 422
    drain_all()
    assert database.execute("select count(*) from meter_readings_history").fetchone() == (0,)


@pytest.fixture
def fleet(client, database, drain_all, new_key):
    """Two sites, each with vehicles and meters, one mapping each."""
    admin = new_key("admin")
    devices = [make(f"{site}-{n}") for site in ("A", "A0", "B") for n in range(4) for make in (meter, vehicle)]
    assert post_with_key(client, admin, devices).status_code == 202
    for site in ("A", "B"):
        pair = {"vehicleId": f"{site}-1", "meterId": f"{site}-2"}
        assert client.post(MAPPING, json=pair, headers=bearer(admin)).status_code == 201
    drain_all()
    return admin


def everything(client, text: str, path: str) -> list[dict]:
    """All items, from pages of two."""
    items, cursor = [], ""
    while cursor is not None:
        answer = client.get(f"{path}?limit=2{cursor and f'&cursor={cursor}'}", headers=bearer(text))
        assert answer.status_code == 200
        assert len(answer.json["items"]) == 2 or answer.json["next"] is None
        items += answer.json["items"]
        cursor = answer.json["next"]
    return items


def test_lists_have_the_bound_devices_page_by_page(client, fleet, new_key):
    for rights, expected in (
        ({"device_prefix": "A-"}, ["A-0", "A-1", "A-2", "A-3"]),
        ({"device_prefix": "A"}, [*(f"A-{n}" for n in range(4)), *(f"A0-{n}" for n in range(4))]),
        ({"device_ids": ("B-3", "A-0", "nobody")}, ["A-0", "B-3"]),
        ({"device_prefix": "B-", "device_ids": ("A-0",)}, ["A-0", "B-0", "B-1", "B-2", "B-3"]),
        ({"device_ids": ()}, []),
    ):
        text = new_key("read", **rights)
        assert [item["vehicleId"] for item in everything(client, text, "/v1/vehicles")] == expected
        assert [item["meterId"] for item in everything(client, text, "/v1/meters")] == expected
    bound = new_key("read", device_prefix="A")
    assert [item["vehicleId"] for item in everything(client, bound, MAPPING)] == ["A-1"]
    assert len(everything(client, fleet, MAPPING)) == 2


def test_other_devices_cannot_be_read(client, fleet, new_key):
    text = new_key("read", device_prefix="A-")
    for device, status in (("A-1", 200), ("B-1", 403), ("unknown", 403)):
        for path in (
            f"/v1/vehicles/{device}",
            f"/v1/meters/{device}",
            f"/v1/vehicles/{device}/history",
            f"/v1/meters/{device}/history",
            f"/v1/analytics/performance/{device}",
            f"/v1/analytics/performance/vehicleid?vehicleId={device}",
            f"{MAPPING}?vehicleId={device}",
        ):
            assert client.get(path, headers=bearer(text)).status_code == status, path
    csv = client.get("/v1/meters/B-1/history", headers=bearer(text) | {"Accept": "text/csv"})
    assert csv.status_code == 403
    assert client.get("/metrics", headers=bearer(text)).status_code == 403
    assert client.get("/v1/analytics/performance/A-1", headers=bearer(text)).json["meters"] == ["A-2"]


def test_every_operation_on_a_device_refuses_other_devices(app, client, fleet, new_key):
    """Each view of devices must call `require_devices` by itself; this finds one that does not."""
    headers = bearer(new_key("read", "ingest", "admin", device_prefix="A-"))
    refused = []
    for rule in app.url_map.iter_rules():
        path = str(rule).replace("<vehicle_id>", "B-1").replace("<meter_id>", "B-1")
        query = {} if path != str(rule) else dict.fromkeys(_device_parameters(app, rule.endpoint), "B-1")
        if path == str(rule) and not query:
            continue
        for method in rule.methods - {"HEAD", "OPTIONS"}:
            answer = client.open(path, method=method, query_string=query, json={}, headers=headers)
            is_empty_list = answer.status_code == 200 and answer.json.get("items") == []
            assert answer.status_code == 403 or is_empty_list, f"{method} {path}: {answer.status_code}"
            refused.append(f"{method} {path}")
    assert len(refused) > 10


def test_ids_of_others_are_answered_as_those_that_do_not_exist(client, fleet, new_key, database, drain_all):
    """Of each operation with ids in its path; otherwise their number, and which devices exist, could be found out."""
    (alert_id,) = database.execute(
        """insert into alerts (device_kind, device_id, kind, value, bound, detail)
           values ('meter', 'B-1', 'silent', 4000, 3600, '{"lastSeen": "2026-02-10T10:30:00.000000Z"}') returning id"""
    ).fetchone()
    session, _ = start_session(database, "B-1", "B-2", ago(minutes=5))
    posted = post_with_key(client, new_key("ingest", device_prefix="B-"), meter("B-1")).json["receipt"]
    drain_all()
    others = {"vehicleId": "B-1", "meterId": "B-1", "alertId": alert_id, "sessionId": session.id, "receipt": posted}
    nobodys = others | {"vehicleId": "B-9", "meterId": "B-9", "alertId": alert_id + 1, "sessionId": session.id + 1}
    nobodys |= {"receipt": posted[:-1] + ("0" if posted[-1] != "0" else "1")}
    headers = bearer(new_key("read", "ingest", "admin", device_prefix="A-"))
    compared = 0
    for path, method, _ in operations(client.get("/openapi.json").json):
        if "{" not in path:
            continue
        # An id of another kind, such as a site, is that of an operation for all devices.
        urls = [path.format_map(defaultdict(lambda: 1, values)) for values in (others, nobodys)]
        answers = [client.open(url, method=method, json={}, headers=headers) for url in urls]
        first, second = (
            {name: each.json.get(name) for name in ("statusCode", "message", "errors")} for each in answers
        )
        assert first == second, f"{method} {path}"
        assert first["statusCode"] in (403, 404), f"{method} {path}"
        compared += 1
    assert compared > 10


def test_a_receipt_is_open_to_its_key_and_to_readers_of_all(client, new_key, database, drain_all, refresh):
    mine = new_key("ingest", device_prefix="A-")
    receipt = post_with_key(client, mine, meter("A-1")).json["receipt"]
    drain_all()
    successor = rotate_key(database, split_key(mine)[0], overlap=timedelta(hours=1))
    refresh()
    for text, status in (
        (mine, 200),
        (successor, 200),
        (new_key("read"), 200),
        (new_key("admin"), 200),
        (new_key("ingest"), 404),
        (new_key("read", "ingest", device_prefix="A-"), 404),
    ):
        answer = client.get(f"/v1/telemetry/receipts/{receipt}", headers=bearer(text))
        assert answer.status_code == status
        unsealed = receipt.rpartition("-")[0]
        answer = client.get(f"/v1/telemetry/receipts/{unsealed}", headers=bearer(text))
        assert answer.status_code == (404 if text in (mine, successor) else status)


def _device_parameters(app, endpoint: str) -> set[str]:
    with app.app_context():
        operation = declared(endpoint)
    return {"vehicleId", "meterId"} & set(operation.query().fields) if operation and operation.query else set()


def test_a_bound_admin_maps_only_its_own(client, fleet, new_key):
    """Otherwise it could read another meter through a vehicle of its own."""
    headers = bearer(new_key("admin", device_prefix="A-"))
    for pair, status in ((("A-1", "B-2"), 403), (("B-1", "A-2"), 403), (("A-1", "A-3"), 201)):
        named = dict(zip(("vehicleId", "meterId"), pair, strict=True))
        assert client.post(MAPPING, json=named, headers=headers).status_code == status
        assert client.delete(MAPPING, query_string=named, headers=headers).status_code == (
            200 if status == 201 else 403
        )


@pytest.mark.parametrize("name", ["A-", "A_", "A%", "A\\", "A"])
def test_a_prefix_is_not_a_pattern(client, new_key, name):
    text = new_key("ingest", device_prefix=name)
    assert post_with_key(client, text, meter("B-1")).status_code == 403
    assert post_with_key(client, text, meter("AX")).status_code == (202 if name == "A" else 403)
