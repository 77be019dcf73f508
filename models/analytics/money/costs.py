"""Costs: what the energy of vehicles cost, at the tariffs of the sites where their meters stand.

`energy` is the AC energy, each increment at the price of its time and of its meter's site. `delivered` is what the
DC energy that reached the battery while such a meter fed the vehicle is worth at the same prices; of several meters
at a time the first by id that has a price says it. The difference was paid for and lost.

Exact to the cent: an increment counts in whole billionths of a kWh, which undoes what binary numbers do to decimals
(0.1 + 0.2), so that sums are sums of integers; prices are decimals; and only the end is rounded, half up. A part of
a shared meter's energy is a proportion, and has no exact decimal: there the error is below a billionth a reading.
"""

from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from decimal import ROUND_HALF_UP, Decimal

import psycopg

from models.analytics.energy.feeds import ATTRIBUTED, EnergyQuery, query_values
from models.analytics.energy.registers import increments
from models.analytics.money.tariffs import Tariff, get_tariffs, price_bands
from models.readings import VEHICLE

CENT = Decimal("0.01")
# Energies are added up in these: a kWh has so many.
UNITS_A_KWH = 10**9
_IN_UNITS = f"(increment.kwh * {UNITS_A_KWH})::int8"


@dataclass(frozen=True)
class Cost:
    """Money of one currency, not rounded; `kwh` is the AC energy that it is about: that of meters with a tariff."""

    currency: str
    kwh: Decimal
    energy: Decimal
    delivered: Decimal

    @property
    def loss(self) -> Decimal:
        return self.energy - self.delivered

    def __add__(self, other: "Cost") -> "Cost":
        return Cost(self.currency, self.kwh + other.kwh, self.energy + other.energy, self.delivered + other.delivered)


def to_cents(amount: Decimal) -> Decimal:
    return amount.quantize(CENT, ROUND_HALF_UP)


def by_currency(costs: Iterable[Cost]) -> list[Cost]:
    """The sums, in the order of the currencies: what is of different ones is never added."""
    sums: dict[str, Cost] = {}
    for cost in costs:
        sums[cost.currency] = sums[cost.currency] + cost if cost.currency in sums else cost
    return [sums[currency] for currency in sorted(sums)]


# By the keys of the feeds and of `devices`.
_SITES = """
select distinct site
from vehicle_feeds as feed join devices on devices.kind = 'meter' and devices.device_id = feed.meter_id
where feed.vehicle_id = any(%(vehicle_ids)s) and feed.valid_from < %(end)s and feed.valid_to > %(start)s
  and site is not null
"""

_BANDS = """
band as (
  select site, array_agg(starts order by starts) as edges, array_agg(price order by starts) as prices
  from unnest(%(sites)s::text[], %(band_starts)s::timestamptz[], %(band_prices)s::numeric[])
    as band (site, starts, price)
  group by site
)
"""
_COSTS = f"""
{ATTRIBUTED},
{_BANDS},
priced as (
  select number, vehicle_id, meter_id, site, range_agg(tstzrange(starts, ends)) as during
  from span join devices on devices.kind = 'meter' and devices.device_id = span.meter_id join band using (site)
  group by number, vehicle_id, meter_id, site
),
consumed as (
  select number, site, width_bucket(increment.recorded_at, edges) as place, sum({_IN_UNITS}) as units
  from attributed as increment join priced using (number, meter_id) join band using (site)
  group by 1, 2, 3
),
piece as (
  select number, vehicle_id, site, unnest(during - coalesce(earlier, '{{}}')) as during
  from (
    select *, range_agg(during) over (partition by number order by meter_id
                                      rows between unbounded preceding and 1 preceding) as earlier
    from priced
  ) as priority
),
delivered as (
  select number, site, width_bucket(increment.recorded_at, edges) as place, sum({_IN_UNITS}) as units
  from piece join band using (site) cross join lateral {
    increments(
        VEHICLE,
        "piece.vehicle_id",
        ["%(start)s", "lower(piece.during)"],
        ["%(end)s", "upper(piece.during)"],
    )
} as increment
  group by 1, 2, 3
),
part as (
  select number, site, 0 as units, 0 as energy, 0 as delivered from priced
  union all select number, site, units, units * prices[place], 0 from consumed join band using (site)
  union all select number, site, 0, 0, units * prices[place] from delivered join band using (site)
)
select number, site, sum(units), sum(energy), sum(delivered) from part group by number, site
"""


def get_costs(
    connection: psycopg.Connection, queries: Sequence[EnergyQuery], *, heartbeat_seconds: int
) -> list[list[Cost]]:
    """The cost of the energy of each query, by currency, in the order of the queries; empty where no tariff applies.

    From history. Where nobody has set a tariff it costs one look.
    """
    if not queries or not connection.execute("select exists (select from tariffs)").fetchone()[0]:
        return [[] for _ in queries]
    values = query_values(queries, heartbeat_seconds)
    tariffs = get_tariffs(connection, [site for (site,) in connection.execute(_SITES, values).fetchall()])
    found: dict[int, list[Cost]] = defaultdict(list)
    if tariffs:
        values |= _band_values(tariffs.values(), values["start"], values["end"])
        for number, site, *sums in connection.execute(_COSTS, values).fetchall():
            found[number].append(_cost_of(tariffs[site], *sums))
    return [by_currency(found[number]) for number in range(len(queries))]


def _band_values(tariffs: Iterable[Tariff], start: datetime, end: datetime) -> dict:
    """The parameters of _BANDS: when which price holds at the tariffs' sites in [start, end)."""
    bands = [(tariff.site, *band) for tariff in tariffs for band in price_bands(tariff, start, end)]
    sites, starts, prices = zip(*bands, strict=True)
    return {"sites": list(sites), "band_starts": list(starts), "band_prices": list(prices)}


def _cost_of(tariff: Tariff, units: Decimal, energy: Decimal, delivered: Decimal) -> Cost:
    """Out of sums in units."""
    return Cost(tariff.currency, *(Decimal(amount) / UNITS_A_KWH for amount in (units, energy, delivered)))
