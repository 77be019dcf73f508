"""Costs: whose energy at which price, to the cent. Numbers are worked out by hand."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from decimal import ROUND_HALF_UP, Decimal
from zoneinfo import ZoneInfo

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from models.access.bindings import Binding
from models.analytics.energy.queries import EnergyQuery
from models.analytics.fleet import costs as fleet_costs
from models.analytics.fleet.costs import get_fleet_costs
from models.analytics.fleet.summary import FleetQuery, Window
from models.analytics.money.costs import Cost, get_costs, to_cents
from models.analytics.money.tariffs import DAYS, Period, Tariff, set_tariff
from models.devices.settings import set_device
from models.readings import METER
from tests import tables
from tests.analytics.drawn_fleets import BASE, HEARTBEAT, METERS, VEHICLES, fleets, store_fleet, windows
from tests.analytics.oracle import Fleet
from tests.analytics.world import MINUTES, World, beginnings, events
from tests.analytics.world import at as minute
from tests.factories import map_meter, meter, stamp, vehicle
from tests.rollups import roll_up, start_watermark

NIGHTS = [{"from": "22:00", "to": "06:00", "pricePerKwh": 0.20}]


def at(text: str) -> datetime:
    return datetime.fromisoformat(text).astimezone(UTC)


@pytest.fixture
def arrange(client, database):
    """Maps M001 to V001 and has it stand at a site; its tariff is 0.30 and what is given."""

    def arrange(site="depot", meter_id="M001", **values):
        map_meter(client, "V001", meter_id)
        set_device(database, METER, meter_id, {"site": site})
        tariff = {"currency": "EUR", "timezone": "Europe/Berlin", "pricePerKwh": 0.30, **values}
        assert client.put(f"/v1/tariffs/{site}", json=tariff).status_code in (200, 201)

    return arrange


def costs(client, start: str, end: str) -> tuple:
    window = {"from": stamp(at(start)), "to": stamp(at(end))}
    answer = client.get("/v1/analytics/performance/V001", query_string=window).json
    return answer["energyCost"], answer["lossCost"], answer["currency"]


def test_a_flat_price(client, send, arrange):
    arrange()
    send(
        *[meter(at=at(f"2026-02-10T10:0{n}:00Z"), kwhConsumedAc=1.5) for n in range(4)],
        *[vehicle(at=at(f"2026-02-10T10:0{n}:00Z"), kwhDeliveredDc=1.2) for n in range(4)],
    )
    # 4 × 1.5 × 0.30 = 1.80; of it reached the battery 4 × 1.2 × 0.30 = 1.44.
    assert costs(client, "2026-02-10T00:00:00Z", "2026-02-11T00:00:00Z") == (1.80, 0.36, "EUR")


def test_a_price_for_the_night(client, send, arrange):
    arrange(periods=NIGHTS)
    # Berlin in winter: 06:00 is 05:00 UTC. 1 kWh at 0.20, and from then on 2 kWh at 0.30; of the DC 0.5 at 0.20.
    send(
        meter(at=at("2026-02-10T04:59:59Z"), kwhConsumedAc=1),
        meter(at=at("2026-02-10T05:00:00Z"), kwhConsumedAc=2),
        vehicle(at=at("2026-02-10T04:59:59Z"), kwhDeliveredDc=0.5),
    )
    assert costs(client, "2026-02-10T00:00:00Z", "2026-02-11T00:00:00Z") == (0.80, 0.70, "EUR")


def test_nights_of_seven_and_nine_hours(client, send, arrange):
    arrange(periods=NIGHTS)
    send(vehicle())
    # 1 kWh every whole hour of a local day. 29 March 2025 to the 30th, from noon to noon: 23 readings, 7 of them at
    # night: 7 × 0.20 + 16 × 0.30 = 6.20. In October 25 readings, 9 at night: 9 × 0.20 + 16 × 0.30 = 6.60.
    for start, end, hours, cost in (
        ("2025-03-29T12:00+01:00", "2025-03-30T12:00+02:00", 23, 6.20),
        ("2025-10-25T12:00+02:00", "2025-10-26T12:00+01:00", 25, 6.60),
    ):
        send(*[meter(at=at(start) + timedelta(hours=hour), kwhConsumedAc=1) for hour in range(hours)])
        assert costs(client, start, end) == (cost, cost, "EUR")


def test_a_weekend_in_another_zone(client, send, arrange):
    weekend = [{"days": ["sat", "sun"], "from": "00:00", "to": "24:00", "pricePerKwh": 0.10}]
    arrange(timezone="Asia/Kolkata", periods=weekend)
    send(vehicle())
    # Saturday 7 February 2026 begins in Kolkata on Friday at 18:30 UTC, Monday on Sunday at 18:30 UTC.
    times = ("02-06T18:29", "02-06T18:30", "02-08T18:29", "02-08T18:30")
    send(*[meter(at=at(f"2026-{time}:00Z"), kwhConsumedAc=10) for time in times])
    assert costs(client, "2026-02-06T00:00:00Z", "2026-02-09T00:00:00Z")[0] == 3 + 1 + 1 + 3


def test_half_a_cent_is_rounded_up_once_at_the_end(client, send, arrange):
    arrange(pricePerKwh=0.05)
    send(vehicle(at=at("2026-02-10T11:00:00Z"), kwhDeliveredDc=0))
    # 3 × 0.1 kWh × 0.05 is 0.015 exactly, 2 cents; each alone is 0.005, which would make 3. As binary numbers
    # 0.1 + 0.1 + 0.1 is above 0.3 and 0.7 + 0.1 below 0.8.
    send(*[meter(at=at(f"2026-02-10T10:0{n}:00Z"), kwhConsumedAc=0.1) for n in range(3)])
    assert costs(client, "2026-02-10T00:00:00Z", "2026-02-11T00:00:00Z")[0] == 0.02
    send(
        meter(at=at("2026-02-12T10:00:00Z"), kwhConsumedAc=0.2), meter(at=at("2026-02-12T10:01:00Z"), kwhConsumedAc=0.1)
    )
    assert costs(client, "2026-02-12T00:00:00Z", "2026-02-13T00:00:00Z")[0] == 0.02


def test_a_cumulative_meter_is_paid_by_its_increases(client, send, arrange, database):
    arrange(pricePerKwh=1)
    set_device(database, METER, "M001", {"register": "cumulative"})
    send(vehicle())
    readings = ((9, 99.9), (10, 100.1), (11, 100), (12, 100.3))
    send(*[meter(at=at(f"2026-02-10T{hour:02}:00:00Z"), kwhConsumedAc=kwh) for hour, kwh in readings])
    # 0.2 − 0.1 + 0.3, from the reading before the window on.
    assert costs(client, "2026-02-10T10:00:00Z", "2026-02-11T00:00:00Z")[0] == 0.40


def test_without_a_tariff_there_is_no_cost_and_without_energy_it_is_zero(client, send, database, arrange):
    map_meter(client)
    send(meter(), vehicle())
    window = ("2026-02-10T00:00:00Z", "2026-02-11T00:00:00Z")
    assert costs(client, *window) == (None, None, None)
    set_device(database, METER, "M001", {"site": "depot"})
    assert costs(client, *window) == (None, None, None)
    arrange()
    assert costs(client, *window) == (0, 0, "EUR")
    assert client.delete("/v1/tariffs/depot").status_code == 204
    assert costs(client, *window) == (None, None, None)


def test_currencies_are_not_added(client, send, arrange):
    arrange("berlin", "M001")
    arrange("zurich", "M002", currency="CHF", timezone="Europe/Zurich", pricePerKwh=0.5)
    map_meter(client, "V001", "M003")  # of no site
    moment = at("2026-02-10T10:00:00Z")
    send(*[meter(name, moment, kwhConsumedAc=2) for name in ("M001", "M002", "M003")])
    send(vehicle(at=moment, kwhDeliveredDc=1))
    query = {"from": stamp(moment), "to": stamp(moment + timedelta(hours=1))}
    answer = client.get("/v1/analytics/performance/V001", query_string=query).json
    assert (answer["energyCost"], answer["lossCost"], answer["currency"]) == (None, None, None)
    # All DC is held against the first meter by id.
    assert answer["costs"] == [
        {"currency": "CHF", "energyCost": 1.0, "lossCost": 1.0, "acConsumption": 2.0},
        {"currency": "EUR", "energyCost": 0.6, "lossCost": 0.3, "acConsumption": 2.0},
    ]


def test_dc_energy_has_the_price_of_the_meter_that_fed_the_vehicle_at_that_time(client, send, database, arrange):
    change = at("2026-02-10T12:00:00Z")
    map_meter(client, "V001", "M001", to=change)
    map_meter(client, "V001", "M002", **{"from": change, "to": change + timedelta(hours=1)})
    for meter_id, site, price in (("M001", "a", 0.3), ("M002", "b", 0.5)):
        set_device(database, METER, meter_id, {"site": site})
        client.put(f"/v1/tariffs/{site}", json={"currency": "EUR", "timezone": "UTC", "pricePerKwh": price})
    before = change - timedelta(seconds=1)
    send(
        meter("M001", before, kwhConsumedAc=10), meter("M001", change, kwhConsumedAc=100),
        meter("M002", before, kwhConsumedAc=100), meter("M002", change, kwhConsumedAc=10),
        vehicle(at=before, kwhDeliveredDc=9), vehicle(at=change, kwhDeliveredDc=8),
        vehicle(at=change + timedelta(hours=2), kwhDeliveredDc=50),  # fed by nobody: worth nothing here
    )  # fmt: skip
    # 10 × 0.3 + 10 × 0.5 = 8; less 9 × 0.3 + 8 × 0.5 = 6.7.
    assert costs(client, "2026-02-10T00:00:00Z", "2026-02-11T00:00:00Z") == (8.0, 1.3, "EUR")


def test_vehicles_on_a_shared_meter_pay_their_shares(client, send, arrange):
    arrange()
    map_meter(client, "V002", "M001")
    moment = at("2026-02-10T10:10:00Z")
    send(meter(at=moment, kwhConsumedAc=10), vehicle("V001", moment, kwhDeliveredDc=6))
    send(vehicle("V002", moment, kwhDeliveredDc=2))
    # Three quarters of 10 kWh: 7.5 × 0.3 = 2.25; less 6 × 0.3 = 1.80.
    assert costs(client, "2026-02-10T10:00:00Z", "2026-02-10T11:00:00Z") == (2.25, 0.45, "EUR")


# ── Against the oracle ──────────────────────────────────────────────────────────────────────────────────────

TIMES = st.builds("{:02}:{:02}".format, st.integers(0, 23), st.sampled_from([0, 15, 30]))
PRICES = st.integers(0, 9_999).map(lambda number: Decimal(number) / 10_000)
TARIFFS = st.builds(
    lambda currency, zone, price, periods: (currency, zone, price, tuple(periods)),
    st.sampled_from(["EUR", "CHF"]),
    st.sampled_from(["Europe/Berlin", "Asia/Kolkata", "America/St_Johns"]),
    PRICES,
    st.lists(st.builds(Period, st.just(DAYS), TIMES, TIMES, PRICES), max_size=3),
)


@pytest.mark.slow
@settings(max_examples=100, suppress_health_check=list(HealthCheck))
@given(
    fleet=fleets,
    window=windows,
    vehicle_id=st.sampled_from(VEHICLES),
    sites=st.dictionaries(st.sampled_from(METERS), TARIFFS),
)
def test_costs_are_those_of_the_oracle(database, fleet, window, vehicle_id, sites):
    store_fleet(database, fleet)
    tables.empty(database, "tariffs")
    tariffs = {meter_id: Tariff(f"at-{meter_id}", *tariff) for meter_id, tariff in sites.items()}
    for meter_id, tariff in tariffs.items():
        set_tariff(database, tariff)
        set_device(database, METER, meter_id, {"site": tariff.site})
    found = get_costs(database, [EnergyQuery(vehicle_id, *window)], heartbeat_seconds=HEARTBEAT)[0]
    expected = slow_costs(fleet, tariffs, vehicle_id, *window)
    assert {cost.currency for cost in found} == expected.keys()
    for cost in found:
        energy, delivered = expected[cost.currency]
        assert abs(cost.energy - energy) < Decimal("1e-6")
        assert abs(cost.delivered - delivered) < Decimal("1e-6")


def slow_costs(fleet: Fleet, tariffs: dict, vehicle_id: str, start, end) -> dict[str, tuple[Decimal, Decimal]]:
    """By currency what each reading cost, one by one."""
    fed = {
        meter_id
        for vehicle, meter_id, since, until in fleet.feeds
        if vehicle == vehicle_id and meter_id in tariffs and since < end and until > start
    }
    sums = {tariffs[meter_id].currency: [Decimal(0), Decimal(0)] for meter_id in fed}
    for meter_id in fed:
        for moment, kwh, _ in fleet.meters[meter_id].increments():
            if start <= moment < end:
                share = fleet.share(vehicle_id, meter_id, moment)
                sums[tariffs[meter_id].currency][0] += Decimal(kwh * share) * slow_price(tariffs[meter_id], moment)
    for moment, kwh, _ in fleet.vehicles[vehicle_id].increments():
        feeding = sorted(name for name in tariffs if vehicle_id in fleet.fed_at(name, moment))
        if feeding and start <= moment < end:
            tariff = tariffs[feeding[0]]
            sums[tariff.currency][1] += Decimal(kwh) * slow_price(tariff, moment)
    return {currency: tuple(both) for currency, both in sums.items()}


def slow_price(tariff: Tariff, moment: datetime) -> Decimal:
    local = moment.astimezone(ZoneInfo(tariff.timezone))
    clock = f"{local:%H:%M}"
    for period in tariff.periods:  # of every day
        if period.begins < period.ends:
            holds = period.begins <= clock < period.ends
        else:
            holds = clock >= period.begins or clock < period.ends
        if holds:
            return period.price
    return tariff.price


@pytest.mark.slow
@settings(max_examples=40, suppress_health_check=list(HealthCheck))
@given(
    before=beginnings,
    then=st.lists(events, max_size=8),
    sites=st.dictionaries(st.sampled_from(METERS), TARIFFS, min_size=1),
    until=st.sampled_from([MINUTES + 60, 137]),
)
def test_the_fleet_costs_what_its_vehicles_cost_in_the_oracle(database, before, then, sites, until):
    """Whatever feeds begin, end and overlap within an hour, and whether its price changes or not."""
    world = World(database)
    for event in before + then:
        world.apply(*event)
    tables.empty(database, "tariffs")
    tariffs = {meter_id: Tariff(f"at-{meter_id}", *tariff) for meter_id, tariff in sites.items()}
    for meter_id, tariff in tariffs.items():
        set_tariff(database, tariff)
        set_device(database, METER, meter_id, {"site": tariff.site})
    roll_up(database, minute(max(until, world.rolled)))
    window = Window(minute(0).replace(minute=0) - timedelta(hours=2), minute(max(until, world.rolled)))
    found = {cost.currency: cost for cost in get_fleet_costs(database, FleetQuery(window, 85, HEARTBEAT))}
    alone = [slow_costs(world.fleet, tariffs, name, window.start, window.end) for name in VEHICLES]
    for currency in {currency for costs in alone for currency in costs} | found.keys():
        energy, delivered = (sum(costs.get(currency, (0, 0))[part] for costs in alone) for part in (0, 1))
        cost = found.get(currency) or Cost(currency, *[Decimal(0)] * 3)  # no hour with a reading
        assert abs(cost.energy - energy) < Decimal("1e-6")
        assert abs(cost.delivered - delivered) < Decimal("1e-6")


@pytest.mark.slow
@settings(max_examples=40, suppress_health_check=list(HealthCheck))
@given(
    readings=st.lists(st.tuples(st.integers(0, 2_000_000), st.integers(0, 5)), min_size=1, max_size=200),
    price=st.integers(1, 99_999).map(lambda number: Decimal(number) / 100_000),
)
def test_costs_of_decimals_are_exact(database, readings, price):
    """Not a billionth off: half a cent goes up, whatever the binary numbers beside it are."""
    tables.empty(database, "meter_readings_history", "vehicle_meter_mapping", "devices", "tariffs")
    set_tariff(database, Tariff("depot", "EUR", "UTC", price))
    set_device(database, METER, "M1", {"site": "depot"})
    database.execute("insert into vehicle_meter_mapping (vehicle_id, meter_id) values ('V1', 'M1')")
    values = [Decimal(number).scaleb(-digits) for number, digits in readings]
    with database.cursor() as cursor:
        cursor.executemany(
            "insert into meter_readings_history values (%s, now(), %s, 230, 'M1')",
            [(BASE + timedelta(seconds=n), float(value)) for n, value in enumerate(values)],
        )
    asked = EnergyQuery("V1", BASE, BASE + timedelta(days=1))
    [cost] = get_costs(database, [asked], heartbeat_seconds=60)[0]
    assert cost.kwh == sum(values)
    assert cost.energy == sum(values) * price
    assert to_cents(cost.energy) == (sum(values) * price).quantize(Decimal("0.01"), ROUND_HALF_UP)


# ── The fleet ────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("zone", "windows"),
    [
        # 10:00–12:00 in Berlin is 09:00–11:00 UTC in winter: each UTC hour has one price.
        ("Europe/Berlin", [("09:59", "0.30"), ("10:00", "0.10"), ("11:59", "0.10"), ("12:00", "0.30")]),
        # In Kolkata it is 04:30–06:30 UTC: the hours of 04:00 and 06:00 have two.
        ("Asia/Kolkata", [("09:59", "0.30"), ("10:00", "0.10"), ("11:59", "0.10"), ("12:00", "0.30")]),
    ],
)
def test_the_fleet_costs_what_its_vehicles_cost(client, send, database, zone, windows):
    day = datetime.now(UTC).date() - timedelta(days=2)
    local = {text: datetime.fromisoformat(f"{day}T{text}").replace(tzinfo=ZoneInfo(zone)) for text, _ in windows}
    start_watermark(database, datetime(day.year, day.month, day.day, tzinfo=UTC))
    start = datetime(day.year, day.month, day.day, tzinfo=UTC)
    end = start + timedelta(hours=24)
    cheap = [{"from": "10:00", "to": "12:00", "pricePerKwh": 0.10}]
    client.put("/v1/tariffs/depot", json={"currency": "EUR", "timezone": zone, "pricePerKwh": 0.3, "periods": cheap})
    for number in (1, 2, 3):  # V3 shares the meter of V2
        map_meter(client, f"V00{number}", f"M00{min(number, 2)}")
        set_device(database, METER, f"M00{number}", {"site": "depot"})
    for moment in local.values():
        send(meter("M001", moment, kwhConsumedAc=1), meter("M002", moment, kwhConsumedAc=2))
        send(*[vehicle(f"V00{number}", moment, kwhDeliveredDc=0.5) for number in (1, 2, 3)])
    roll_up(database, end)
    whole = FleetQuery(Window(start, end), 85, 60)
    [fleet] = get_fleet_costs(database, whole)
    # 3 kWh at each of 0.30, 0.10, 0.10 and 0.30: 2.40; DC 1.5 kWh at each: 1.20.
    assert (fleet.currency, fleet.kwh, fleet.energy, fleet.delivered) == ("EUR", 12, Decimal("2.4"), Decimal("1.2"))
    asked = [EnergyQuery(f"V00{number}", start, end) for number in (1, 2, 3)]
    alone = [cost for [cost] in get_costs(database, asked, heartbeat_seconds=60)]
    assert sum(cost.energy for cost in alone) == fleet.energy
    assert sum(cost.delivered for cost in alone) == fleet.delivered
    # A key that may see V001 alone.
    [own] = get_fleet_costs(database, replace(whole, binding=Binding(frozenset({"V001"}))))
    assert (own.energy, own.delivered) == (alone[0].energy, alone[0].delivered)


def test_a_fleet_without_a_tariff_has_no_cost(database):
    assert get_fleet_costs(database, FleetQuery(Window(BASE, BASE + timedelta(hours=1)), 85, 60)) == []


def test_hours_in_which_the_price_changes_come_from_history(database, client, send, monkeypatch):
    start = BASE.replace(minute=0)
    start_watermark(database, start)
    odd = [{"from": f"{start.hour:02}:30", "to": f"{start.hour:02}:45", "pricePerKwh": 0.1}]
    client.put("/v1/tariffs/depot", json={"currency": "EUR", "timezone": "UTC", "pricePerKwh": 1, "periods": odd})
    set_device(database, METER, "M001", {"site": "depot"})
    map_meter(client)
    send(*[meter(at=start + timedelta(minutes=n), kwhConsumedAc=1) for n in (29, 30, 44, 45)])
    send(vehicle(at=start))
    roll_up(database, start + timedelta(hours=1))
    query = FleetQuery(Window(start, start + timedelta(hours=1)), 85, 60)
    [cost] = get_fleet_costs(database, query)
    assert cost.energy == Decimal("2.2")
    monkeypatch.setattr(fleet_costs, "MAX_FROM_HISTORY", 0)
    assert get_fleet_costs(database, query) is None


@pytest.mark.parametrize("periods", [[], [{"from": "{:%H}:30", "to": "24:00", "pricePerKwh": 2}]])
def test_the_fleet_counts_dc_energy_while_the_vehicle_was_fed_whether_the_price_changes_or_not(
    database, client, send, periods
):
    hour = BASE.replace(minute=0)
    start_watermark(database, hour)
    periods = [period | {"from": period["from"].format(hour)} for period in periods]
    client.put("/v1/tariffs/depot", json={"currency": "EUR", "timezone": "UTC", "pricePerKwh": 1, "periods": periods})
    set_device(database, METER, "M001", {"site": "depot"})
    map_meter(client, **{"from": hour, "to": hour + timedelta(minutes=15)})
    for minutes in (5, 10, 20, 40):
        send(vehicle(at=hour + timedelta(minutes=minutes), kwhDeliveredDc=1))
    send(meter(at=hour + timedelta(minutes=5), kwhConsumedAc=6))
    roll_up(database, hour + timedelta(hours=1))
    query = FleetQuery(Window(hour, hour + timedelta(hours=1)), 85, 60)
    [fleet], [[own]] = (
        get_fleet_costs(database, query),
        get_costs(database, [EnergyQuery("V001", hour, hour + timedelta(hours=1))], heartbeat_seconds=60),
    )
    assert (fleet.energy, fleet.delivered) == (own.energy, own.delivered) == (6, 2)


def test_the_fleet_prices_dc_energy_that_came_while_its_meter_had_no_reading(database, client, send):
    """At the first meter by id with a tariff of those that fed it at the time, as performance does."""
    hour = BASE.replace(minute=0)
    start_watermark(database, hour)
    for meter_id, price in (("M001", 1), ("M002", 3)):
        site = {"currency": "EUR", "timezone": "UTC", "pricePerKwh": price}
        client.put(f"/v1/tariffs/at-{meter_id}", json=site)
        set_device(database, METER, meter_id, {"site": f"at-{meter_id}"})
    map_meter(client, meter_id="M002")
    map_meter(client, meter_id="M001", **{"from": hour + timedelta(minutes=30)})
    send(*[vehicle(at=hour + timedelta(minutes=minutes), kwhDeliveredDc=1) for minutes in (10, 40, 50)])
    roll_up(database, hour + timedelta(hours=1))
    [fleet] = get_fleet_costs(database, FleetQuery(Window(hour, hour + timedelta(hours=1)), 85, 60))
    assert (fleet.energy, fleet.delivered) == (0, 3 + 1 + 1)
