"""Buckets of local time: days of 23, 24 and 25 hours, half hours, skipped midnights, leap years, ISO weeks."""

from datetime import UTC, date, datetime, timedelta
from itertools import pairwise
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from models.analytics.energy.buckets import BUCKETS, MAX_BUCKETS, TooManyBuckets, bucket_edges, day_begins, zone_names


def at(text: str) -> datetime:
    return datetime.fromisoformat(text).astimezone(UTC)


def edges(start: str, end: str, bucket: str, zone: str) -> list[str]:
    """The edges as `02-10 10:30` in UTC."""
    return [f"{edge:%m-%d %H:%M}" for edge in bucket_edges(at(start), at(end), bucket, ZoneInfo(zone))]


def hours(start: str, end: str, bucket: str, zone: str) -> list[float]:
    found = bucket_edges(at(start), at(end), bucket, ZoneInfo(zone))
    return [(after - before) / timedelta(hours=1) for before, after in pairwise(found)]


def test_the_first_and_the_last_bucket_end_with_the_window():
    assert edges("2026-02-10T10:20:00Z", "2026-02-10T12:10:00Z", "1h", "UTC") == [
        "02-10 10:20", "02-10 11:00", "02-10 12:00", "02-10 12:10",
    ]  # fmt: skip
    assert edges("2026-02-10T10:00:00Z", "2026-02-10T10:30:00Z", "15m", "UTC") == [
        "02-10 10:00", "02-10 10:15", "02-10 10:30",
    ]  # fmt: skip
    assert edges("2026-02-10T10:03:00Z", "2026-02-10T10:04:00Z", "5m", "UTC") == ["02-10 10:03", "02-10 10:04"]


def test_days_of_23_and_25_hours():
    # Berlin: clocks go from 02:00 to 03:00 on 29 March 2026, and from 03:00 to 02:00 on 25 October.
    assert hours("2026-03-28T00:00+01:00", "2026-03-31T00:00+02:00", "1d", "Europe/Berlin") == [24, 23, 24]
    assert hours("2026-10-24T00:00+02:00", "2026-10-27T00:00+01:00", "1d", "Europe/Berlin") == [24, 25, 24]
    # By the hour: 23 and 25 buckets, each of an hour; the hour of 02:00 is not there, or there twice.
    assert hours("2026-03-29T00:00+01:00", "2026-03-30T00:00+02:00", "1h", "Europe/Berlin") == [1] * 23
    assert hours("2026-10-25T00:00+02:00", "2026-10-26T00:00+01:00", "1h", "Europe/Berlin") == [1] * 25
    assert hours("2026-10-25T00:00+02:00", "2026-10-26T00:00+01:00", "15m", "Europe/Berlin") == [0.25] * 100


def test_zones_with_half_and_quarter_hours():
    # 00:00 in Kolkata is 18:30 UTC, hours begin at half past.
    assert edges("2026-02-10T18:00:00Z", "2026-02-11T20:00:00Z", "1d", "Asia/Kolkata") == [
        "02-10 18:00", "02-10 18:30", "02-11 18:30", "02-11 20:00",
    ]  # fmt: skip
    assert edges("2026-02-10T18:00:00Z", "2026-02-10T20:00:00Z", "1h", "Asia/Kolkata") == [
        "02-10 18:00", "02-10 18:30", "02-10 19:30", "02-10 20:00",
    ]  # fmt: skip
    # Kathmandu is 5:45 ahead.
    assert edges("2026-02-10T18:00:00Z", "2026-02-10T20:00:00Z", "1h", "Asia/Kathmandu")[1] == "02-10 18:15"


def test_a_clock_change_of_half_an_hour():
    # Lord Howe: on 5 April 2026 at 02:00 (+11) back to 01:30 (+10:30), that is 15:00 UTC of the 4th.
    # Hours: 01:00–02:00, then the half hour that is shown twice, then 02:00–03:00.
    assert edges("2026-04-04T14:00:00Z", "2026-04-04T16:30:00Z", "1h", "Australia/Lord_Howe") == [
        "04-04 14:00", "04-04 15:00", "04-04 15:30", "04-04 16:30",
    ]  # fmt: skip
    # On 4 October 2026 at 02:00 (+10:30) on to 02:30 (+11), 15:30 UTC of the 3rd: the hour of 02:00 has 30 minutes.
    assert edges("2026-10-03T14:30:00Z", "2026-10-03T17:00:00Z", "1h", "Australia/Lord_Howe") == [
        "10-03 14:30", "10-03 15:30", "10-03 16:00", "10-03 17:00",
    ]  # fmt: skip
    assert hours("2026-04-05T00:00+11:00", "2026-04-06T00:00+10:30", "1d", "Australia/Lord_Howe") == [24.5]
    assert hours("2026-10-04T00:00+10:30", "2026-10-05T00:00+11:00", "1d", "Australia/Lord_Howe") == [23.5]


def test_a_clock_change_at_midnight():
    # Santiago: 5 September 2026 24:00 (−4) becomes 6 September 01:00 (−3): there is no midnight, the day has 23 hours.
    assert edges("2026-09-05T12:00:00Z", "2026-09-07T12:00:00Z", "1d", "America/Santiago") == [
        "09-05 12:00", "09-06 04:00", "09-07 03:00", "09-07 12:00",
    ]  # fmt: skip
    # 4 April 2026 24:00 (−3) becomes 23:00 (−4): the hour from 23:00 is shown twice, the 4th has 25 hours.
    assert edges("2026-04-04T00:00:00Z", "2026-04-06T00:00:00Z", "1d", "America/Santiago") == [
        "04-04 00:00", "04-04 03:00", "04-05 04:00", "04-06 00:00",
    ]  # fmt: skip
    # Havana: 1 November 2026 01:00 (−4) becomes 00:00 (−5): of two midnights the day begins at the first.
    assert edges("2026-11-01T00:00:00Z", "2026-11-02T12:00:00Z", "1d", "America/Havana") == [
        "11-01 00:00", "11-01 04:00", "11-02 05:00", "11-02 12:00",
    ]  # fmt: skip


def test_a_clock_set_back_across_midnight():
    # St. John's, 7 November 2010 at 00:01 (−2:30) back to 23:01 of the 6th (−3:30), 02:31 UTC. The 7th began at
    # 02:30 UTC; from within the hour that is shown again, the next day to begin is the 8th.
    zone = ZoneInfo("America/St_Johns")
    assert day_begins(date(2010, 11, 7), zone) == at("2010-11-07T02:30:00Z")
    assert edges("2010-11-07T02:45:00Z", "2010-11-09T00:00:00Z", "1d", "America/St_Johns") == [
        "11-07 02:45", "11-08 03:30", "11-09 00:00",
    ]  # fmt: skip


def test_a_day_that_the_calendar_skipped():
    # Samoa had no 30 December 2011: after the 29th, at 10:00 UTC, came the 31st.
    assert edges("2011-12-29T10:00:00Z", "2012-01-01T10:00:00Z", "1d", "Pacific/Apia") == [
        "12-29 10:00", "12-30 10:00", "12-31 10:00", "01-01 10:00",
    ]  # fmt: skip


def test_months_and_leap_years():
    lengths = hours("2024-01-01T00:00:00Z", "2025-01-01T00:00:00Z", "1mo", "UTC")
    assert [length / 24 for length in lengths] == [31, 29, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31]
    # Berlin: March lacks an hour and October has one more.
    lengths = hours("2026-01-01T00:00+01:00", "2027-01-01T00:00+01:00", "1mo", "Europe/Berlin")
    assert [lengths[2], lengths[9], lengths[1]] == [31 * 24 - 1, 31 * 24 + 1, 28 * 24]


def test_iso_weeks_across_new_year():
    # 1 January 2027 is a Friday, of the 53rd week of 2026: 28 December to 3 January.
    assert edges("2026-12-30T00:00:00Z", "2027-01-12T00:00:00Z", "1w", "UTC") == [
        "12-30 00:00", "01-04 00:00", "01-11 00:00", "01-12 00:00",
    ]  # fmt: skip
    # The week of the clock change has an hour less.
    assert hours("2026-03-23T00:00+01:00", "2026-04-06T00:00+02:00", "1w", "Europe/Berlin") == [167, 168]


def test_too_many_buckets_are_refused():
    start = at("2026-01-01T00:00:00Z")
    end = start + timedelta(minutes=5) * MAX_BUCKETS
    assert len(bucket_edges(start, end, "5m", ZoneInfo("UTC"))) == MAX_BUCKETS + 1
    with pytest.raises(TooManyBuckets):
        bucket_edges(start, end + timedelta(microseconds=1), "5m", ZoneInfo("UTC"))


def test_the_ends_of_the_calendar():
    with pytest.raises(OverflowError):
        bucket_edges(at("9999-12-01T00:00:00Z"), at("9999-12-31T23:59:59Z"), "1mo", ZoneInfo("UTC"))


def test_zones_are_named_by_iana():
    assert {"UTC", "Europe/Berlin", "Asia/Kolkata"} <= zone_names()
    assert not {"localtime", "Factory"} & zone_names()  # would mean another thing on another machine


# What each bucket is called on a wall: two instants of one bucket have one name.
NAMES = {
    "5m": lambda t: (t.date(), t.hour, t.minute // 5, t.utcoffset()),
    "15m": lambda t: (t.date(), t.hour, t.minute // 15, t.utcoffset()),
    "1h": lambda t: (t.date(), t.hour, t.utcoffset()),
    "1d": lambda t: t.date(),
    "1w": lambda t: t.isocalendar()[:2],
    "1mo": lambda t: (t.year, t.month),
}
CHANGEFUL = [
    "UTC", "Europe/Berlin", "America/New_York", "Asia/Kolkata", "Asia/Kathmandu", "Australia/Lord_Howe",
    "America/Santiago", "America/Havana", "Asia/Beirut", "Africa/Cairo", "Africa/Casablanca", "Pacific/Chatham",
    "America/Asuncion", "Europe/Dublin", "America/Scoresbysund", "Pacific/Apia",
]  # fmt: skip


@given(
    start=st.datetimes(datetime(2011, 1, 1), datetime(2029, 1, 1)),  # noqa: DTZ001
    minutes=st.integers(1, 60 * 24 * 20),
    bucket=st.sampled_from(BUCKETS),
    zone=st.sampled_from(CHANGEFUL),
)
def test_an_edge_is_where_the_local_bucket_changes(start, minutes, bucket, zone):
    """Held against looking at the clock every minute."""
    start, zone = start.replace(second=0, microsecond=0, tzinfo=UTC), ZoneInfo(zone)
    end = start + timedelta(minutes=minutes)
    found = bucket_edges(start, end, bucket, zone)
    name, expected, last = NAMES[bucket], [], None
    for minute in range(minutes):
        moment = start + timedelta(minutes=minute)
        if (shown := name(moment.astimezone(zone))) != last:
            expected.append(moment)
            last = shown
    assert found == [*expected, end]
