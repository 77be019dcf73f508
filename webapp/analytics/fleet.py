"""The fleet as a whole: totals of a window, and the trend of its energy. All of it from roll-ups."""

from collections.abc import Mapping
from datetime import timedelta
from typing import Annotated, Any

from flask import Blueprint
from marshmallow import fields, validate
from msgspec import Meta, field

from models.access.keys import READ
from models.analytics.energy.efficiency import efficiency
from models.analytics.fleet.costs import get_fleet_costs
from models.analytics.fleet.summary import WORST, count_new, count_offline, get_totals
from models.analytics.fleet.trend import Bucket, fill_buckets, list_hourly
from webapp.analytics.costs import Cost, Currency, EnergyCost, LossCost, cost_fields
from webapp.analytics.fleet_vehicles import FleetVehicle, present_vehicle
from webapp.analytics.quantities import OwnImplausible, one_of
from webapp.analytics.rolled_up import FleetWindowSchema, RolledUp, fleet_read
from webapp.http.answers import Count, JsonObject, Kwh, Ratio, Share, Time, round_kwh, round_ratio
from webapp.http.clock import request_time
from webapp.http.operations import operation
from webapp.http.resources import current_resources

bp = Blueprint("fleet", __name__, url_prefix="/v1/analytics/fleet")

BUCKETS = {"1h": timedelta(hours=1), "1d": timedelta(days=1)}


class FleetTrendSchema(FleetWindowSchema):
    bucket = fields.String(
        load_default="1h", validate=validate.OneOf(list(BUCKETS)), metadata={"description": "hours, or days, of UTC"}
    )


# ── Answers ──────────────────────────────────────────────────────────────────────────────────────────────────

_FedAc = Annotated[Kwh, Meta(description="kWh that meters counted for the vehicles they fed")]
_FedDc = Annotated[Kwh, Meta(description="kWh that reached the batteries of vehicles that were fed in the window")]
_FedLoss = Annotated[Kwh, Meta(description="kWh: AC less DC of the vehicles that were fed")]
_UnmeteredDc = Annotated[Kwh, Meta(description="kWh that reached vehicles that no meter fed in the window")]


class VehicleCounts(JsonObject):
    """The number of vehicles, by status."""

    known: Annotated[Count, Meta(description="with a reading at any time, or fed in the window")]
    healthy: Count
    degraded: Count
    implausible: Count
    unknown: Count


class NewCounts(JsonObject):
    """The number of devices whose first reading was stored since the start of the window."""

    vehicles: Count
    meters: Count


class OfflineCounts(JsonObject):
    """The number of devices whose newest reading is older than {offline_after_seconds} seconds."""

    vehicles: Count
    meters: Count


class FleetSummary(RolledUp):
    """The whole fleet in the window."""

    total_ac_consumption: _FedAc
    total_dc_delivery: _FedDc
    efficiency_ratio: Ratio
    loss: _FedLoss
    unmetered_dc_delivery: _UnmeteredDc
    unmapped_ac_consumption: Annotated[
        Kwh | None,
        Meta(description="kWh that meters counted while they fed no vehicle; null for a key that is bound to devices"),
    ]
    vehicles: VehicleCounts
    data_points: Annotated[Count, Meta(description="distinct instants of the vehicles' readings")]
    completeness: Annotated[
        Share | None, Meta(description="`dataPoints` of the known vehicles, of those expected by their heartbeats")
    ]
    implausible: OwnImplausible
    energy_cost: EnergyCost
    loss_cost: LossCost
    currency: Currency
    costs: Annotated[
        list[Cost] | None,
        Meta(description="by currency; empty: no tariff applies; null: prices change within too many hours"),
    ]
    offline: OfflineCounts
    new: NewCounts
    worst: Annotated[list[FleetVehicle], Meta(max_length=WORST, description="the lowest efficiencies")]


class FleetBucket(JsonObject):
    """A part of the window. The energies of all parts add up to those of the window."""

    start: Time = field(name="from")
    end: Time = field(name="to")
    total_ac_consumption: _FedAc
    total_dc_delivery: _FedDc
    efficiency_ratio: Ratio
    loss: _FedLoss
    unmetered_dc_delivery: _UnmeteredDc
    vehicles: Annotated[Count, Meta(description="with readings or fed in it; of a day: in the hour with the most")]
    data_points: Annotated[Count, Meta(description="distinct instants of the vehicles' readings")]
    implausible: OwnImplausible


class FleetTrend(RolledUp):
    """The fleet's energy over the window, in buckets."""

    bucket: Annotated[str, one_of(BUCKETS)]
    items: list[FleetBucket]


def _present_bucket(bucket: Bucket) -> FleetBucket:
    return FleetBucket(
        start=bucket.start,
        end=bucket.end,
        total_ac_consumption=round_kwh(bucket.ac_kwh),
        total_dc_delivery=round_kwh(bucket.dc_kwh),
        efficiency_ratio=round_ratio(efficiency(bucket.dc_kwh, bucket.ac_kwh)),
        loss=round_kwh(bucket.ac_kwh - bucket.dc_kwh),
        unmetered_dc_delivery=round_kwh(bucket.unmetered_dc_kwh),
        vehicles=bucket.vehicles,
        data_points=bucket.readings,
        implausible=bucket.implausible,
    )


# ── Operations ───────────────────────────────────────────────────────────────────────────────────────────────


@bp.get("")
@operation("Analytics", "Show the fleet at a glance", scopes=(READ,), query=FleetWindowSchema)
def get_fleet(query: Mapping[str, Any]) -> FleetSummary:
    """From hourly roll-ups, up to the watermark. A key that is bound to devices gets the totals of its vehicles."""
    offline_since = request_time() - timedelta(seconds=current_resources().settings.offline_after_seconds)
    with fleet_read(query["window"]) as read:
        totals = get_totals(read.connection, read.query)
        offline = count_offline(read.connection, read.query, offline_since)
        new = count_new(read.connection, read.query)
        costs = get_fleet_costs(read.connection, read.query)
    return FleetSummary(
        **read.fields(),
        total_ac_consumption=round_kwh(totals.ac_kwh),
        total_dc_delivery=round_kwh(totals.dc_kwh),
        efficiency_ratio=round_ratio(efficiency(totals.dc_kwh, totals.ac_kwh)),
        loss=round_kwh(totals.ac_kwh - totals.dc_kwh),
        unmetered_dc_delivery=round_kwh(totals.unmetered_dc_kwh),
        unmapped_ac_consumption=round_kwh(totals.unmapped_ac_kwh),
        vehicles=VehicleCounts(
            known=totals.healthy + totals.degraded + totals.implausible_vehicles + totals.unknown,
            healthy=totals.healthy,
            degraded=totals.degraded,
            implausible=totals.implausible_vehicles,
            unknown=totals.unknown,
        ),
        data_points=totals.readings,
        completeness=round_ratio(totals.completeness),
        implausible=totals.implausible,
        **cost_fields(costs),
        offline=OfflineCounts(vehicles=offline["vehicle"], meters=offline["meter"]),
        new=NewCounts(vehicles=new["vehicle"], meters=new["meter"]),
        worst=[present_vehicle(vehicle) for vehicle in totals.worst],
    )


@bp.get("/trend")
@operation("Analytics", "Show the fleet's energy by hour or day", scopes=(READ,), query=FleetTrendSchema)
def get_fleet_trend(query: Mapping[str, Any]) -> FleetTrend:
    """From hourly roll-ups, up to the watermark, with the empty buckets.

    A key that is bound to devices gets the energy of its vehicles.
    """
    with fleet_read(query["window"]) as read:
        hours = list_hourly(read.connection, read.query)
    buckets = fill_buckets(hours, read.query.window, BUCKETS[query["bucket"]])
    return FleetTrend(**read.fields(), bucket=query["bucket"], items=[_present_bucket(bucket) for bucket in buckets])
