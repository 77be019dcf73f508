"""`energy simulate`, against a real HTTP server."""

import os
import signal
import subprocess
import time
from datetime import UTC, datetime

import pytest

from loadtool.api import Api
from loadtool.fleet import MINUTES_A_DAY, fleet
from loadtool.simulate import RetryingApi, Simulation, _stop
from tests import ROOT
from tests.factories import meter, vehicle
from tests.processes import ENERGY, environment_without_stack

pytestmark = pytest.mark.slow

NOW = int(datetime.now(UTC).timestamp() // 60)


def simulation(url: str, count: int) -> Simulation:
    return Simulation(RetryingApi(Api(url)), fleet(count))


def test_a_restart_continues_after_the_last_reading_of_each_vehicle(url, draining, database, count):
    first = simulation(url, 2)
    first.begin()
    assert first.catch_up(NOW - 3) == 2 * 2 * MINUTES_A_DAY
    wait_until_stored(count, 2 * MINUTES_A_DAY)
    again = simulation(url, 3)  # one more vehicle, which is new to the API
    again.begin()
    assert again.catch_up(NOW) == 2 * 2 * 3 + 2 * MINUTES_A_DAY
    assert again.catch_up(NOW) == 0
    wait_until_stored(count, 3 * MINUTES_A_DAY + 6)
    repeats = "select count(*) - count(distinct (vehicle_id, recorded_at)) from vehicle_readings_history"
    assert database.execute(repeats).fetchone()[0] == 0
    assert database.execute("select vehicle_id, meter_id from vehicle_meter_mapping order by 1").fetchall() == [
        (f"SIM-V00{n}", f"SIM-M00{n}") for n in (1, 2, 3)
    ]


def wait_until_stored(count, vehicle_readings: int) -> None:
    give_up_at = time.monotonic() + 10
    while count("vehicle_readings_history") != vehicle_readings:
        assert time.monotonic() < give_up_at, count("vehicle_readings_history")
        time.sleep(0.02)


def test_it_waits_for_the_retry_after_and_prints_so_once(url, with_settings, resources, drain_all, capsys):
    with_settings(stream_max_entries=2, stream_shards=2)
    for _ in range(2):
        assert Api(url).post("/v1/telemetry", meter()).is_success
    waits = []

    def sleep(seconds: float) -> None:
        waits.append(seconds)
        if len(waits) == 3:
            drain_all()

    assert RetryingApi(Api(url), sleep).post("/v1/telemetry", vehicle()).body["accepted"] == 1
    assert waits == [5, 5, 5]  # the Retry-After of the answer
    printed = [line for line in capsys.readouterr().out.splitlines() if line.startswith("The API")]
    assert len(printed) == 2
    assert "answers 503" in printed[0]
    assert printed[1].endswith("is back.")
    drain_all()


def test_it_waits_longer_each_time_for_an_unreachable_api(closed_url, capsys, count):
    waits = []

    def sleep(seconds: float) -> None:
        waits.append(seconds)
        if len(waits) == 4:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        RetryingApi(Api(closed_url), sleep).get("/v1/vehicles/SIM-V001")
    assert waits == [1, 2, 4, 5]
    assert capsys.readouterr().out.count("can't be reached") == 1


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_stops_it_without_a_traceback(closed_url, number):
    command = [*ENERGY, "simulate", "2", "--url", closed_url]
    options = {"stdout": subprocess.PIPE, "stderr": subprocess.STDOUT, "text": True}
    with subprocess.Popen(command, cwd=ROOT, env=environment_without_stack(), **options) as process:
        printed = process.stdout.readline()
        process.send_signal(number)
        rest = process.communicate(timeout=5)[0]
    assert "waiting for it" in printed
    assert (process.returncode, rest) == (0, "")


def test_sigterm_ends_it_at_any_point_without_a_traceback():
    class Reports:
        def __del__(self):  # Python reports an exception in here and goes on
            os.kill(os.getpid(), signal.SIGTERM)
            time.sleep(0.1)

    if (child := os.fork()) == 0:
        signal.signal(signal.SIGTERM, _stop)
        Reports()
        os._exit(1)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
