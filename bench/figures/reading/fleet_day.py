"""A fleet day through the API: 28.8 million readings of 10,000 meters and 10,000 vehicles, 10,000 a request.

They are sent in the order of a day, as fast as they are stored, and counted in history at the end. The next figures
read them. The run waits for autovacuum, a few minutes at most; VACUUM is not run by hand.
"""

from bench import fleet
from bench.bench import Bench
from bench.figures.reading.day import present_day
from bench.measured import Value
from bench.watch import shares


def measure(bench: Bench) -> list[Value]:
    day = present_day(bench)
    if day.pace is None:
        return []
    vacuum = "not in time" if day.vacuum_seconds is None else f"after {day.vacuum_seconds:.0f} s"
    note = f"took {day.seconds:.0f} s; autovacuum had visited it {vacuum}; {shares(day.pace.cpu)}"
    rate = fleet.FLEET_DAY / day.seconds
    return [Value("day.loaded", "a fleet day loaded through the API", rate, "/s", None, day.pace.samples, note)]
