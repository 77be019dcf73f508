"""Tariffs: which price holds when, by the clock on the wall; and how they are set and read over HTTP."""

from datetime import UTC, datetime, timedelta
from decimal import Decimal
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from models.analytics.money.tariffs import DAYS, Period, Tariff, get_tariffs, price_bands, set_tariff

NIGHT = Period(DAYS, "22:00", "06:00", Decimal("0.20"))


def at(text: str) -> datetime:
    return datetime.fromisoformat(text).astimezone(UTC)


def tariff(*periods: Period, zone="Europe/Berlin", price="0.30") -> Tariff:
    return Tariff("depot", "EUR", zone, Decimal(price), periods)


def bands(tariff: Tariff, start: str, end: str) -> list[tuple[str, str]]:
    return [(f"{band.starts:%m-%d %H:%M}", str(band.price)) for band in price_bands(tariff, at(start), at(end))]


def test_a_flat_tariff_is_one_band():
    assert bands(tariff(), "2026-01-01T00:00:00Z", "2027-01-01T00:00:00Z") == [("01-01 00:00", "0.30")]


def test_a_night_passes_midnight_in_local_time():
    # Berlin in winter: 22:00–06:00 is 21:00–05:00 UTC.
    assert bands(tariff(NIGHT), "2026-01-10T00:00:00Z", "2026-01-11T00:00:00Z") == [
        ("01-10 00:00", "0.20"), ("01-10 05:00", "0.30"), ("01-10 21:00", "0.20"),
    ]  # fmt: skip
    # The night of 28 to 29 March 2026 has 7 hours (21:00–04:00 UTC), that of 24 to 25 October 9 (20:00–05:00 UTC).
    assert bands(tariff(NIGHT), "2026-03-28T12:00:00Z", "2026-03-29T12:00:00Z") == [
        ("03-28 12:00", "0.30"), ("03-28 21:00", "0.20"), ("03-29 04:00", "0.30"),
    ]  # fmt: skip
    assert bands(tariff(NIGHT), "2026-10-24T12:00:00Z", "2026-10-25T12:00:00Z") == [
        ("10-24 12:00", "0.30"), ("10-24 20:00", "0.20"), ("10-25 05:00", "0.30"),
    ]  # fmt: skip


def test_a_repeated_hour_has_the_same_price_twice_and_a_skipped_one_none():
    early = Period(DAYS, "02:15", "02:45", Decimal("0.10"))
    # 25 October 2026: 02:15–02:45 is 00:15–00:45 UTC and again 01:15–01:45 UTC.
    assert bands(tariff(early), "2026-10-25T00:00:00Z", "2026-10-25T03:00:00Z") == [
        ("10-25 00:00", "0.30"), ("10-25 00:15", "0.10"), ("10-25 00:45", "0.30"),
        ("10-25 01:15", "0.10"), ("10-25 01:45", "0.30"),
    ]  # fmt: skip
    assert bands(tariff(early), "2026-03-29T00:00:00Z", "2026-03-29T03:00:00Z") == [("03-29 00:00", "0.30")]
    # A period whose beginning is skipped begins with the change, at 01:00 UTC.
    late = Period(DAYS, "02:30", "04:00", Decimal("0.10"))
    assert bands(tariff(late), "2026-03-29T00:00:00Z", "2026-03-29T03:00:00Z") == [
        ("03-29 00:00", "0.30"), ("03-29 01:00", "0.10"), ("03-29 02:00", "0.30"),
    ]  # fmt: skip


def test_a_period_that_passes_midnight_belongs_to_the_day_it_begins_on():
    friday_night = Period(("fri",), "22:00", "06:00", Decimal("0.20"))
    # 9 January 2026 is a Friday; no cheap hour before its evening, none after Saturday's morning.
    assert bands(tariff(friday_night, zone="UTC"), "2026-01-09T00:00:00Z", "2026-01-11T00:00:00Z") == [
        ("01-09 00:00", "0.30"), ("01-09 22:00", "0.20"), ("01-10 06:00", "0.30"),
    ]  # fmt: skip


def test_the_first_period_that_contains_a_time_sets_the_price():
    weekend = Period(("sat", "sun"), "00:00", "24:00", Decimal("0.15"))
    # Friday 22:00 to Saturday 06:00 is night in both orders but for the hours after midnight.
    start, end = "2026-01-09T12:00:00Z", "2026-01-10T12:00:00Z"
    assert bands(tariff(weekend, NIGHT, zone="UTC"), start, end) == [
        ("01-09 12:00", "0.30"), ("01-09 22:00", "0.20"), ("01-10 00:00", "0.15"),
    ]  # fmt: skip
    assert bands(tariff(NIGHT, weekend, zone="UTC"), start, end) == [
        ("01-09 12:00", "0.30"), ("01-09 22:00", "0.20"), ("01-10 06:00", "0.15"),
    ]  # fmt: skip


def test_a_period_from_a_time_to_the_same_time_is_24_hours():
    sunday = Period(("sun",), "06:00", "06:00", Decimal("0.10"))
    assert bands(tariff(sunday, zone="UTC"), "2026-01-10T00:00:00Z", "2026-01-13T00:00:00Z") == [
        ("01-10 00:00", "0.30"), ("01-11 06:00", "0.10"), ("01-12 06:00", "0.30"),
    ]  # fmt: skip


def test_a_zone_with_half_an_hour():
    # 22:00 in Kolkata is 16:30 UTC, 06:00 is 00:30 UTC.
    assert bands(tariff(NIGHT, zone="Asia/Kolkata"), "2026-01-10T00:00:00Z", "2026-01-11T00:00:00Z") == [
        ("01-10 00:00", "0.20"), ("01-10 00:30", "0.30"), ("01-10 16:30", "0.20"),
    ]  # fmt: skip


TIMES = st.builds("{:02}:{:02}".format, st.integers(0, 23), st.sampled_from([0, 1, 15, 30, 59]))
PERIODS = st.builds(
    Period,
    st.lists(st.sampled_from(DAYS), min_size=1, unique=True).map(tuple),
    TIMES,
    TIMES | st.just("24:00"),
    st.sampled_from([Decimal("0.1"), Decimal("0.2"), Decimal("0.4")]),
)


@given(
    start=st.datetimes(datetime(2011, 1, 1), datetime(2029, 1, 1)),  # noqa: DTZ001
    minutes=st.integers(1, 60 * 24 * 9),
    periods=st.lists(PERIODS, max_size=4),
    zone=st.sampled_from(["Europe/Berlin", "Australia/Lord_Howe", "America/Santiago", "Asia/Kolkata", "Pacific/Apia"]),
)
def test_bands_have_the_price_of_the_local_time_at_every_minute(start, minutes, periods, zone):
    start = start.replace(second=0, microsecond=0, tzinfo=UTC)
    found = price_bands(tariff(*periods, zone=zone), start, start + timedelta(minutes=minutes))
    place = 0
    for minute in range(minutes):
        moment = start + timedelta(minutes=minute)
        while place + 1 < len(found) and found[place + 1].starts <= moment:
            place += 1
        assert found[place].price == slow_price(periods, moment.astimezone(ZoneInfo(zone)))


def slow_price(periods, local: datetime) -> Decimal:
    """The price by comparing texts: today's periods, and what yesterday's have left over."""
    clock = f"{local:%H:%M}"
    today, yesterday = DAYS[local.weekday()], DAYS[(local.weekday() + 6) % 7]
    for period in periods:
        passes_midnight = period.ends <= period.begins
        if today in period.days and period.begins <= clock and (passes_midnight or clock < period.ends):
            return period.price
        if yesterday in period.days and passes_midnight and clock < period.ends:
            return period.price
    return Decimal("0.30")


# ── Over HTTP ────────────────────────────────────────────────────────────────────────────────────────────────

NIGHTS = {
    "currency": "EUR",
    "timezone": "Europe/Berlin",
    "pricePerKwh": 0.2841,
    "periods": [{"days": ["fri", "mon"], "from": "22:00", "to": "06:00", "pricePerKwh": 0.1}],
}


def test_a_tariff_is_set_replaced_read_listed_and_removed(client, database):
    path = "/v1/tariffs/depot-north"
    assert client.get(path).status_code == 404
    assert client.put(path, json=NIGHTS).status_code == 201
    # Days in the order of the week, every price with the digits that were sent.
    expected = {**NIGHTS, "site": "depot-north"}
    expected["periods"] = [{**NIGHTS["periods"][0], "days": ["mon", "fri"]}]
    assert client.get(path).json == expected
    assert str(database.execute("select price_per_kwh from tariffs").fetchone()[0]) == "0.2841"
    flat = {"currency": "CHF", "timezone": "Europe/Zurich", "pricePerKwh": 1}
    again = client.put(path, json=flat)
    assert (again.status_code, again.json) == (200, {**flat, "site": "depot-north", "periods": []})
    assert client.delete(path).status_code == 204
    assert client.delete(path).status_code == 404


def test_tariffs_are_paged_in_the_order_of_their_sites(client):
    for number in range(5):
        client.put(f"/v1/tariffs/S{number}", json=NIGHTS)
    seen, url = [], "/v1/tariffs?limit=2"
    while url:
        page = client.get(url).json
        seen += [item["site"] for item in page["items"]]
        url = page["next"] and f"/v1/tariffs?limit=2&cursor={page['next']}"
    assert seen == [f"S{number}" for number in range(5)]


@pytest.mark.parametrize(
    ("change", "field"),
    [
        ({"currency": "euro"}, "currency"),
        ({"timezone": "Berlin"}, "timezone"),
        ({"pricePerKwh": -0.1}, "pricePerKwh"),
        ({"pricePerKwh": "0.3"}, "pricePerKwh"),
        ({"pricePerKwh": 0.1234567}, "pricePerKwh"),
        ({"pricePerKWh": 0.3}, "pricePerKWh"),  # a misspelt field is not ignored
        ({"periods": [{"from": "25:00", "to": "06:00", "pricePerKwh": 1}]}, "periods.0.from"),
        ({"periods": [{"from": "24:00", "to": "06:00", "pricePerKwh": 1}]}, "periods.0.from"),
        ({"periods": [{"days": ["monday"], "from": "22:00", "to": "06:00", "pricePerKwh": 1}]}, "periods.0.days.0"),
        ({"periods": [{"days": [], "from": "22:00", "to": "06:00", "pricePerKwh": 1}]}, "periods.0.days"),
        ({"periods": [{"from": "22:00", "to": "06:00"}]}, "periods.0.pricePerKwh"),
    ],
)
def test_a_tariff_that_is_wrong_is_refused_by_field(client, change, field):
    answer = client.put("/v1/tariffs/depot", json=NIGHTS | change)
    assert (answer.status_code, list(answer.json["errors"])) == (422, [field])
    assert all(isinstance(text, str) for text in answer.json["errors"][field])
    assert client.get("/v1/tariffs/depot").status_code == 404


def test_a_key_that_is_bound_to_devices_cannot_set_tariffs(client, new_key):
    bound = {"Authorization": f"Bearer {new_key('admin', device_prefix='M0')}"}
    for method in ("get", "put", "delete"):
        assert client.open("/v1/tariffs/depot", method=method, json=NIGHTS, headers=bound).status_code == 403
    reader = {"Authorization": f"Bearer {new_key('read')}"}
    assert client.put("/v1/tariffs/depot", json=NIGHTS, headers=reader).status_code == 403
    assert client.get("/v1/tariffs", headers=reader).status_code == 200


@pytest.mark.parametrize(
    "change",
    [
        "timezone = 'Mars/Olympus'",
        "timezone = '../../etc/passwd'",
        """periods = '{"no": "list"}'""",
        """periods = '[{"days": ["mon"], "from": "late", "to": "06:00", "pricePerKwh": 1}]'""",
    ],
)
def test_an_unreadable_tariff_leaves_its_site_without_one_and_is_named(client, database, runner, alive, change):
    for site in ("a", "b", "c"):
        set_tariff(database, Tariff(site, "EUR", "UTC", Decimal(1)))
    database.execute(f"update tariffs set {change} where site = 'b'")
    page = client.get("/v1/tariffs?limit=1").json
    assert [item["site"] for item in page["items"]] == ["a"]
    page = client.get(f"/v1/tariffs?limit=1&cursor={page['next']}").json
    assert [item["site"] for item in page["items"]] == ["c"]
    assert page["next"] is None
    assert client.get("/v1/tariffs/b").status_code == 404
    assert set(get_tariffs(database, ["a", "b"])) == {"a"}
    assert "tariff of b" in runner.invoke(args=["doctor"]).output
