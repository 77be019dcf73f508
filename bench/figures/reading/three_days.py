"""Three fleet days: performance with two further days in history. The cost must not grow with history.

Postgres generates the two days before the loaded one, 57.6 million rows in the order of the time. Then everything is as
for the first day, autovacuum included.
"""

from datetime import timedelta

from bench.bench import Bench, Skipped
from bench.figures.reading.day import generate, present_day, wait_for_autovacuum
from bench.figures.reading.performance import LABEL, over_http, sql_alone
from bench.fleet import PAIRS
from bench.measured import Value

DAYS = 2
HOURS = 24 * DAYS


def measure(bench: Bench) -> list[Value]:
    if bench.is_quick:
        raise Skipped("only in a whole run")
    day = present_day(bench)
    with bench.stack.connect() as connection:
        for hour in range(HOURS):
            start = day.start - timedelta(hours=HOURS - hour)
            bench.show(hour / HOURS, "generating two further days")
            generate(connection, start, start + timedelta(hours=1), range(PAIRS))
    wait_for_autovacuum(bench)
    label = f"with three days, {LABEL}"
    return [*over_http(bench, day, "three", label), sql_alone(bench, day, "three", f"{label}, the SQL alone")]
