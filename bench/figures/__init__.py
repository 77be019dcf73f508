"""Every figure, in the order of a run: first those that need fresh servers, then empty tables, last a full day."""

from types import ModuleType

from bench.figures.ingest import answer_time, bulk, gzip_ndjson, lag, naive, singles
from bench.figures.limits import bare_flask, copy_rows, decode, redis_append
from bench.figures.reading import fleet_day, performance, reads, three_days
from bench.figures.storing import disk, drain_cost, memory, scaling

FIGURES: dict[str, ModuleType] = {
    "decode": decode,
    "memory": memory,
    "redis": redis_append,
    "bare": bare_flask,
    "naive": naive,
    "copy": copy_rows,
    "singles": singles,
    "bulk": bulk,
    "gzip": gzip_ndjson,
    "answer": answer_time,
    "lag": lag,
    "drain": drain_cost,
    "scaling": scaling,
    "disk": disk,
    "day": fleet_day,
    "performance": performance,
    "reads": reads,
    "three": three_days,
}
# The short form: the figures of the ratios.
QUICK = ("naive", "copy", "singles", "bulk", "gzip", "drain", "performance")


def title(name: str) -> str:
    """The first words of the figure's docstring."""
    return FIGURES[name].__doc__.split(":")[0].split("\n")[0]
