"""Money in answers: by currency, rounded to the cent."""

from typing import Annotated, TypedDict

from msgspec import Meta

from models.analytics.money import costs
from models.analytics.money.costs import to_cents
from webapp.http.answers import JsonObject, Kwh, Money, round_kwh

_ENERGY_COST = "what the AC energy cost, each reading at the price of its time at the site of its meter"
_LOSS_COST = "how much of it never reached a battery: `energyCost` less the DC energy at the same prices"
_NO_COST = ", to the cent; null: no tariff applies, or several currencies do"


class Cost(JsonObject):
    """Money of one currency."""

    currency: str
    energy_cost: Annotated[Money, Meta(description=_ENERGY_COST)]
    loss_cost: Annotated[Money, Meta(description=_LOSS_COST)]
    ac_consumption: Annotated[Kwh, Meta(description="kWh with this cost: of the meters whose site has a tariff")]


EnergyCost = Annotated[Money | None, Meta(description=_ENERGY_COST + _NO_COST)]
LossCost = Annotated[Money | None, Meta(description=_LOSS_COST + _NO_COST)]
Currency = Annotated[str | None, Meta(description="of both; null with them")]


class Priced(JsonObject, kw_only=True):
    """Base of answers that have a cost. Amounts of several currencies are not added."""

    energy_cost: EnergyCost
    loss_cost: LossCost
    currency: Currency
    costs: Annotated[list[Cost], Meta(description="by currency; empty: no tariff applies")]


class AmountFields(TypedDict):
    """Amounts of one currency."""

    energy_cost: float | None
    loss_cost: float | None
    currency: str | None


def present_costs(found: list[costs.Cost]) -> list[Cost]:
    return [
        Cost(
            currency=cost.currency,
            energy_cost=float(to_cents(cost.energy)),
            loss_cost=float(to_cents(cost.loss)),
            ac_consumption=round_kwh(float(cost.kwh)),
        )
        for cost in found
    ]


def amounts(items: list[Cost]) -> AmountFields:
    """Those of the only currency; None if there is none, or several."""
    if len(items) != 1:
        return {"energy_cost": None, "loss_cost": None, "currency": None}
    (only,) = items
    return {"energy_cost": only.energy_cost, "loss_cost": only.loss_cost, "currency": only.currency}
