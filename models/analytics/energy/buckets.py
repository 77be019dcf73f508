"""The edges of buckets of local time, in UTC: days can have 23 or 25 hours, hours of Kolkata start at half past.

`5m`, `15m` and `1h` start when the zone's clock shows a whole step, and at each clock change: no bucket is longer than
its name. `1d` starts at the first local midnight, or at the clock change if midnight is skipped; `1w` is the ISO week,
from Monday; `1mo` is the calendar month.
"""

from bisect import bisect_right
from collections.abc import Callable, Sequence
from datetime import UTC, date, datetime, time, timedelta
from functools import cache
from zoneinfo import ZoneInfo, available_timezones

MAX_BUCKETS = 10_000  # per series

_DAY = timedelta(days=1)
# Below a day: the times of day at which a bucket starts.
_STEPS = {"5m": timedelta(minutes=5), "15m": timedelta(minutes=15), "1h": timedelta(hours=1)}
_STOPS = {name: [step * n for n in range(_DAY // step)] for name, step in _STEPS.items()}
# From a day: the first day of the bucket after the one with this day.
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
    """The IANA names of the machine's time zone data or, without it, of the package tzdata."""
    return frozenset(available_timezones() - {"localtime", "Factory"})  # these depend on the machine


def bucket_edges(start: datetime, end: datetime, bucket: str, zone: ZoneInfo) -> list[datetime]:
    """The edges of the buckets of [start, end) in UTC, ascending, with `start` and `end`.

    Raises TooManyBuckets, or OverflowError if the window touches the first or last year of the calendar.
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
    # A clock that is set back across midnight shows the old day again after the new one has started.
    while (begins := day_begins(day, zone)) <= after:
        day = following(day)
    return begins


def next_stop(after: datetime, stops: Sequence[timedelta], zone: ZoneInfo) -> datetime:
    """When the zone's clock next shows one of these times of day, or changes. `stops` ascend from midnight."""
    local = after.astimezone(zone).replace(tzinfo=None)
    midnight = datetime.combine(local, time())
    place = bisect_right(stops, local - midnight)
    next_local = midnight + (stops[place] if place < len(stops) else _DAY)
    following = after + (next_local - local)
    if _offset(following, zone) == _offset(after, zone):
        return following
    return _clock_change(after, following, zone)


def day_begins(day: date, zone: ZoneInfo) -> datetime:
    """The first instant of a local day: its first midnight or, if the clock skips it, the clock change."""
    midnight = datetime.combine(day, time())
    # fold=0: of two midnights the first. A skipped midnight is read by the clock before the change, so it is too late.
    begins = midnight.replace(tzinfo=zone).astimezone(UTC)
    if begins.astimezone(zone).replace(tzinfo=None) == midnight:
        return begins
    return _clock_change(midnight.replace(tzinfo=zone, fold=1).astimezone(UTC), begins, zone)


def _clock_change(before: datetime, until: datetime, zone: ZoneInfo) -> datetime:
    """When in (before, until] the zone's clock changes, to the second. It must change exactly once."""
    old = _offset(before, zone)
    low, high = int(before.timestamp()), int(until.timestamp())
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (middle, high) if _offset(datetime.fromtimestamp(middle, UTC), zone) == old else (low, middle)
    return datetime.fromtimestamp(high, UTC)


def _offset(moment: datetime, zone: ZoneInfo) -> timedelta:
    return moment.astimezone(zone).utcoffset() or timedelta()
