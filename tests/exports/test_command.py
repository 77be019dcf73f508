"""`energy export readings`: the same file as over HTTP, complete or not at all."""

import os
from datetime import UTC, datetime, timedelta

import pytest

from models.exports.csv_copy import Selection, estimate_rows
from models.readings import VEHICLE
from tests.exports.files import EXPORT, MANY, csv_rows
from tests.factories import meter, stamp

pytestmark = pytest.mark.slow


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
    assert [row["meterId"] for row in csv_rows(file.read_text())] == ["M1", "M3"]


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


@pytest.mark.parametrize(
    ("name", "options", "message"),
    [
        ("x.xlsx", [], "name it .csv or .parquet"),
        ("x.parquet", ["--format", "csv"], "name it .csv."),
        ("x.csv", ["--format", "parquet"], "name it .parquet."),
    ],
)
def test_the_name_of_the_file_fits_its_format(runner, tmp_path, name, options, message):
    done = runner.invoke(args=["export", "readings", "--kind", "meter", *options, "-o", str(tmp_path / name)])
    assert done.exit_code == 2
    assert message in " ".join(done.output.split())
    assert not os.listdir(tmp_path)


def test_a_date_is_a_time(runner, send, tmp_path):
    send(meter("M1"))
    options = ["--kind", "meter", "--from", f"{datetime.now(UTC) - timedelta(days=2):%Y-%m-%d}"]
    file = tmp_path / "out.csv"
    assert runner.invoke(args=["export", "readings", *options, "-o", str(file)]).exit_code == 0
    assert [row["meterId"] for row in csv_rows(file.read_text())] == ["M1"]


def test_the_estimated_number_of_readings_is_close(database, many):
    database.execute("analyze vehicle_readings_history")
    assert estimate_rows(database, Selection(VEHICLE, *many)) == pytest.approx(MANY, rel=0.2)
    start = datetime(2001, 1, 1, tzinfo=UTC)
    assert estimate_rows(database, Selection(VEHICLE, start, start + timedelta(days=1))) < 10
