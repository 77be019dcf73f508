"""Input that would become SQL, a header, a path or a spreadsheet formula."""

import base64
import csv
import io
import re

import msgspec
import pytest

from tests.factories import meter, vehicle
from tests.security.raw import exchange

SQL = "x' or 1=1; drop table dead_letters; --"


def packed(*key) -> str:
    return base64.urlsafe_b64encode(msgspec.msgpack.encode(key)).decode().rstrip("=")


@pytest.mark.parametrize(
    ("path", "query"),
    [
        (f"/v1/meters/{SQL}", {}),
        (f"/v1/vehicles/{SQL}/history", {}),
        (f"/v1/telemetry/receipts/{SQL}", {}),
        (f"/v1/analytics/performance/{SQL}", {}),
        ("/v1/analytics/vehicle-mapping", {"vehicleId": SQL}),
        ("/v1/meters", {"cursor": SQL}),
        ("/v1/meters", {"cursor": packed(SQL)}),
        ("/v1/meters", {"cursor": packed({"a": 1})}),
        ("/v1/meters", {"cursor": packed(*range(10_000))}),
        ("/v1/meters", {"limit": "1; drop table dead_letters"}),
        ("/v1/meters", {"limit": "9" * 5000}),
        ("/v1/meters", {"online": SQL}),
        ("/v1/meters/M001/history", {"from": SQL}),
        ("/v1/meters/M001/history", {"cursor": packed(SQL, SQL)}),
    ],
)
def test_sql_in_any_place_is_refused_or_not_found(client, drain_all, database, path, query):
    client.post("/v1/telemetry", json=meter())
    drain_all()
    answer = client.get(path, query_string=query)
    assert answer.status_code in (404, 422), answer.text
    assert set(answer.json) >= {"statusCode", "requestId"}
    assert database.execute("select count(*) from meter_readings_history").fetchone() == (1,)


@pytest.mark.parametrize(
    "device", ["=1+1", "+A1", "@SUM(A1)", "=cmd|'/c calc'!A1", "a,b", 'a"b', "a\tb", "a\nb", "a b"]
)
def test_an_id_that_a_spreadsheet_would_run_is_refused(client, device):
    assert client.post("/v1/telemetry", json=meter(device)).status_code == 422


def test_csv_cells_hold_no_formulas(client, drain_all):
    # The one odd beginning that ids have is a minus: without brackets, ! and | a formula can call nothing.
    client.post("/v1/telemetry", json=vehicle("-A1:B2.c_3"))
    drain_all()
    answer = client.get("/v1/vehicles/-A1:B2.c_3/history", headers={"Accept": "text/csv"})
    rows = list(csv.reader(io.StringIO(answer.text)))
    assert rows[1][0] == "-A1:B2.c_3"
    for cell in rows[1]:
        assert re.fullmatch(r"[A-Za-z0-9._:-]*", cell)


@pytest.mark.slow
@pytest.mark.parametrize(
    "path",
    [
        "/%0d%0aSet-Cookie:%20a=1",
        "/docs/%0d%0aSet-Cookie:%20a=1",
        "/docs/../../models/settings.py",
        "/docs/%2e%2e/%2e%2e/models/settings.py",
        "//evil.example/%2e%2e",
    ],
)
def test_no_path_splits_a_header_or_leaves_its_folder(port, path):
    head, body = exchange(port, f"GET {path} HTTP/1.1\r\nHost: x\r\nAccept: text/csv\r\nConnection: close\r\n\r\n")
    assert b"set-cookie" not in head.lower()
    assert head.split(b" ")[1] in (b"404", b"422")
    assert b"DATABASE_URL" not in body


@pytest.mark.parametrize(
    "path", ["/v1/meters/x%0d%0aSet-Cookie:%20a=1/history", "/v1/meters?cursor=%0d%0aSet-Cookie:%20a=1"]
)
def test_no_parameter_splits_a_header(client, path):
    answer = client.get(path, headers={"Accept": "text/csv"})
    assert answer.status_code in (404, 422)
    assert "Set-Cookie" not in answer.headers


@pytest.mark.slow
def test_an_echoed_header_does_not_split_the_answer(port):
    for forged in ("a\r\n Set-Cookie: a=1", "a\rSet-Cookie: a=1", "a\x0bSet-Cookie: a=1", "a\x85Set-Cookie: a=1"):
        request = f"GET / HTTP/1.1\r\nHost: x\r\nX-Request-ID: {forged}\r\nConnection: close\r\n\r\n"
        head, _ = exchange(port, request)
        assert b"set-cookie" not in head.lower(), forged
