"""`make bench`: its arithmetic, its output, the documented figures, and a run that leaves nothing behind."""

import gzip
import json
import os
import re
import subprocess
import sys
import tempfile
from datetime import UTC, datetime, timedelta
from types import SimpleNamespace

import pytest
from rich.console import Console

from bench import BenchError, fleet, report
from bench.__main__ import take
from bench.bench import Bench, Skipped
from bench.figures import FIGURES, QUICK
from bench.figures.ingest import gzip_ndjson
from bench.figures.limits import copy_rows
from bench.measured import Goal, Value, number, percentile
from bench.ratios import RATIOS, ratios
from bench.watch import Snapshot, pace
from tests import ROOT
from webapp.ingest.decoding import decode
from webapp.ingest.fast_decoding import Bounds

pytestmark = pytest.mark.slow

NOON = datetime(2026, 2, 3, 12, 0, tzinfo=UTC)
DOCUMENT = (ROOT / "docs/benchmarks.md").read_text()


def shown_table(*values: Value) -> str:
    """The table as a terminal shows it."""
    console = Console(width=200)
    with console.capture() as shown:
        console.print(report.table(values))
    return shown.get()


# ── Arithmetic ───────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("samples", "percent", "expected"),
    [([5], 50, 5), ([5], 99, 5), ([3, 1, 2], 50, 2), ([1, 2, 3, 4], 50, 2), (range(1, 101), 99, 99), ([1, 9], 100, 9)],
)
def test_a_percentile_is_the_nearest_rank(samples, percent, expected):
    assert percentile(list(samples), percent) == expected


def test_without_samples_there_is_no_percentile():
    with pytest.raises(ValueError, match="no samples"):
        percentile([], 50)


def test_a_goal_is_met_at_its_bound():
    assert Goal(least=20).is_met(20)
    assert not Goal(least=20).is_met(19.99)
    assert Goal(most=30).is_met(30)
    assert not Goal(most=30).is_met(30.01)


@pytest.mark.parametrize(("value", "shown"), [(123456.7, "123,457"), (0.2613, "0.261"), (3.44, "3.44"), (114.2, "114")])
def test_a_number_has_three_significant_digits_or_all_before_the_point(value, shown):
    assert number(value) == shown


def test_the_pace_is_taken_from_commit_to_commit_after_the_warm_up():
    # Batches of 100 at 1, 3, 5 and 7 s: the first is within the warm-up, the snapshots end after the last.
    snapshots = [Snapshot(at / 10, 100 * ((at + 10) // 20), 0) for at in range(81)]
    found = pace(SimpleNamespace(snapshots=snapshots, usages=[]))
    assert found.stored_per_second == pytest.approx(50)
    assert found.samples == [50, 50]


def test_a_pace_needs_two_commits():
    snapshots = [Snapshot(float(at), 5 if at > 3 else 0, 0) for at in range(8)]
    with pytest.raises(BenchError, match="not two batches"):
        pace(SimpleNamespace(snapshots=snapshots, usages=[]))


def test_a_ratio_needs_both_of_its_values():
    bulk, copied = Value("bulk.stored", "", 100.0, "/s"), Value("copy.rows", "", 400.0, "/s")
    assert ratios([bulk]) == []
    (found,) = ratios([bulk, copied])
    assert (found.value, found.unit, found.is_met) == (25.0, "%", False)
    assert ratios([bulk, Value("copy.rows", "", None, "")]) == []


def test_a_goal_that_needs_all_data_is_not_checked_in_the_short_form():
    values = [Value("performance.plain_sql", "", 3.0, "ms"), Value("performance.sql", "", 1.0, "ms")]
    (whole,), (quick,) = ratios(values), ratios(values, is_quick=True)
    assert (whole.is_met, quick.is_met) == (False, None)


# ── Requests ─────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("ndjson", [False, True])
def test_the_minutes_have_each_device_once_a_minute_and_are_valid(ndjson):
    minutes = fleet.Minutes(NOON, 10_000, ndjson=ndjson)
    bounds = Bounds(NOON - timedelta(days=1), NOON + timedelta(days=1))
    found = [decode(minutes.body(n), kind=None, ndjson=ndjson, bounds=bounds, max_readings=10_000) for n in range(4)]
    assert all(body.accepted == 10_000 and not body.rejected for body in found)
    readings = [reading[:2] for body in found for reading in (*body.meters, *body.vehicles)]
    assert len(set(readings)) == 2 * fleet.DEVICES
    assert len({at for _, at in readings}) == 2


def test_the_compressed_bodies_are_those_of_the_minutes(tmp_path):
    file = tmp_path / "pool"
    gzip_ndjson.write_pool(file, NOON, 3, lambda *_: None)
    with file.open("rb") as pool:
        bodies = [gzip.decompress(pool.read(int(length))) for length in iter(pool.readline, b"")]
    minutes = fleet.Minutes(NOON, gzip_ndjson.READINGS, ndjson=True)
    assert bodies == [minutes.body(n) for n in range(3)]


def test_the_encoded_rows_are_those_of_the_fleet(database):
    day = datetime.now(UTC).replace(hour=12, minute=0, second=0, microsecond=0)
    recorded, received = day, day + timedelta(seconds=1)
    copy_rows._encoded(database)(copy_rows._wire(recorded), copy_rows._wire(received))
    rows = database.execute(
        "select count(*), count(distinct meter_id), min(recorded_at), max(received_at) from meter_readings_history"
    ).fetchone()
    assert rows == (fleet.PAIRS, fleet.PAIRS, recorded, received)
    values = fleet.values_for(7, 0)
    row = database.execute(
        "select kwh_delivered_dc, battery_temp, soc from vehicle_readings_history where vehicle_id = %s",
        [fleet.vehicle_id(7)],
    ).fetchone()
    assert row == (values.dc, values.temperature, values.soc)


# ── Output ───────────────────────────────────────────────────────────────────────────────────────────────────


def test_the_table_has_values_goals_and_notes():
    shown = shown_table(
        Value("a", "bulk readings stored", 98_816.4, "/s", Goal(least=120_000), note="web 72%"),
        Value("b", "the SQL alone", 0.41, "ms", Goal(most=1)),
        Value("c", "fleet summary", None, "", note="skipped: no such endpoint", is_skipped=True),
    )
    assert re.search(r"bulk readings stored +98,816/s +≥ 120,000 +no +web 72%", shown)
    assert re.search(r"the SQL alone +0\.41 ms +≤ 1 +yes", shown)
    assert re.search(r"fleet summary +– +skipped: no such endpoint", shown)


def test_the_json_has_each_value_with_goal_and_samples():
    values = [Value("a", "A", 2.0, "ms", Goal(most=1), samples=[1.0, 2.0]), Value("b", "B", None, "", note="failed")]
    whole = json.loads(report.as_json(values, {"cores": 2}, {"bulk": 0.01}, NOON, is_quick=True))
    assert whole["started"] == "2026-02-03T12:00:00+00:00"
    assert (whole["quick"], whole["machine"], whole["other_programs"]) == (True, {"cores": 2}, {"bulk": 0.01})
    first, second = whole["figures"]
    assert first["goal"] == {"most": 1}
    assert (first["samples"], first["met"], first["unit"]) == ([1.0, 2.0], False, "ms")
    assert (second["value"], second["goal"], second["met"], second["note"]) == (None, None, None, "failed")


def test_other_programs_on_the_machine_cause_a_warning():
    assert "bulk 80%" in report.disturbance({"bulk": 0.8, "lag": 0.01})
    assert "lag" not in report.disturbance({"bulk": 0.8, "lag": 0.01})
    assert report.disturbance({"bulk": 0.01}) == ""


@pytest.mark.parametrize(
    ("error", "note", "is_skipped"),
    [
        (BenchError("nothing was stored"), "failed: nothing was stored", False),
        (KeyError("soc"), "failed: .*KeyError: 'soc'", False),
        (Skipped("no such endpoint"), "skipped: no such endpoint", True),
    ],
)
def test_a_failed_figure_is_shown_with_the_reason(monkeypatch, error, note, is_skipped):
    def fail(_):
        raise error

    monkeypatch.setitem(FIGURES, "bulk", SimpleNamespace(__doc__="Bulk: …", measure=fail))
    (value,) = take(Bench(stack=None, is_quick=True, show=lambda *_: None), "bulk")
    assert (value.label, value.value, value.is_skipped) == ("Bulk", None, is_skipped)
    assert re.match(note, value.note, re.DOTALL)


# ── Documentation ──── ───────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("name", FIGURES)
def test_every_figure_is_described_in_its_module_and_in_the_document(name):
    assert len(FIGURES[name].__doc__) > 80
    assert f"| `{name}` |" in DOCUMENT


def test_only_existing_figures_are_documented():
    assert set(re.findall(r"^\| `([a-z]+)` \|", DOCUMENT, re.MULTILINE)) == set(FIGURES)


def test_the_short_form_has_the_figures_of_the_ratios_with_goals():
    assert set(QUICK) <= set(FIGURES)
    with_goals = {ratio.numerator.split(".")[0] for ratio in RATIOS if ratio.goal} - {"three"}
    assert with_goals <= set(QUICK)


# ── A run ────────────────────────────────────────────────────────────────────────────────────────────────────


def test_an_unknown_figure_is_refused_with_a_list_of_all():
    done = subprocess.run(
        [sys.executable, "-m", "bench", "--only", "bulk,speed"], cwd=ROOT, capture_output=True, text=True
    )
    assert done.returncode == 2
    assert "no such figure: speed; there are: decode, " in done.stderr


def test_a_run_uses_a_stack_of_its_own_and_leaves_nothing_behind(tmp_path):
    # Not in pytest's folder: for root that is closed to the user that Postgres then runs as.
    with tempfile.TemporaryDirectory(prefix="energy-") as home:
        os.chmod(home, 0o755)
        variables = {**os.environ, "ENERGY_HOME": home, "STREAM_SHARDS": "nonsense of the shell"}
        done = subprocess.run(
            [sys.executable, "-m", "bench", "--quick", "--only", "redis", "--results", str(tmp_path)],
            cwd=ROOT,
            env=variables,
            capture_output=True,
            text=True,
            timeout=120,
        )
        assert done.returncode == 0, done.stderr
        assert os.listdir(home) == []
    (file,) = tmp_path.iterdir()
    values = {value["key"]: value["value"] for value in json.loads(file.read_text())["figures"]}
    assert values["redis.piped"] > values["redis.appends"] > 100
    assert "raw: Redis, one append a round trip" in done.stdout
