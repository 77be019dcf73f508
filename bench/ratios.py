"""Comparisons of figures of one run: their ratios are about the same on other machines."""

from dataclasses import dataclass

from bench.measured import Goal, Value


@dataclass(frozen=True)
class Ratio:
    key: str
    label: str
    numerator: str
    denominator: str
    unit: str
    goal: Goal | None = None
    only_whole: bool = False  # in the short form there is too little data for the goal

    def of(self, values: dict[str, Value], is_quick: bool) -> Value | None:
        """None if one of the two was not measured."""
        above, below = values.get(self.numerator), values.get(self.denominator)
        if above is None or below is None or above.value is None or not below.value:
            return None
        scale = 100 if self.unit == "%" else 1
        goal, note = (None, "the goal is for a whole run") if is_quick and self.only_whole else (self.goal, "")
        return Value(self.key, self.label, scale * above.value / below.value, self.unit, goal, note=note)


RATIOS = (
    Ratio("ratio.naive", "single readings, beside the naive baseline", "singles.stored", "naive.stored", "×", Goal(20)),
    Ratio("ratio.copy", "bulk, of raw COPY", "bulk.stored", "copy.rows", "%", Goal(40)),
    Ratio("ratio.gzip", "gzip NDJSON, of bulk", "gzip.stored", "bulk.stored", "%", Goal(70)),
    Ratio(
        "ratio.plain",
        "performance, the covering index beside a plain one",
        "performance.plain_sql",
        "performance.sql",
        "×",
        Goal(10),
        only_whole=True,
    ),
    Ratio("ratio.three", "three days, of one: HTTP p50", "three.p50", "performance.p50", "×", Goal(most=1.3)),
    Ratio("ratio.three_sql", "three days, of one: the SQL", "three.sql", "performance.sql", "×", Goal(most=1.3)),
    Ratio("ratio.bare", "single readings, of a bare Flask view's answers", "singles.stored", "bare.answered", "%"),
)


def ratios(values: list[Value], is_quick: bool = False) -> list[Value]:
    by_key = {value.key: value for value in values}
    return [found for ratio in RATIOS if (found := ratio.of(by_key, is_quick))]
