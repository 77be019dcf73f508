"""The fleet: totals of a window, their course, and its vehicles, the worst first. All of it from roll-ups."""

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta

import psycopg
from flask import Blueprint, request
from marshmallow import ValidationError, fields, validate

from models.analytics.fleet import summary as fleet
from models.analytics.fleet.costs import get_fleet_costs
from models.analytics.fleet.summary import ORDERS, FleetQuery, Totals, VehicleTotals, Window
from models.analytics.fleet.trend import fill_buckets, list_hourly
from models.analytics.rollups.watermark import RollupState, get_state
from webapp.analytics.costs import amounts, present_costs
from webapp.http.answers import camel_case
from webapp.http.auth import binding
from webapp.http.clock import request_time
from webapp.http.fields import PageSchema, QuerySchema
from webapp.http.paging import decode_cursor, page
from webapp.http.resources import current_resources, database

bp = Blueprint("fleet", __name__, url_prefix="/v1/analytics/fleet")

WINDOWS = {"24h": timedelta(hours=24), "7d": timedelta(days=7), "30d": timedelta(days=30)}
BUCKETS = {"1h": timedelta(hours=1), "1d": timedelta(days=1)}
STATUSES = ("healthy", "degraded", "unknown")
# A list keeps the window of its first page, and its cursors are good for so long.
CURSOR_LASTS = timedelta(days=1)


def _window() -> fields.String:
    return fields.String(
        load_default="24h",
        validate=validate.OneOf(list(WINDOWS)),
        metadata={"description": "how long before the watermark's hour it begins; it ends at the watermark"},
    )


class FleetSchema(QuerySchema):
    window = _window()


class TrendSchema(QuerySchema):
    bucket = fields.String(
        load_default="1h", validate=validate.OneOf(list(BUCKETS)), metadata={"description": "hours, or days, of UTC"}
    )
    window = _window()


class FleetVehiclesSchema(PageSchema):
    sort = fields.String(
        load_default="efficiency",
        validate=validate.OneOf(list(ORDERS)),
        metadata={"description": "the lowest efficiency, the greatest loss or the highest mean temperature first"},
    )
    status = fields.String(
        load_default=None, validate=validate.OneOf(STATUSES), metadata={"description": "only vehicles of this status"}
    )
    window = _window()


@bp.get("")
def show_fleet():
    query = FleetSchema().load(request.args)
    silent_since = request_time() - timedelta(seconds=current_resources().settings.offline_after_seconds)
    with _asking(query["window"]) as (connection, state, fleet_query):
        totals = fleet.get_totals(connection, fleet_query)
        offline = fleet.count_offline(connection, fleet_query, silent_since)
        found_costs = get_fleet_costs(
            connection,
            fleet_query.window.start,
            fleet_query.window.end,
            heartbeat_seconds=fleet_query.heartbeat_seconds,
            bound=fleet_query.bound("vehicle_id"),
            values=fleet_query.values,
        )
    costs = None if found_costs is None else present_costs(found_costs)
    return {
        **_header(state, fleet_query.window),
        **_totals(totals),
        **{camel_case(name): value for name, value in amounts(costs or []).items()},
        "costs": costs,
        "offline": {"vehicles": offline["vehicle"], "meters": offline["meter"]},
        "worst": [_vehicle(found) for found in totals.worst],
    }


@bp.get("/trend")
def show_trend():
    query = TrendSchema().load(request.args)
    with _asking(query["window"]) as (connection, state, fleet_query):
        hours = list_hourly(connection, fleet_query)
    buckets = fill_buckets(hours, fleet_query.window, BUCKETS[query["bucket"]])
    return {
        **_header(state, fleet_query.window),
        "bucket": query["bucket"],
        "items": [
            {
                "from": bucket.start,
                "to": bucket.end,
                **_energy(bucket.ac_kwh, bucket.dc_kwh),
                "unmeteredDcDelivery": _round(bucket.unmetered_dc_kwh, 6),
                "vehicles": bucket.vehicles,
                "dataPoints": bucket.readings,
                "implausible": bucket.implausible,
            }
            for bucket in buckets
        ],
    }


@bp.get("/vehicles")
def list_vehicles():
    query = FleetVehiclesSchema().load(request.args)
    after = decode_cursor(query["cursor"], int, float, str)
    with _asking(query["window"], seconds=after[0] if after else None) as (connection, state, fleet_query):
        found = fleet.list_vehicles(
            connection,
            fleet_query,
            sort=query["sort"],
            status=query["status"],
            after=after[1:] if after else None,
            limit=query["limit"] + 1,
        )
    ends = int(fleet_query.window.end.timestamp())
    found, following = page(found, query["limit"], lambda last: (ends, last.rank, last.vehicle_id))
    return {**_header(state, fleet_query.window), "items": [_vehicle(one) for one in found], "next": following}


@contextmanager
def _asking(window: str, seconds: int | None = None) -> Iterator[tuple[psycopg.Connection, RollupState, FleetQuery]]:
    """A connection on which everything is of one moment, and the question; `seconds`: when the first page's ended."""
    settings = current_resources().settings
    with database() as connection, fleet.consistent_read(connection):
        state = get_state(connection)
        yield (
            connection,
            state,
            FleetQuery(
                fleet.window(_end(state, seconds), WINDOWS[window]) if state.watermark else _nothing(),
                settings.alert_threshold,
                settings.heartbeat_seconds,
                binding(),
            ),
        )


def _end(state: RollupState, seconds: int | None) -> datetime:
    """Where the window ends: at the watermark, or where it stood at the first page, `seconds` since 1970."""
    if seconds is None:
        return state.watermark
    latest = int(state.watermark.timestamp())
    if not latest - CURSOR_LASTS.total_seconds() <= seconds <= latest:
        raise ValidationError("This page is no longer kept; begin anew, without a cursor.", "cursor")
    return datetime.fromtimestamp(seconds, UTC)


def _nothing() -> Window:
    """Where nothing was ever rolled up."""
    now = request_time().replace(minute=0, second=0, microsecond=0)
    return Window(now, now)


def _header(state: RollupState, window: Window) -> dict:
    return {
        "window": {"from": window.start, "to": window.end},
        "watermark": state.watermark,
        "recomputing": state.stale_marks,
    }


def _energy(ac_kwh: float, dc_kwh: float) -> dict:
    return {
        "totalAcConsumption": _round(ac_kwh, 6),
        "totalDcDelivery": _round(dc_kwh, 6),
        "efficiencyRatio": _round(dc_kwh / ac_kwh, 4) if ac_kwh > 0 else None,
        "loss": _round(ac_kwh - dc_kwh, 6),
    }


def _totals(totals: Totals) -> dict:
    return {
        **_energy(totals.ac_kwh, totals.dc_kwh),
        "unmeteredDcDelivery": _round(totals.unmetered_dc_kwh, 6),
        "unmappedAcConsumption": _round(totals.unmapped_ac_kwh, 6),
        "vehicles": {
            "known": totals.healthy + totals.degraded + totals.unknown,
            **{status: getattr(totals, status) for status in STATUSES},
        },
        "dataPoints": totals.readings,
        "completeness": _round(totals.completeness, 4),
        "implausible": totals.implausible,
    }


def _vehicle(found: VehicleTotals) -> dict:
    return {
        "vehicleId": found.vehicle_id,
        "status": found.status,
        "totalAcConsumption": _round(found.ac_kwh, 6),
        "totalDcDelivery": _round(found.dc_kwh, 6),
        "efficiencyRatio": _round(found.efficiency, 4),
        "loss": _round(found.loss_kwh, 6),
        "avgBatteryTemp": _round(found.temperature, 2),
        "maxBatteryTemp": _round(found.temperature_max, 2),
        "dataPoints": found.readings,
        "meterDataPoints": found.meter_readings,
        "completeness": _round(found.completeness, 4),
        "implausible": found.implausible,
        "shared": found.shared,
    }


def _round(value: float | None, digits: int) -> float | None:
    return None if value is None else round(value, digits) + 0.0  # no -0.0
