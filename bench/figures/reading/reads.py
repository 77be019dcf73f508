"""Reads: the fleet summary, a page of the live state, a page of history, and the rate of exports.

On a fleet day, with one client and nothing else, once the roll-ups have reached the present; the wait for them is a
figure too.
"""

import time
from datetime import UTC, datetime, timedelta

import urllib3

from bench.bench import Bench
from bench.figures.reading.day import present_day
from bench.fleet import vehicle_id
from bench.load import full_speed
from bench.measured import Value
from bench.stack import ENGINE, Stack

PAGES = {
    "fleet": ("fleet summary of 24 hours", "/v1/analytics/fleet?window=24h"),
    "live": ("live page of 100 vehicles", "/v1/vehicles?limit=100"),
    "history": ("history page of 100", "/v1/vehicles/V-%05d/history?limit=100"),
}
EXPORTED_VEHICLES = 20
EXPORTED_HOURS = 1
CHUNK_BYTES = 1 << 20
UP_TO_DATE = timedelta(minutes=5)
ROLL_UP_SECONDS = 300


def measure(bench: Bench) -> list[Value]:
    day = present_day(bench)
    bench.stack.engine(*ENGINE)
    values = [_rolled_up(bench)]
    for name, (label, path) in PAGES.items():
        if _get(bench.stack, path.replace("V-%05d", vehicle_id(0))).status == 404:
            values.append(Value(f"reads.{name}", label, None, "", note="skipped: no such endpoint", is_skipped=True))
            continue
        plan = bench.plan("get", 1, path=path, choices=day.pairs, seconds=bench.seconds(8, 3))
        sent = full_speed.send(plan, bench.show)
        values.append(Value(f"reads.{name}", f"{label}, p50", sent.p50_ms, "ms", note=f"p99 {sent.p99_ms:.1f} ms"))
    bench.show(0.5, "exporting")
    histories = [f"/v1/vehicles/{vehicle_id(pair)}/history" for pair in range(EXPORTED_VEHICLES)]
    values.append(_exported(bench.stack, "csv", "history as CSV, a day of a vehicle after the other", histories))
    window = f"from={_text(day.start)}&to={_text(day.start + timedelta(hours=EXPORTED_HOURS))}"
    export = [f"/v1/export/readings?kind=meter&{window}"]
    values.append(_exported(bench.stack, "export", f"export of all meters, {EXPORTED_HOURS} h, CSV", export))
    return values


def _rolled_up(bench: Bench) -> Value:
    """Waits until the fleet summary covers the whole day."""
    started = time.perf_counter()

    def is_up_to_date() -> bool:
        answer = _get(bench.stack, PAGES["fleet"][1])
        watermark = answer.json().get("watermark") if answer.status == 200 else None
        return bool(watermark) and datetime.now(UTC) - datetime.fromisoformat(watermark) < UP_TO_DATE

    bench.show(0, "waiting for the roll-ups")
    bench.stack.wait_until(is_up_to_date, "the roll-ups do not come up to the present", ROLL_UP_SECONDS)
    return Value("reads.rollups", "roll-ups of the day, waited for", time.perf_counter() - started, "s")


def _exported(stack: Stack, name: str, label: str, paths: list[str]) -> Value:
    rows, started = 0, time.perf_counter()
    for path in paths:
        answer = _get(stack, path, preload_content=False)
        if answer.status == 404:
            return Value(f"reads.{name}", label, None, "", note="skipped: no such endpoint", is_skipped=True)
        rows += sum(chunk.count(b"\n") for chunk in answer.stream(CHUNK_BYTES)) - 1
    seconds = time.perf_counter() - started
    return Value(f"reads.{name}", label, rows / seconds, "rows/s", note=f"{rows:,} rows")


def _get(stack: Stack, path: str, **options) -> urllib3.BaseHTTPResponse:
    headers = {"Authorization": f"Bearer {stack.key}", "Accept": "text/csv, application/json;q=0.5"}
    return urllib3.request("GET", stack.url + path, headers=headers, timeout=120, **options)


def _text(moment) -> str:
    return moment.isoformat().replace("+00:00", "Z")
