"""`energy load`, against a real HTTP server."""

import subprocess

import pytest

from loadtool.fleet import fleet
from loadtool.load import LOADED
from tests import ROOT
from tests.processes import ENERGY, environment_without_stack

pytestmark = pytest.mark.slow


def last_row(output: str) -> list[str]:
    """The cells of a table's last row: here the summary's."""
    return [line for line in output.splitlines() if line.strip()][-1].split()


def test_it_needs_no_database_settings_and_reports_an_unreachable_api(closed_url):
    done = subprocess.run(
        [*ENERGY, "load", "single", "1"],
        cwd=ROOT,
        env=environment_without_stack(ENERGY_API_URL=closed_url),
        capture_output=True,
        text=True,
    )
    assert done.returncode == 1
    assert done.stderr.startswith(f"Error: The API at {closed_url} can't be reached")
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize("address", ["ftp://host", "host:8000", "http://"])
def test_an_invalid_address_is_refused(runner, address):
    done = runner.invoke(args=["load", "single", "1", "--url", address])
    assert done.exit_code == 2
    assert "--url" in done.output


def test_single_sends_one_reading_of_each_meter_and_vehicle(runner, url, draining, count):
    done = runner.invoke(args=["load", "single", "7", "--clients", "3", "--url", url])
    assert done.exit_code == 0, done.output
    assert last_row(done.output)[:4] == ["14", "14", "0", "14"]
    for table in ("meter_readings_history", "vehicle_readings_history", "meter_readings_live", "vehicle_readings_live"):
        assert count(table) == 7


def test_full_prints_the_efficiency_of_each_vehicle(runner, url, draining, database):
    done = runner.invoke(args=["load", "full", "3", "--url", url])
    assert done.exit_code == 0, done.output
    rows = [line.split() for line in done.output.splitlines() if line.strip().startswith("LOAD-V")]
    assert [row[:5] for row in rows] == [
        [
            each.vehicle_id,
            each.meter_id,
            "2.0",
            f"{2 * each.charge(1)[1]['kwhDeliveredDc']:g}",
            f"{each.efficiency(0):.2%}"[:-1],
        ]
        for each in fleet(3, LOADED)
    ]
    assert "efficiency, %" in done.output
    assert last_row(done.output)[:4] == ["12", "12", "0", "12"]


def test_steady_keeps_its_rate_and_counts_stored_readings(runner, url, draining, count):
    done = runner.invoke(args=["load", "steady", "5", "1", "--rate", "100", "--batch", "10", "--url", url])
    assert done.exit_code == 0, done.output
    assert last_row(done.output)[:4] == ["100", "100", "0", "100"]
    assert count("meter_readings_history") + count("vehicle_readings_history") == 100


def test_steady_counts_refused_readings_apart_and_fails(runner, url, with_settings, drain_all, count):
    with_settings(stream_max_entries=4, stream_shards=2)
    done = runner.invoke(args=["load", "steady", "5", "0.4", "--clients", "2", "--wait", "0", "--url", url])
    assert done.exit_code == 1
    assert "readings were refused: 503" in done.output
    assert "4 accepted readings are not stored yet; is a worker running?" in done.output
    drain_all()
    assert count("meter_readings_history") + count("vehicle_readings_history") == 4
