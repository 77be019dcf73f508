"""The synthetic fleet is the same on every machine, and plausible."""

import subprocess
import sys

from loadtool.fleet import MINUTES_A_DAY, Names, Vehicle, fleet
from tests import ROOT


def test_a_minute_has_the_same_readings_on_every_machine_and_in_every_order():
    program = """if True:
        from loadtool.fleet import Vehicle
        for minute in (29_000_700, 29_000_000, 29_000_700): print(Vehicle(3).readings(minute))"""
    seeds = [
        subprocess.run(
            [sys.executable, "-c", program], cwd=ROOT, env={"PYTHONHASHSEED": seed}, capture_output=True, text=True
        ).stdout.splitlines()
        for seed in ("1", "2")
    ]
    assert seeds[0] == seeds[1]
    assert seeds[0][0] == seeds[0][2] != seeds[0][1]


def test_a_day_is_plausible_and_shows_the_faults_of_faulty_vehicles():
    day = 29_000_000 // MINUTES_A_DAY
    for each in fleet(25):
        readings = [each.readings(day * MINUTES_A_DAY + minute) for minute in range(MINUTES_A_DAY)]
        meters, vehicles = zip(*readings, strict=True)
        ac, dc = sum(m["kwhConsumedAc"] for m in meters), sum(v["kwhDeliveredDc"] for v in vehicles)
        is_healthy = not (each.is_degraded or each.has_fault)
        assert (0.85 < dc / ac < 0.97) if is_healthy else (0.6 < dc / ac < 0.85), each
        assert all(0 <= v["batteryTemp"] <= 60 and 0 <= v.get("soc", 50) <= 100 for v in vehicles)
        assert all(220 < m["voltage"] < 240 and m["kwhConsumedAc"] >= 0 for m in meters)
        missing = sum("soc" not in v for v in vehicles)
        assert (0 < missing < 200) if each.omits_soc else missing == 0
        socs = [v["soc"] for v in vehicles if "soc" in v]
        assert max(socs) - min(socs) > 30
        following = each.readings((day + 1) * MINUTES_A_DAY)[1]
        assert abs(following.get("soc", socs[-1]) - socs[-1]) < 2, "midnight is no jump"


def test_ids_follow_from_the_number_and_the_pattern():
    assert [(v.vehicle_id, v.meter_id) for v in fleet(2)] == [("SIM-V001", "SIM-M001"), ("SIM-V002", "SIM-M002")]
    assert Vehicle(1000).vehicle_id == "SIM-V1000"
    assert Vehicle(7, Names("V-{}", "M-{:05d}")).meter_id == "M-00007"
