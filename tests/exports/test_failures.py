"""An export that fails, is one too many or loses its client: refused, ended, or visibly incomplete."""

import socket
import time

import psycopg
import pyarrow
import pytest
from pyarrow import parquet

from models.exports.csv_copy import Selection, copy_csv, export_connection
from models.readings import VEHICLE
from tests.exports.files import EXPORT, MANY, csv_rows
from tests.factories import bearer, stamp
from tests.processes import free_port, running, wait_until_live

pytestmark = pytest.mark.slow

WEB = ["granian", "--interface", "wsgi", "--factory", "--workers", "1", "--blocking-threads", "4", "--no-ws"]


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


def test_an_export_too_many_is_refused_for_now(client, many, with_settings, database):
    with_settings(export_concurrency=1, exports_per_key=2)
    window = {"kind": "vehicle", "from": stamp(many[0]), "to": stamp(many[1])}
    first = client.get(EXPORT, query_string=window, buffered=False)
    second = client.get(EXPORT, query_string=window)
    assert second.status_code == 503
    assert "exports are running" in second.json["message"]
    assert second.headers["Retry-After"]
    first.close()
    until(lambda: not exports_running(database))
    assert len(csv_rows(client.get(EXPORT, query_string=window).text)) == MANY


def test_a_client_that_disconnects_ends_the_query(server, many, database):
    port, _ = server
    path = f"{EXPORT}?kind=vehicle&from={stamp(many[0])}"
    with socket.create_connection(("127.0.0.1", port)) as line:
        line.sendall(f"GET {path} HTTP/1.1\r\nHost: localhost\r\n\r\n".encode())
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


def test_a_key_has_its_share_of_exports(client, many, new_key, with_settings, database):
    with_settings(auth="required", export_concurrency=2)
    one, other = new_key("read"), new_key("read")
    window = {"kind": "vehicle", "from": stamp(many[0]), "to": stamp(many[1])}
    with client.get(EXPORT, query_string=window, headers=bearer(one), buffered=False) as first:
        assert first.status_code == 200
        second = client.get(EXPORT, query_string=window, headers=bearer(one))
        assert second.status_code == 429
        assert "may have no more at a time" in second.json["message"]
        assert second.headers["Retry-After"]
        with client.get(EXPORT, query_string=window, headers=bearer(other), buffered=False) as third:
            assert third.status_code == 200
    assert len(csv_rows(client.get(EXPORT, query_string=window, headers=bearer(one)).text)) == MANY


def test_a_reader_that_stalls_keeps_its_query_and_its_slot_for_a_moment_only(
    client, many, new_key, with_settings, database
):
    with_settings(auth="required", export_concurrency=1, export_stall_seconds=1)
    one, other = new_key("read"), new_key("read")
    window = {"kind": "vehicle", "from": stamp(many[0]), "to": stamp(many[1])}
    with client.get(EXPORT, query_string=window, headers=bearer(one), buffered=False) as stalled:
        pieces = iter(stalled.response)
        next(pieces)
        assert client.get(EXPORT, query_string=window, headers=bearer(other)).status_code == 503
        until(lambda: not exports_running(database))
        assert len(csv_rows(client.get(EXPORT, query_string=window, headers=bearer(other)).text)) == MANY
        assert client.get(EXPORT, query_string=window, headers=bearer(one)).status_code == 429, "its thread is held"
        assert b"".join(pieces).splitlines()[-1].startswith(b"# incomplete: ")
