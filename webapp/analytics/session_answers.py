"""Charging sessions in answers: their times, and what each took in and cost."""

from datetime import datetime, timedelta
from typing import Annotated, Literal

import psycopg
import structlog
from msgspec import Meta, field

from models.access.keys import READ
from models.analytics.energy.efficiency import UNKNOWN, status
from models.analytics.sessions import records, reports
from models.analytics.sessions.records import END_REASONS
from webapp.analytics.costs import Priced, cost_fields
from webapp.analytics.quantities import Implausible, Shared, Status, one_of
from webapp.devices.answers import Percent
from webapp.http.answers import (
    Count,
    JsonObject,
    Kwh,
    MeterId,
    Page,
    Ratio,
    SerialId,
    Time,
    VehicleId,
    round_kwh,
    round_ratio,
    round_seconds,
)
from webapp.http.auth import allows
from webapp.http.clock import request_time
from webapp.http.resources import current_resources

log = structlog.get_logger()


class SocRange(JsonObject):
    """State of charge in percent: the first and the last within the session; null: no reading has one."""

    start: Percent | None = field(name="from")
    end: Percent | None = field(name="to")


class Session(Priced):
    """One vehicle at one meter, in [startedAt, endedAt)."""

    id: SerialId
    vehicle_id: VehicleId
    meter_id: MeterId
    state: Literal["open", "ended"]
    started_at: Time
    ended_at: Annotated[Time | None, Meta(description="null: the session is open, and what follows is as of now")]
    end_reason: Annotated[
        str | None,
        one_of(
            (*END_REASONS, None),
            "`next_session`: it was still open where the vehicle's next session starts; `too_long`: it was open for "
            "{session_max_days} days; null: it is open. After both its end can still be reported",
        ),
    ]
    overlapping: Annotated[
        bool,
        Meta(description="another session of the vehicle overlaps it, and DC energy counts in both; only of old ones"),
    ]
    duration_seconds: Annotated[float, Meta(ge=0)]
    unavailable: Annotated[
        str | None,
        one_of(
            ("scope", "failed", None),
            "why all that follows is null or empty. `scope`: the key lacks `read`; `failed`: computing it took too "
            "long, ask for this session alone; null: it is there",
        ),
    ]
    total_ac_consumption: Annotated[Kwh | None, Meta(description="kWh of the meter that are this vehicle's")]
    total_dc_delivery: Annotated[Kwh | None, Meta(description="kWh that reached the battery")]
    efficiency_ratio: Ratio
    status: Status
    soc: SocRange
    shared: Shared | None
    data_points: Annotated[Count | None, Meta(description="distinct instants of the vehicle's readings")]
    meter_data_points: Annotated[Count | None, Meta(description="distinct instants of the meter's readings")]
    implausible: Implausible | None


class SessionPage(Page):
    """A page of sessions."""

    items: list[Session]


def present_sessions(connection: psycopg.Connection, found: list[records.Session]) -> list[Session]:
    now, settings = request_time(), current_resources().settings
    found_reports = reports.report_sessions(
        connection,
        found,
        now,
        heartbeat_seconds=settings.heartbeat_seconds,
        longest=longest_session(),
        patience_seconds=settings.db_timeout_seconds,
    )
    return [_present_report(report, now, "failed") for report in found_reports]


def present_changed(connection: psycopg.Connection, session: records.Session) -> Session:
    """A session that was started or ended. That is done: without its energy it is answered as well."""
    now, bare = request_time(), reports.SessionReport(session)
    if not allows(READ):
        return _present_report(bare, now, "scope")
    try:
        return present_sessions(connection, [session])[0]
    except psycopg.OperationalError as error:
        log.warning("session_not_computed", session=session.id, error=type(error).__name__)
        return _present_report(bare, now, "failed")


def _present_report(report: reports.SessionReport, now: datetime, reason: str) -> Session:
    """`reason`: why the report has no performance, if it has none."""
    session, found = report.session, report.performance
    threshold = current_resources().settings.alert_threshold
    return Session(
        id=session.id,
        vehicle_id=session.vehicle_id,
        meter_id=session.meter_id,
        state="open" if session.ended_at is None else "ended",
        started_at=session.started_at,
        ended_at=session.ended_at,
        end_reason=session.end_reason,
        overlapping=session.overlapping,
        duration_seconds=round_seconds((session.until(now) - session.started_at).total_seconds()),
        unavailable=None if found else reason,
        total_ac_consumption=round_kwh(found.ac_kwh) if found else None,
        total_dc_delivery=round_kwh(found.dc_kwh) if found else None,
        efficiency_ratio=round_ratio(found.efficiency) if found else None,
        status=status(found.dc_kwh, found.ac_kwh, threshold) if found else UNKNOWN,
        soc=SocRange(start=report.soc_from, end=report.soc_to),
        shared=found.shared if found else None,
        data_points=found.vehicle_points if found else None,
        meter_data_points=found.meter_points if found else None,
        implausible=found.implausible if found else None,
        **cost_fields(list(report.costs)),
    )


def longest_session() -> timedelta:
    return timedelta(days=current_resources().settings.session_max_days)
