"""Tariffs: what a kWh costs at each site."""

import re
from collections.abc import Iterator
from decimal import Decimal
from typing import ClassVar

import msgspec
from flask import Blueprint, request
from marshmallow import Schema, ValidationError, fields, validate, validates

from models.analytics.money.costs import Cost, to_cents
from models.analytics.money.tariffs import DAYS, Period, Tariff, delete_tariff, get_tariffs, list_tariffs, put_tariff
from webapp.analytics.series import require_zone
from webapp.http.bodies import read_json
from webapp.http.errors import ApiError
from webapp.http.fields import DEVICE_ID, DEVICE_ID_RULE, Number, PageSchema
from webapp.http.paging import decode_cursor, page
from webapp.http.resources import database

bp = Blueprint("tariffs", __name__, url_prefix="/v1/tariffs")

MAX_BODY_BYTES = 64 * 1024
MAX_PERIODS = 100
MAX_PRICE = 1_000_000  # a kWh, in any currency
PRICE_DIGITS = 6  # behind the point
BEGINS = re.compile(r"^([01][0-9]|2[0-3]):[0-5][0-9]\Z")
ENDS = re.compile(r"^(([01][0-9]|2[0-3]):[0-5][0-9]|24:00)\Z")
CURRENCY = re.compile(r"^[A-Z]{3}\Z")


class Price(Number):
    """A price as the decimal that was written, not the binary number next to it."""

    default_error_messages: ClassVar = {"digits": f"Must have at most {PRICE_DIGITS} digits behind the point."}

    def _deserialize(self, value, attr, data, **kwargs) -> Decimal:
        price = Decimal(repr(super()._deserialize(value, attr, data, **kwargs)))
        if -price.as_tuple().exponent > PRICE_DIGITS and price != round(price, PRICE_DIGITS):
            raise self.make_error("digits")
        return price


def _price() -> Price:
    return Price(
        required=True,
        validate=validate.Range(0, MAX_PRICE),
        metadata={"description": f"money a kWh, at most {PRICE_DIGITS} digits behind the point", "example": 0.2841},
    )


class PeriodSchema(Schema):
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
            "description": "HH:MM, not included. Where it is not after `from` the period passes midnight, and belongs "
            "to the day it begins on",
            "example": "06:00",
        },
    )
    price = _price()
    price.data_key = "pricePerKwh"


class TariffSchema(Schema):
    """The whole tariff of a site. An unknown field is refused: a price must not get lost for a typo."""

    currency = fields.String(
        required=True,
        validate=validate.Regexp(CURRENCY, error="Must be three capital letters, as EUR."),
        metadata={"description": "ISO 4217", "example": "EUR"},
    )
    timezone = fields.String(
        required=True, metadata={"description": "the IANA name of the site's zone", "example": "Europe/Berlin"}
    )
    price = _price()
    price.data_key = "pricePerKwh"
    periods = fields.List(
        fields.Nested(PeriodSchema),
        load_default=list,
        validate=validate.Length(max=MAX_PERIODS),
        metadata={"description": "prices other than `pricePerKwh`; the first that holds a time says its price"},
    )

    @validates("timezone")
    def _is_zone(self, value: str, **_) -> None:
        require_zone(value)


@bp.get("")
def show_tariffs():
    query = PageSchema().load(request.args)
    after = decode_cursor(query["cursor"], str)
    with database() as connection:
        rows = list_tariffs(connection, after=after[0] if after else "", limit=query["limit"] + 1)
    rows, following = page(rows, query["limit"], lambda tariff: (tariff.site,))
    return {"items": [_present(tariff) for tariff in rows], "next": following}


@bp.get("/<site>")
def show_tariff(site: str):
    with database() as connection:
        found = get_tariffs(connection, [_known(site)])
    if not found:
        raise _not_found()
    return _present(found[site])


@bp.put("/<site>")
def set_tariff(site: str):
    if not DEVICE_ID.match(site):
        raise ValidationError(DEVICE_ID_RULE + ".", "site")
    body = read_json(request, MAX_BODY_BYTES)
    try:
        given = TariffSchema().load(body)
    except ValidationError as error:
        raise ValidationError(dict(_by_path(error.normalized_messages()))) from None
    periods = tuple(
        Period(tuple(day for day in DAYS if day in period["days"]), period["begins"], period["ends"], period["price"])
        for period in given["periods"]
    )
    tariff = Tariff(site, given["currency"], given["timezone"], given["price"], periods)
    with database() as connection:
        is_new = put_tariff(connection, tariff)
    return _present(tariff), 201 if is_new else 200


@bp.delete("/<site>")
def remove_tariff(site: str):
    with database() as connection:
        if not delete_tariff(connection, _known(site)):
            raise _not_found()
    return "", 204


def _by_path(messages: dict, path: str = "") -> Iterator[tuple[str, list[str]]]:
    """The errors of fields within fields under one name each, such as `periods.0.from`."""
    for name, found in messages.items():
        if isinstance(found, dict):
            yield from _by_path(found, f"{path}{name}.")
        else:
            yield f"{path}{name}", found


def present_costs(costs: list[Cost]) -> dict:
    """Of one currency or, where there are several, of each: what they add up to would be no money."""
    items = [
        {
            "currency": cost.currency,
            "energyCost": float(to_cents(cost.energy)),
            "lossCost": float(to_cents(cost.loss)),
            "acConsumption": float(round(cost.kwh, 6)),
        }
        for cost in costs
    ]
    only = items[0] if len(items) == 1 else {}
    return {**{name: only.get(name) for name in ("energyCost", "lossCost", "currency")}, "costs": items}


def _known(site: str) -> str:
    if not DEVICE_ID.match(site):
        raise _not_found()
    return site


def _not_found() -> ApiError:
    return ApiError(404, "This site has no tariff")


def _present(tariff: Tariff) -> dict:
    return {
        "site": tariff.site,
        "currency": tariff.currency,
        "timezone": tariff.timezone,
        "pricePerKwh": float(tariff.price),
        "periods": [{**msgspec.to_builtins(period), "pricePerKwh": float(period.price)} for period in tariff.periods],
    }
