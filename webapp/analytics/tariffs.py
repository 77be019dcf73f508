"""Tariffs: the price of a kWh at each site."""

import re
from collections.abc import Mapping
from decimal import Decimal
from typing import Annotated, Any

import msgspec
from flask import Blueprint
from marshmallow import Schema, ValidationError, fields, validate
from msgspec import Meta, field

from models.access.keys import ADMIN, READ
from models.analytics.money import tariffs
from models.analytics.money.tariffs import DAYS
from models.readings import DEVICE_ID
from webapp.analytics.quantities import one_of
from webapp.analytics.zones import IsZone
from webapp.http.answers import JsonObject, Page
from webapp.http.errors import ApiError
from webapp.http.fields import Number, PageSchema
from webapp.http.operations import Body, operation
from webapp.http.paging import decode_cursor, page
from webapp.http.resources import database

bp = Blueprint("tariffs", __name__, url_prefix="/v1/tariffs")

MAX_PERIODS = 100
MAX_PRICE = 1_000_000  # a kWh, in any currency
PRICE_DIGITS = 6  # after the decimal point
BEGINS = re.compile(r"^([01][0-9]|2[0-3]):[0-5][0-9]\Z")
ENDS = re.compile(r"^(([01][0-9]|2[0-3]):[0-5][0-9]|24:00)\Z")
CURRENCY = re.compile(r"^[A-Z]{3}\Z")

# ── Requests ─────────────────────────────────────────────────────────────────────────────────────────────────


def _has_few_digits(price: float) -> None:
    if 0 <= price <= MAX_PRICE and _exact(price) != round(_exact(price), PRICE_DIGITS):
        raise ValidationError(f"Must have at most {PRICE_DIGITS} digits after the decimal point.")


def _exact(price: float) -> Decimal:
    """The decimal that was written, not the binary number next to it."""
    return Decimal(repr(price))


def _price(description: str) -> Number:
    return Number(
        data_key="pricePerKwh",
        required=True,
        validate=[validate.Range(0, MAX_PRICE), _has_few_digits],
        metadata={
            "description": f"{description}, at most {PRICE_DIGITS} digits after the decimal point",
            "example": 0.2841,
        },
    )


class NewTariffPeriodSchema(Schema):
    """A price for some hours of some days, by the clock of the tariff's zone."""

    days = fields.List(
        fields.String(validate=validate.OneOf(DAYS)),
        load_default=lambda: list(DAYS),
        validate=validate.Length(min=1, max=len(DAYS)),
        metadata={"description": "left out: every day", "example": ["mon", "tue"]},
    )
    begins = fields.String(
        data_key="from",
        required=True,
        validate=validate.Regexp(BEGINS, error="Must be HH:MM, from 00:00 to 23:59."),
        metadata={"description": "HH:MM", "example": "22:00"},
    )
    ends = fields.String(
        data_key="to",
        required=True,
        validate=validate.Regexp(ENDS, error="Must be HH:MM, from 00:00 to 24:00."),
        metadata={
            "description": "HH:MM, not included. If it is not after `from`, the period passes midnight and belongs to "
            "the day on which it begins",
            "example": "06:00",
        },
    )
    price = _price("money a kWh")


class NewTariffSchema(Schema):
    """The whole tariff of a site. An unknown field is refused."""

    currency = fields.String(
        required=True,
        validate=validate.Regexp(CURRENCY, error="Must be three capital letters, as EUR."),
        metadata={"description": "ISO 4217", "example": "EUR"},
    )
    timezone = fields.String(
        required=True,
        validate=IsZone(),
        metadata={"description": "the IANA name of the site's zone", "example": "Europe/Berlin"},
    )
    price = _price("money a kWh outside of all periods")
    periods = fields.List(
        fields.Nested(NewTariffPeriodSchema),
        load_default=list,
        validate=validate.Length(max=MAX_PERIODS),
        metadata={"description": "other prices, at their times; where several overlap, the first applies"},
    )


# ── Answers ──────────────────────────────────────────────────────────────────────────────────────────────────

Site = Annotated[str, Meta(pattern=DEVICE_ID.pattern, description="the `site` of its meters", examples=["depot-north"])]
Day = Annotated[str, one_of(DAYS)]
PricePerKwh = Annotated[float, Meta(ge=0, description="money a kWh")]


class TariffPeriod(JsonObject):
    """A price for some hours of some days."""

    days: Annotated[list[Day], Meta(min_length=1)]
    begins: Annotated[str, Meta(description="HH:MM")] = field(name="from")
    ends: Annotated[str, Meta(description="HH:MM, not included; if not after `from`, on the next day")] = field(
        name="to"
    )
    price: PricePerKwh = field(name="pricePerKwh")


class Tariff(JsonObject):
    """The price of a kWh at a site."""

    site: Site
    currency: Annotated[str, Meta(description="ISO 4217")]
    timezone: Annotated[str, Meta(description="the zone whose clock the periods follow")]
    price: Annotated[PricePerKwh, Meta(description="money a kWh outside of all periods")] = field(name="pricePerKwh")
    periods: list[TariffPeriod]


class TariffPage(Page):
    """A page of tariffs."""

    items: list[Tariff]


def _present(tariff: tariffs.Tariff) -> Tariff:
    return msgspec.convert(tariff, Tariff, from_attributes=True)


# ── Operations ───────────────────────────────────────────────────────────────────────────────────────────────

_NIGHTS = {
    "currency": "EUR",
    "timezone": "Europe/Berlin",
    "pricePerKwh": 0.2841,
    "periods": [{"days": ["mon", "tue", "wed", "thu", "fri"], "from": "22:00", "to": "06:00", "pricePerKwh": 0.199}],
}


@bp.get("")
@operation("Tariffs", "List the tariffs, by site", scopes=(READ,), all_devices=True, query=PageSchema)
def list_tariffs(query: Mapping[str, Any]) -> TariffPage:
    after = decode_cursor(query["cursor"], str)
    with database() as connection:
        rows = tariffs.list_tariffs(connection, after=after[0] if after else "", limit=query["limit"] + 1)
    rows, following = page(rows, query["limit"], lambda tariff: (tariff.site,))
    return TariffPage(items=[_present(tariff) for tariff in rows], next=following)


@bp.get("/<site>")
@operation("Tariffs", "Show the tariff of a site", scopes=(READ,), all_devices=True, errors=(404,))
def get_tariff(site: Site) -> Tariff:
    with database() as connection:
        found = tariffs.get_tariffs(connection, [site])
    if not found:
        raise _no_tariff()
    return _present(found[site])


@bp.put("/<site>")
@operation(
    "Tariffs",
    "Set the tariff of a site",
    scopes=(ADMIN,),
    all_devices=True,
    body=Body(
        NewTariffSchema,
        max_bytes=64 * 1024,
        examples={"flat": ("One price", {**_NIGHTS, "periods": []}), "nights": ("Cheaper at night", _NIGHTS)},
    ),
    answers={200: "Replaced", 201: "Created"},
)
def set_tariff(site: Site, body: Mapping[str, Any]) -> tuple[Tariff, int]:
    """Replaces the whole tariff, at once and for all times: it also gives the price of energy counted earlier.

    Periods follow the clock of `timezone`, also on days when that clock goes forward or back.
    """
    periods = tuple(
        tariffs.Period(
            tuple(day for day in DAYS if day in period["days"]),
            period["begins"],
            period["ends"],
            _exact(period["price"]),
        )
        for period in body["periods"]
    )
    tariff = tariffs.Tariff(site, body["currency"], body["timezone"], _exact(body["price"]), periods)
    with database() as connection:
        is_new = tariffs.set_tariff(connection, tariff)
    return _present(tariff), 201 if is_new else 200


@bp.delete("/<site>")
@operation(
    "Tariffs",
    "Delete the tariff of a site",
    scopes=(ADMIN,),
    all_devices=True,
    errors=(404,),
    answers={204: "Deleted: the energy of its meters has no cost any more"},
)
def delete_tariff(site: Site) -> None:
    with database() as connection:
        if not tariffs.delete_tariff(connection, site):
            raise _no_tariff()


def _no_tariff() -> ApiError:
    return ApiError(404, "This site has no tariff")
