"""What a kWh costs at each site."""

from models.analytics.energy.buckets import zone_names
from models.analytics.money.tariffs import DAYS
from webapp.analytics.tariffs import PeriodSchema, TariffSchema
from webapp.http.fields import PageSchema
from webapp.openapi.answers import answer
from webapp.openapi.components import ENERGY_COST, LOSS_COST, MONEY, TEXT, VEHICLE_ID, page_of, record, said, schema
from webapp.openapi.fields import object_schema, query_parameters
from webapp.openapi.operations import Operations, in_path, operation

_SITE = {**VEHICLE_ID, "description": "as in the `site` of meters", "example": "depot-north"}
_PRICE = {"type": "number", "minimum": 0, "description": "money a kWh"}
_EXAMPLE = {
    "currency": "EUR",
    "timezone": "Europe/Berlin",
    "pricePerKwh": 0.2841,
    "periods": [{"days": ["mon", "tue", "wed", "thu", "fri"], "from": "22:00", "to": "06:00", "pricePerKwh": 0.199}],
}


def schemas() -> dict[str, dict]:
    return {
        "Cost": record(
            "Money of one currency.",
            {
                "currency": TEXT,
                "energyCost": said(MONEY, ENERGY_COST),
                "lossCost": said(MONEY, LOSS_COST),
                "acConsumption": said(MONEY, "kWh that this is the cost of: of the meters whose site has a tariff"),
            },
        ),
        "NewTariff": {
            **object_schema(
                TariffSchema, timezone={"enum": sorted(zone_names())}, periods={"items": schema("NewTariffPeriod")}
            ),
            "additionalProperties": False,
        },
        "NewTariffPeriod": {**object_schema(PeriodSchema), "additionalProperties": False},
        "Tariff": record(
            "What a kWh costs at a site.",
            {
                "site": _SITE,
                "currency": said(TEXT, "ISO 4217"),
                "timezone": said(TEXT, "whose clock the periods follow"),
                "pricePerKwh": said(_PRICE, "money a kWh, where no period says otherwise"),
                "periods": {"type": "array", "items": schema("TariffPeriod")},
            },
        ),
        "TariffPeriod": record(
            "A price for some hours of some days.",
            {
                "days": {"type": "array", "items": {"type": "string", "enum": list(DAYS)}, "minItems": 1},
                "from": said(TEXT, "HH:MM"),
                "to": said(TEXT, "HH:MM, not included; not after `from`: of the next day"),
                "pricePerKwh": _PRICE,
            },
        ),
    }


def operations() -> Operations:
    path, site = "/v1/tariffs/{site}", in_path("site", _SITE)
    yield (
        "/v1/tariffs",
        "get",
        operation(
            "Tariffs",
            "listTariffs",
            "List the tariffs, by site",
            {200: answer("A page of them", page_of("Tariff"))},
            errors="422 503",
            needs=("read",),
            description="Not for a key that is bound to devices, as all of tariffs.",
            parameters=query_parameters(PageSchema),
        ),
    )
    yield (
        path,
        "get",
        operation(
            "Tariffs",
            "getTariff",
            "Show what a kWh costs at a site",
            {200: answer("Its tariff", schema("Tariff"))},
            errors="404 503",
            needs=("read",),
            parameters=[site],
        ),
    )
    yield (
        path,
        "put",
        operation(
            "Tariffs",
            "putTariff",
            "Say what a kWh costs at a site",
            {
                200: answer("In place of the tariff that was there", schema("Tariff")),
                201: answer("New", schema("Tariff")),
            },
            errors="400 413 415 422 503",
            needs=("admin",),
            description="The whole tariff, at once and for all times: what was counted before costs what it says as "
            "well. Periods follow the clock of `timezone`, also where it is changed. An unknown field is refused.",
            parameters=[site],
            requestBody={
                "required": True,
                "content": {
                    "application/json": {
                        "schema": schema("NewTariff"),
                        "examples": {
                            "flat": {"summary": "One price", "value": {**_EXAMPLE, "periods": []}},
                            "nights": {"summary": "Cheaper at night", "value": _EXAMPLE},
                        },
                    }
                },
            },
        ),
    )
    yield (
        path,
        "delete",
        operation(
            "Tariffs",
            "deleteTariff",
            "Remove a site's tariff",
            {204: answer("Removed: its energy has no cost any more")},
            errors="404 503",
            needs=("admin",),
            parameters=[site],
        ),
    )
