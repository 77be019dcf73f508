"""Money in answers: by currency, rounded to the cent."""

from typing import Annotated, Any

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


def cost_fields(found: list[costs.Cost] | None) -> dict[str, Any]:
    """The fields of Priced: the amounts are None unless there is one currency, `costs` is None if `found` is."""
    presented = None if found is None else [_present(cost) for cost in found]
    only = presented[0] if presented and len(presented) == 1 else None
    amounts = {name: getattr(only, name, None) for name in ("energy_cost", "loss_cost", "currency")}
    return {**amounts, "costs": presented}


def _present(cost: costs.Cost) -> Cost:
    return Cost(
        currency=cost.currency,
        energy_cost=float(to_cents(cost.energy)),
        loss_cost=float(to_cents(cost.loss)),
        ac_consumption=round_kwh(float(cost.kwh)),
    )
