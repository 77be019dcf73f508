"""`energy devices forget`: which devices it deletes, what it deletes of them, and what of others changes."""

from datetime import timedelta

import pytest

from models.access.keys import split_key
from models.access.known_devices import count_known
from models.devices.settings import set_device
from models.readings import METER
from tests.factories import ago, bearer, map_meter, meter, post_with_key, vehicle
from tests.rollups import hourly_rows, roll_up, start_watermark


@pytest.fixture
def run(runner):
    def run(*words: str, status: int = 0, **options) -> str:
        result = runner.invoke(args=["devices", "forget", *words], **options)
        assert result.exit_code == status, result.output
        return result.output

    return run


def test_everything_of_the_devices_is_deleted_and_nothing_of_others(client, send, run, database, count):
    hour = ago(hours=3).replace(minute=0, second=0)
    start_watermark(database, hour)
    send(*(meter(f"FAKE-{number}", hour) for number in range(3)), vehicle("FAKE-V", hour, batteryTemp=99))
    send(meter("M1", hour), vehicle("V1", hour))
    roll_up(database, hour + timedelta(minutes=30))
    set_device(database, METER, "FAKE-1", {"name": "made up"})
    assert "To be deleted: 3 meters, 1 vehicles." in run("--prefix", "FAKE-", "--dry-run")
    assert count("meter_readings_live") == 4
    run("--prefix", "FAKE-", input="n\n", status=1)
    assert count("meter_readings_live") == 4
    assert "Deleted 4 devices with 4 readings" in run("--prefix", "FAKE-", input="y\n")
    for kind in ("meter", "vehicle"):
        for table in (f"{kind}_readings_live", f"{kind}_readings_history", f"{kind}_hourly"):
            assert count(table) == 1, table
    assert count("devices") == 0
    assert client.get("/v1/meters/FAKE-0").status_code == 404
    assert "To be deleted: 0 meters, 0 vehicles." in run("--prefix", "FAKE-")


def test_devices_that_are_part_of_what_was_billed_are_left_out_unless_told(client, send, run, database, count):
    send(meter("M1"), meter("M2"), meter("M3"), meter("M4"), vehicle("V1"), vehicle("V2"))
    map_meter(client, "V1", "M1")
    set_device(database, METER, "M2", {"site": "depot"})
    session = {"vehicleId": "V2", "meterId": "M3", "startedAt": ago(hours=1).isoformat()}
    assert client.post("/v1/sessions", json=session).status_code == 201
    output = run("M1", "M2", "M3", "M4", "V1", "V2", "--yes")
    assert "Left out" in output
    assert "5: M1, M2, M3, V1, V2" in output.replace("\n", "")
    assert (count("meter_readings_live"), count("vehicle_readings_live")) == (3, 2)
    run("M1", "M2", "M3", "V1", "V2", "--billed", "--yes")
    for table in ("meter_readings_live", "vehicle_readings_live", "vehicle_meter_mapping", "charging_sessions"):
        assert count(table) == 0, table


def test_the_part_of_a_forgotten_vehicle_goes_to_those_that_shared_its_meter(client, send, run, database):
    hour = ago(hours=3).replace(minute=0, second=0)
    start_watermark(database, hour)
    for name in ("V1", "V2"):
        map_meter(client, name, "M1")
    send(
        meter("M1", hour, kwhConsumedAc=10),
        vehicle("V1", hour, kwhDeliveredDc=3),
        vehicle("V2", hour, kwhDeliveredDc=1),
    )
    roll_up(database, hour + timedelta(minutes=90))
    run("V2", "--billed", "--yes")
    roll_up(database, hour + timedelta(minutes=90))
    rows = hourly_rows(database, "vehicle")
    assert {name for name, _ in rows} == {"V1"}
    assert rows["V1", hour][7] == 10  # kWh of the meter


def test_alerts_are_resolved_and_keys_may_post_for_others(client, run, new_key, database, resources, drain_all):
    text = new_key("ingest", max_devices=2)
    post_with_key(client, text, [vehicle("V1", batteryTemp=99), vehicle("V2")])
    drain_all()
    from models.alerts.evaluation import evaluate_alerts

    evaluate_alerts(database, resources.settings, stored_until=ago(seconds=0))
    owner = split_key(text)[0]
    assert count_known(resources.settings, [owner]) == {owner: 2}
    assert "resolved 1 alerts" in run("V1", "--yes")
    assert count_known(resources.settings, [owner]) == {owner: 1}
    (alert,) = client.get("/v1/alerts", headers=bearer(new_key("read"))).json["items"]
    assert alert["state"] == "resolved"


def test_ids_come_from_a_file(send, run, count, tmp_path):
    send(meter("M1"), meter("M2"), meter("M3"))
    file = tmp_path / "ids.txt"
    file.write_text("M1\n\nM3\nM9\n")
    assert "Deleted 2 devices" in run("--file", str(file), "--kind", "meter", "--yes")
    assert count("meter_readings_live") == 1
    file.write_text("M1\nM 2\n")
    assert "not the id of a device" in run("--file", str(file), "--yes", status=1)


def test_one_way_to_name_devices_is_needed(run):
    for words in ([], ["M1", "--prefix", "M"]):
        assert "Give ids, or --prefix, or --file." in run(*words, status=2)
