"""Where buckets of local time begin and end, in UTC: days have 23 and 25 hours, hours of Kolkata begin at half past.

`5m`, `15m` and `1h` begin where the zone's clock shows a whole step, and wherever it is changed: no bucket is longer
than its name. `1d` begins at the first local midnight, or where the clock goes on when midnight is skipped; `1w` is
the ISO week, from Monday on; `1mo` the month of the calendar.
"""

from bisect import bisect_right
from collections.abc import Callable, Sequence
from datetime import UTC, date, datetime, time, timedelta
from functools import cache
from zoneinfo import ZoneInfo, available_timezones

MAX_BUCKETS = 10_000  # a series

_DAY = timedelta(days=1)
# Below a day: the times of day at which a bucket begins.
_STEPS = {"5m": timedelta(minutes=5), "15m": timedelta(minutes=15), "1h": timedelta(hours=1)}
_STOPS = {name: [step * n for n in range(_DAY // step)] for name, step in _STEPS.items()}
# From a day on: the first day of the bucket behind the one that holds this day.
_FOLLOWING = {
    "1d": lambda day: day + _DAY,
    "1w": lambda day: day + timedelta(days=7 - day.weekday()),
    "1mo": lambda day: (day.replace(day=1) + timedelta(days=31)).replace(day=1),
}
BUCKETS = (*_STEPS, *_FOLLOWING)


class TooManyBuckets(Exception):
    """The window has more than MAX_BUCKETS buckets."""


@cache
def zone_names() -> frozenset[str]:
    """The IANA names that are known here, of the machine's data or else of the package tzdata."""
    return frozenset(available_timezones() - {"localtime", "Factory"})  # the machine's own, and none at all


def bucket_edges(start: datetime, end: datetime, bucket: str, zone: ZoneInfo) -> list[datetime]:
    """The edges of the buckets of [start, end) in UTC, ascending, from `start` to `end`: one more than buckets.

    Raises TooManyBuckets, or OverflowError where the window touches the ends of the calendar.
    """
    edges = [start]
    while edges[-1] < end:
        if len(edges) > MAX_BUCKETS:
            raise TooManyBuckets
        if bucket in _STOPS:
            following = next_stop(edges[-1], _STOPS[bucket], zone)
        else:
            following = _next_begin(edges[-1], _FOLLOWING[bucket], zone)
        edges.append(min(following, end))
    return edges


def _next_begin(after: datetime, following: Callable[[date], date], zone: ZoneInfo) -> datetime:
    day = following(after.astimezone(zone).date())
    # A clock set back across midnight shows the old day once more, when the new one has begun.
    while (begins := day_begins(day, zone)) <= after:
        day = following(day)
    return begins


def next_stop(after: datetime, stops: Sequence[timedelta], zone: ZoneInfo) -> datetime:
    """When the zone's clock next shows one of these times of day (ascending, the first is midnight), or is changed."""
    local = after.astimezone(zone).replace(tzinfo=None)
    midnight = datetime.combine(local, time())
    behind = bisect_right(stops, local - midnight)
    shown = midnight + (stops[behind] if behind < len(stops) else _DAY)
    following = after + (shown - local)
    if _offset(following, zone) == _offset(after, zone):
        return following
    return _clock_change(after, following, zone)


def day_begins(day: date, zone: ZoneInfo) -> datetime:
    """The first instant of a local day: its first midnight or, where the clock skips it, when it is set forward."""
    midnight = datetime.combine(day, time())
    # Of two midnights the first; one that is skipped is taken by the clock before the change, so it comes too late.
    begins = midnight.replace(tzinfo=zone).astimezone(UTC)
    if begins.astimezone(zone).replace(tzinfo=None) == midnight:
        return begins
    return _clock_change(midnight.replace(tzinfo=zone, fold=1).astimezone(UTC), begins, zone)


def _clock_change(before: datetime, until: datetime, zone: ZoneInfo) -> datetime:
    """When in (before, until] the zone's clock is changed, to the second: it must be, and once only."""
    old = _offset(before, zone)
    low, high = int(before.timestamp()), int(until.timestamp())
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (middle, high) if _offset(datetime.fromtimestamp(middle, UTC), zone) == old else (low, middle)
    return datetime.fromtimestamp(high, UTC)


def _offset(moment: datetime, zone: ZoneInfo) -> timedelta:
    return moment.astimezone(zone).utcoffset()
