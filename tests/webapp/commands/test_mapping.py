"""`energy mapping import`."""

import psycopg
import pytest

from tests.factories import ago, stamp


def imported(runner, tmp_path, text: str | bytes):
    file = tmp_path / "fleet.csv"
    file.write_bytes(text if isinstance(text, bytes) else text.encode())
    return runner.invoke(args=["mapping", "import", str(file)])


def test_an_import_may_be_repeated(runner, tmp_path, client, database):
    text = f"\ufeffvehicleId,meterId,from,to\nV1,M1,,\nV2, M2 ,{stamp(ago(hours=2))},{stamp(ago(hours=1))}\n\nV3,M3\n"
    done = imported(runner, tmp_path, text)
    assert done.exit_code == 0, done.output
    assert "Imported 3 mappings: 3 new, 0 existed already." in done.output
    shown = client.get("/v1/analytics/vehicle-mapping").json["items"]
    assert [(m["vehicleId"], m["meterId"], m["to"] is None) for m in shown] == [
        ("V1", "M1", True),
        ("V2", "M2", False),
        ("V3", "M3", True),
    ]
    assert "0 new, 3 existed already" in imported(runner, tmp_path, text).output


def test_nothing_is_imported_if_a_line_is_wrong(runner, tmp_path, count):
    lines = ["vehicleId,meterId,from", "V1,M1,", "V 2,M2,", "V3,,", "V4,M4,yesterday", "V1,M1,", "V5,M5,,,x"]
    done = imported(runner, tmp_path, "\n".join(lines))
    assert done.exit_code == 1
    for number, field in ((3, "vehicleId"), (4, "meterId"), (5, "from"), (6, "line 2"), (7, "more fields")):
        (line,) = [line for line in done.output.splitlines() if f"line {number}:" in line]
        assert field in line
    assert "5 of 6 lines are wrong; nothing was imported." in done.output
    assert count("vehicle_meter_mapping") == 0


def test_a_failing_import_imports_nothing(runner, tmp_path, count, monkeypatch):
    from webapp.commands import mapping as command

    store = command.map_vehicle

    def store_first(connection, vehicle_id, *rest):
        if vehicle_id == "V2":
            raise psycopg.OperationalError("the connection is lost")
        return store(connection, vehicle_id, *rest)

    monkeypatch.setattr(command, "map_vehicle", store_first)
    done = imported(runner, tmp_path, "vehicleId,meterId\nV1,M1\nV2,M2\n")
    assert (done.exit_code, "the connection is lost" in done.output) == (1, True)
    assert count("vehicle_meter_mapping") == 0


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("", "must name the columns"),
        ("vehicle,meter\nV1,M1\n", "vehicleId and meterId missing"),
        (b"vehicleId,meterId\nV\xff,M1\n", "not a CSV file in UTF-8"),
    ],
)
def test_a_file_without_mappings_is_refused(runner, tmp_path, text, reason):
    done = imported(runner, tmp_path, text)
    assert (done.exit_code, reason in done.output) == (1, True), done.output
