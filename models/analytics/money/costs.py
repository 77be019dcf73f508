"""Costs: the energy of vehicles at the tariffs of the sites where their meters stand.

`energy` is the cost of the AC energy: each increment at the price of its time and of its meter's site. `delivered` is
the value, at the same prices, of the DC energy that reached the battery while such a meter fed the vehicle; of several
meters at a time the first by id with a tariff gives the price. The difference was paid for and lost.

Exact to the cent: an increment counts in whole billionths of a kWh, which undoes what binary numbers do to decimals
(0.1 + 0.2), so sums are sums of integers; prices are decimals; and only the end is rounded, half up. A share of a
shared meter's energy has no exact decimal: there the error is below a billionth of a kWh a reading.
"""

from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from decimal import ROUND_HALF_UP, Decimal
from typing import Any, NamedTuple

import psycopg
from psycopg.rows import class_row, scalar_row

from models.analytics.energy.queries import EnergyQuery, query_values
from models.analytics.money.tariffs import Tariff, get_tariffs, price_bands
from models.sql import one, read_sql

CENT = Decimal("0.01")
UNITS_PER_KWH = 10**9  # energies are summed in these
_ONE_UNIT = Decimal(1) / UNITS_PER_KWH

_SITES = read_sql(__file__, "sites")
_COSTS = read_sql(__file__, "costs")


@dataclass(frozen=True)
class Cost:
    """Money of one currency, not rounded; `kwh` is the AC energy of the meters with a tariff."""

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
    """The sum of each currency, in the order of the currencies."""
    sums: dict[str, Cost] = {}
    for cost in costs:
        sums[cost.currency] = sums[cost.currency] + cost if cost.currency in sums else cost
    return [sums[currency] for currency in sorted(sums)]


class _SiteCost(NamedTuple):
    """The sums of a query at a site: energy in units, money in units * price."""

    number: int
    site: str
    units: Decimal
    energy: Decimal
    delivered: Decimal


def get_costs(
    connection: psycopg.Connection, queries: Sequence[EnergyQuery], *, heartbeat_seconds: int
) -> list[list[Cost]]:
    """The cost of the energy of each query, by currency, in the order of the queries; empty where no tariff applies.

    From history. Without any tariff it costs one short query.
    """
    is_priced = connection.cursor(row_factory=scalar_row).execute("select exists (select from tariffs)")
    if not queries or not one(is_priced):
        return [[] for _ in queries]
    values = query_values(queries, heartbeat_seconds)
    sites = connection.cursor(row_factory=scalar_row).execute(_SITES, values).fetchall()
    tariffs = get_tariffs(connection, sites)
    costs: dict[int, list[Cost]] = defaultdict(list)
    if tariffs:
        values |= _band_values(tariffs.values(), values["start"], values["end"])
        for row in connection.cursor(row_factory=class_row(_SiteCost)).execute(_COSTS, values):
            kwh, energy, delivered = (amount * _ONE_UNIT for amount in (row.units, row.energy, row.delivered))
            costs[row.number].append(Cost(tariffs[row.site].currency, kwh, energy, delivered))
    return [by_currency(costs[number]) for number in range(len(queries))]


def _band_values(tariffs: Iterable[Tariff], start: datetime, end: datetime) -> dict[str, Any]:
    """The prices at the tariffs' sites in [start, end), and when each starts."""
    bands = [(tariff.site, band) for tariff in tariffs for band in price_bands(tariff, start, end)]
    return {
        "sites": [site for site, _ in bands],
        "band_starts": [band.starts for _, band in bands],
        "band_prices": [band.price for _, band in bands],
    }
