"""Content of an export: the readings of a window in both formats, by device, and within the binding of a key."""

from datetime import datetime

import pyarrow
import pytest
from pyarrow import parquet

from tests.exports.files import EXPORT, MANY, csv_rows, parquet_rows
from tests.factories import ago, meter, stamp, vehicle

pytestmark = pytest.mark.slow


def test_csv_has_every_submission_with_the_values_as_they_were_sent(client, send):
    at = ago(minutes=5)
    send(vehicle("V1", at, kwhDeliveredDc=0.1, batteryTemp=-12.25, soc=None), vehicle("V2", at, soc=81))
    send(vehicle("V1", at, kwhDeliveredDc=0.30000000000000004))  # a correction: history keeps both
    answer = client.get(EXPORT, query_string={"kind": "vehicle"})
    assert answer.status_code == 200
    assert answer.mimetype == "text/csv"
    assert answer.headers["Content-Disposition"].startswith('attachment; filename="vehicle-readings-')
    assert answer.text.splitlines()[0] == "vehicleId,timestamp,receivedAt,kwhDeliveredDc,batteryTemp,soc"
    rows = csv_rows(answer.text)
    assert sorted((row["vehicleId"], float(row["kwhDeliveredDc"])) for row in rows) == [
        ("V1", 0.1), ("V1", 0.30000000000000004), ("V2", 1.2),
    ]  # fmt: skip
    first = next(row for row in rows if row["kwhDeliveredDc"] == "0.1")
    assert (first["batteryTemp"], first["soc"]) == ("-12.25", "")
    assert first["timestamp"] == f"{at:%Y-%m-%dT%H:%M:%S}.000000Z"
    assert datetime.fromisoformat(first["receivedAt"]) > at


def test_parquet_has_the_same_with_types(client, send):
    at = ago(minutes=5)
    send(meter("M1", at, kwhConsumedAc=1e-7, voltage=229.95), meter("NA", at), vehicle("V1", at, soc=None))
    as_csv = csv_rows(client.get(EXPORT, query_string={"kind": "meter"}).text)
    answer = client.get(EXPORT, query_string={"kind": "meter", "format": "parquet"})
    assert answer.mimetype == "application/vnd.apache.parquet"
    table = parquet.read_table(pyarrow.BufferReader(answer.data))
    assert (
        table.schema.field("timestamp").type == table.schema.field("receivedAt").type == pyarrow.timestamp("us", "UTC")
    )
    found = table.to_pylist()
    assert [row["meterId"] for row in found] == [row["meterId"] for row in as_csv] == ["M1", "NA"]
    assert found[0] == {
        "meterId": "M1",
        "timestamp": at,
        "receivedAt": datetime.fromisoformat(as_csv[0]["receivedAt"]),
        "kwhConsumedAc": 1e-7,
        "voltage": 229.95,
    }
    (of_vehicle,) = parquet_rows(client.get(EXPORT, query_string={"kind": "vehicle", "format": "parquet"}).data)
    assert of_vehicle["soc"] is None


def test_many_readings_are_the_same_in_both_formats_and_in_the_database(client, many, database):
    window = {"kind": "vehicle", "from": stamp(many[0]), "to": stamp(many[1])}
    total, energy = database.execute(
        "select count(*), sum(kwh_delivered_dc::numeric) from vehicle_readings_history"
    ).fetchone()
    rows = csv_rows(client.get(EXPORT, query_string=window).text)
    data = client.get(EXPORT, query_string=window | {"format": "parquet"}).data
    assert parquet.ParquetFile(pyarrow.BufferReader(data)).metadata.num_row_groups > 1
    table = parquet_rows(data)
    assert len(rows) == len(table) == total == MANY
    assert [float(row["kwhDeliveredDc"]) for row in rows] == [row["kwhDeliveredDc"] for row in table]
    assert sum(row["kwhDeliveredDc"] for row in table) == pytest.approx(float(energy))


def test_a_window_without_readings_is_a_file_without_rows(client):
    assert (
        client.get(EXPORT, query_string={"kind": "meter"}).text
        == "meterId,timestamp,receivedAt,kwhConsumedAc,voltage\n"
    )
    table = client.get(EXPORT, query_string={"kind": "meter", "format": "parquet"}).data
    assert parquet.read_table(pyarrow.BufferReader(table)).num_rows == 0


def test_the_window_is_half_open_and_the_last_day_if_left_out(client, send):
    start, end = ago(hours=2), ago(hours=1)
    send(*(vehicle("V1", at) for at in (start, end, ago(hours=25))))
    window = {"kind": "vehicle", "from": stamp(start), "to": stamp(end)}
    assert [row["timestamp"][:19] for row in csv_rows(client.get(EXPORT, query_string=window).text)] == [
        f"{start:%Y-%m-%dT%H:%M:%S}"
    ]
    assert len(csv_rows(client.get(EXPORT, query_string={"kind": "vehicle"}).text)) == 2


def test_named_devices_come_in_order(client, send):
    times = [ago(hours=hours) for hours in (1, 20, 3)]
    for at in times:
        send(*(meter(device, at) for device in ("M2", "M1", "M3")))
    rows = csv_rows(client.get(EXPORT, query_string={"kind": "meter", "deviceId": ["M2", "M1", "unknown"]}).text)
    assert [(row["meterId"], row["timestamp"][:19]) for row in rows] == [
        (device, f"{at:%Y-%m-%dT%H:%M:%S}") for device in ("M1", "M2") for at in sorted(times)
    ]


@pytest.mark.parametrize(
    ("accept", "mimetype"),
    [
        ("*/*", "text/csv"),
        ("text/csv", "text/csv"),
        ("application/vnd.apache.parquet", "application/vnd.apache.parquet"),
        ("application/vnd.apache.parquet;q=0.5, text/csv", "text/csv"),
    ],
)
def test_the_format_follows_accept(client, accept, mimetype):
    assert client.get(f"{EXPORT}?kind=meter", headers={"Accept": accept}).mimetype == mimetype
    other = client.get(f"{EXPORT}?kind=meter&format=csv", headers={"Accept": accept})
    assert other.mimetype == "text/csv"


@pytest.mark.parametrize(
    ("query", "field"),
    [
        ("", "kind"),
        ("kind=charger", "kind"),
        ("kind=meter&deviceId=a%20b", "deviceId"),
        ("kind=meter&deviceId=", "deviceId"),
        ("kind=meter&format=xlsx", "format"),
        ("kind=meter&from=yesterday", "from"),
        ("kind=meter&from=2099-01-01T00:00:00Z", "from"),
        ("kind=meter&to=0001-01-01T00:00:00Z", "to"),
        ("kind=meter&from=2026-01-02T00:00:00Z&to=2026-01-02T00:00:00Z", "to"),
    ],
)
def test_a_bad_query_is_refused_by_field(client, query, field):
    answer = client.get(f"{EXPORT}?{query}")
    assert answer.status_code == 422
    assert set(answer.json["errors"]) == {field}
    assert all(isinstance(reason, str) for reason in answer.json["errors"][field])


def test_a_bound_key_exports_its_devices_and_no_others(client, database, drain_all, with_settings, new_key):
    key = new_key("ingest", "read")
    bound = new_key("read", device_prefix="A-")
    headers = {"Authorization": f"Bearer {key}"}
    client.post("/v1/telemetry", json=[meter("A-1"), meter("A-2"), meter("B-1")], headers=headers)
    drain_all()
    headers = {"Authorization": f"Bearer {bound}"}
    rows = csv_rows(client.get(EXPORT, query_string={"kind": "meter"}, headers=headers).text)
    assert {row["meterId"] for row in rows} == {"A-1", "A-2"}
    named = {"kind": "meter", "deviceId": ["A-1", "B-1"]}
    assert client.get(EXPORT, query_string=named, headers=headers).status_code == 403
    writer = {"Authorization": f"Bearer {new_key('ingest')}"}
    assert client.get(EXPORT, query_string={"kind": "meter"}, headers=writer).status_code == 403
