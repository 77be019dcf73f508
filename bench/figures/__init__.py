"""Every figure, in the order of a run: first what wants fresh servers, then empty tables, last a full day in them."""

from types import ModuleType

from bench.figures import (
    answer_time,
    bare_flask,
    bulk,
    copy_rows,
    decode,
    disk,
    drain_cost,
    fleet_day,
    gzip_ndjson,
    lag,
    memory,
    naive,
    performance,
    reads,
    redis_append,
    scaling,
    singles,
    three_days,
)

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
# What the short form takes: what the ratios are made of.
QUICK = ("naive", "copy", "singles", "bulk", "gzip", "drain", "performance")


def title(name: str) -> str:
    """The first words of the figure's docstring."""
    return FIGURES[name].__doc__.split(":")[0].split("\n")[0]
