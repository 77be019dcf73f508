"""Export: the readings of history, as CSV and Parquet, complete or visibly incomplete."""

import csv
import io
import os
import socket
import time
from datetime import UTC, datetime, timedelta

import psycopg
import pyarrow
import pytest
from pyarrow import parquet

from models.exports.csv_copy import Selection, copy_csv, estimate_rows, export_connection
from models.readings import VEHICLE
from models.storage.partitions import ensure_partitions
from tests.factories import ago, meter, stamp, vehicle
from tests.processes import free_port, running, wait_until_live

EXPORT = "/v1/export/readings"
WEB = ["granian", "--interface", "wsgi", "--factory", "--workers", "1", "--blocking-threads", "4", "--no-ws"]
MANY = 300_000  # readings: more than all buffers between Postgres and the client hold


def rows_of(text: str) -> list[dict]:
    return list(csv.DictReader(io.StringIO(text)))


def table_of(data: bytes) -> list[dict]:
    return parquet.read_table(pyarrow.BufferReader(data)).to_pylist()


@pytest.fixture
def many(database):
    """Readings of ten vehicles, one a second, which ended an hour ago."""
    ensure_partitions(database, days_ahead=2)
    end = ago(hours=1)
    database.execute(
        """insert into vehicle_readings_history
             (vehicle_id, recorded_at, received_at, kwh_delivered_dc, battery_temp, soc)
           select 'V' || n %% 10, %(end)s - n * interval '100 ms', %(end)s, n / 7.0, 20 + n / 1e5, null
           from generate_series(1, %(many)s) as n""",
        {"end": end, "many": MANY},
    )
    return end - timedelta(days=1), end


@pytest.fixture
def server(resources, tmp_path):
    port = free_port()
    with running(tmp_path, "web", [*WEB, "--port", str(port), "webapp:create_app"]) as process:
        wait_until_live(port)
        yield port, process


def exports_running(database) -> int:
    return database.execute(
        "select count(*) from pg_stat_activity where application_name = 'energy-export' and state = 'active'"
    ).fetchone()[0]


def until(true, seconds: float = 20) -> None:
    give_up_at = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < give_up_at, "did not happen in time"
        time.sleep(0.05)


# ── Content ──────────────────────────────────────────────────────────────────────────────────────────────────


def test_csv_has_every_submission_with_the_values_as_they_were_sent(client, send):
    at = ago(minutes=5)
    send(vehicle("V1", at, kwhDeliveredDc=0.1, batteryTemp=-12.25, soc=None), vehicle("V2", at, soc=81))
    send(vehicle("V1", at, kwhDeliveredDc=0.30000000000000004))  # a correction: history keeps both
    answer = client.get(EXPORT, query_string={"kind": "vehicle"})
    assert answer.status_code == 200
    assert answer.mimetype == "text/csv"
    assert answer.headers["Content-Disposition"].startswith('attachment; filename="vehicle-readings-')
    assert answer.text.splitlines()[0] == "vehicleId,timestamp,receivedAt,kwhDeliveredDc,batteryTemp,soc"
    rows = rows_of(answer.text)
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
    as_csv = rows_of(client.get(EXPORT, query_string={"kind": "meter"}).text)
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
    (of_vehicle,) = table_of(client.get(EXPORT, query_string={"kind": "vehicle", "format": "parquet"}).data)
    assert of_vehicle["soc"] is None


def test_many_readings_are_the_same_in_both_formats_and_in_the_database(client, many, database):
    window = {"kind": "vehicle", "from": stamp(many[0]), "to": stamp(many[1])}
    total, energy = database.execute(
        "select count(*), sum(kwh_delivered_dc::numeric) from vehicle_readings_history"
    ).fetchone()
    rows = rows_of(client.get(EXPORT, query_string=window).text)
    data = client.get(EXPORT, query_string=window | {"format": "parquet"}).data
    assert parquet.ParquetFile(pyarrow.BufferReader(data)).metadata.num_row_groups > 1
    table = table_of(data)
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
    assert [row["timestamp"][:19] for row in rows_of(client.get(EXPORT, query_string=window).text)] == [
        f"{start:%Y-%m-%dT%H:%M:%S}"
    ]
    assert len(rows_of(client.get(EXPORT, query_string={"kind": "vehicle"}).text)) == 2


def test_named_devices_come_in_order(client, send):
    times = [ago(hours=hours) for hours in (1, 20, 3)]
    for at in times:
        send(*(meter(device, at) for device in ("M2", "M1", "M3")))
    rows = rows_of(client.get(EXPORT, query_string={"kind": "meter", "deviceId": ["M2", "M1", "unknown"]}).text)
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


# ── Keys ─────────────────────────────────────────────────────────────────────────────────────────────────────


def test_a_bound_key_exports_its_devices_and_no_others(client, database, drain_all, with_settings, new_key):
    key = new_key("ingest", "read")
    bound = new_key("read", device_prefix="A-")
    headers = {"Authorization": f"Bearer {key}"}
    client.post("/v1/telemetry", json=[meter("A-1"), meter("A-2"), meter("B-1")], headers=headers)
    drain_all()
    headers = {"Authorization": f"Bearer {bound}"}
    rows = rows_of(client.get(EXPORT, query_string={"kind": "meter"}, headers=headers).text)
    assert {row["meterId"] for row in rows} == {"A-1", "A-2"}
    named = {"kind": "meter", "deviceId": ["A-1", "B-1"]}
    assert client.get(EXPORT, query_string=named, headers=headers).status_code == 403
    writer = {"Authorization": f"Bearer {new_key('ingest')}"}
    assert client.get(EXPORT, query_string={"kind": "meter"}, headers=writer).status_code == 403


# ── Failures ─────────────────────────────────────────────────────────────────────────────────────────────────


def test_an_export_too_many_is_refused_for_now(client, many, with_settings, database):
    with_settings(export_concurrency=1)
    window = {"kind": "vehicle", "from": stamp(many[0]), "to": stamp(many[1])}
    first = client.get(EXPORT, query_string=window, buffered=False)
    second = client.get(EXPORT, query_string=window)
    assert second.status_code == 503
    assert "exports are running" in second.json["message"]
    assert second.headers["Retry-After"]
    first.close()
    until(lambda: not exports_running(database))
    assert len(rows_of(client.get(EXPORT, query_string=window).text)) == MANY


def test_a_client_that_disconnects_ends_the_query(server, many, database):
    port, _ = server
    path = f"{EXPORT}?kind=vehicle&from={stamp(many[0])}"
    with socket.create_connection(("127.0.0.1", port)) as line:
        line.sendall(f"GET {path} HTTP/1.1\r\nHost: test\r\n\r\n".encode())
        assert line.recv(1_000).startswith(b"HTTP/1.1 200")
        until(lambda: exports_running(database) == 1)
    until(lambda: exports_running(database) == 0)


def test_a_client_that_stops_reading_does_not_keep_the_query_forever(many, database, resources, monkeypatch):
    """A backend that waits for its client ignores statement_timeout: it is terminated."""
    monkeypatch.setattr("models.exports.csv_copy.PATIENCE_SECONDS", 2 - resources.settings.export_seconds)
    with export_connection(resources.settings) as connection:
        blocks = copy_csv(connection, Selection(VEHICLE, *many), header=True)
        next(blocks)
        assert exports_running(database) == 1
        until(lambda: exports_running(database) == 0)
        with pytest.raises(psycopg.OperationalError):
            for _ in blocks:
                pass


@pytest.mark.parametrize("form", ["csv", "parquet"])
def test_a_database_that_fails_midway_is_visible_in_the_file(client, many, database, form):
    window = {"kind": "vehicle", "from": stamp(many[0]), "to": stamp(many[1]), "format": form}
    answer = client.get(EXPORT, query_string=window, buffered=False)
    pieces = iter(answer.response)
    data = next(pieces)
    database.execute("select pg_terminate_backend(pid) from pg_stat_activity where application_name = 'energy-export'")
    data += b"".join(pieces)
    if form == "csv":
        assert data.splitlines()[-1].startswith(b"# incomplete: ")
    else:
        with pytest.raises(pyarrow.ArrowInvalid):
            parquet.read_table(pyarrow.BufferReader(data))


def test_an_unavailable_database_is_answered_503(client, with_settings):
    with_settings(database_url="postgresql://127.0.0.1:1/energy")
    answer = client.get(EXPORT, query_string={"kind": "meter"})
    assert answer.status_code == 503
    with_settings()
    assert client.get(EXPORT, query_string={"kind": "meter"}).status_code == 200


# ── The command ──────────────────────────────────────────────────────────────────────────────────────────────


def test_the_command_writes_the_same_as_the_service(runner, client, many, tmp_path):
    window = {"kind": "vehicle", "from": stamp(many[0]), "to": stamp(many[1])}
    options = ["export", "readings", "--kind", "vehicle", "--from", window["from"], "--to", window["to"]]
    for name in ("all.csv", "all.parquet"):
        done = runner.invoke(args=[*options, "-o", str(tmp_path / name)])
        assert done.exit_code == 0, done.output
        assert f"{MANY:,} readings" in done.output
        answer = client.get(EXPORT, query_string=window | {"format": name.rsplit(".", 1)[1]})
        assert (tmp_path / name).read_bytes() == answer.data
    assert sorted(os.listdir(tmp_path)) == ["all.csv", "all.parquet"]


def test_the_command_takes_devices(runner, send, tmp_path):
    send(meter("M1"), meter("M2"), meter("M3"))
    file = tmp_path / "out"
    done = runner.invoke(
        args=["export", "readings", "--kind", "meter", "--device", "M1", "--device", "M3", "-o", str(file)]
    )
    assert done.exit_code == 0, done.output
    assert [row["meterId"] for row in rows_of(file.read_text())] == ["M1", "M3"]


def test_a_command_that_fails_keeps_the_existing_file(runner, tmp_path, monkeypatch):
    file = tmp_path / "out.csv"
    file.write_text("yesterday's")
    monkeypatch.setenv("DATABASE_URL", "postgresql://127.0.0.1:1/energy")
    done = runner.invoke(args=["export", "readings", "--kind", "meter", "-o", str(file)])
    assert done.exit_code == 1
    assert "Postgres" in done.output
    assert file.read_text() == "yesterday's"
    assert os.listdir(tmp_path) == ["out.csv"]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--kind", "charger"], "--kind"),
        (["--kind", "meter", "--from", "yesterday"], "ISO 8601"),
        (["--kind", "meter", "--device", "a b"], "1–64 characters"),
        (["--kind", "meter", "--from", "2099-01-01T00:00:00Z"], "--from must be before --to"),
    ],
)
def test_the_command_names_the_wrong_option(runner, tmp_path, options, message):
    done = runner.invoke(args=["export", "readings", *options, "-o", str(tmp_path / "out")])
    assert done.exit_code == 2
    assert message in done.output
    assert not os.listdir(tmp_path)


def test_the_estimated_number_of_readings_is_close(database, many):
    database.execute("analyze vehicle_readings_history")
    assert estimate_rows(database, Selection(VEHICLE, *many)) == pytest.approx(MANY, rel=0.2)
    start = datetime(2001, 1, 1, tzinfo=UTC)
    assert estimate_rows(database, Selection(VEHICLE, start, start + timedelta(days=1))) < 10
