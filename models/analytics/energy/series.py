"""Series: what one device did in each bucket of a window. Buckets are those of models/analytics/energy/buckets.py.

Whole UTC hours that lie within one bucket come from the roll-ups, where these are right: before the watermark, and
unless a mark waits for the device. All else comes from history, in the same statement: one snapshot, so that a
series is exact at once, whatever is marked or being recomputed.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from itertools import pairwise

import psycopg

from models.analytics.energy.registers import NOT_PLAIN, increments
from models.readings import METER, VEHICLE, Kind

# What is averaged: the reading's column, and where an hour has its sum and their number.
AVERAGED = {
    METER.name: (("voltage", "voltage_sum", "readings"),),
    VEHICLE.name: (("battery_temp", "battery_temp_sum", "readings"), ("soc", "soc_sum", "soc_readings")),
}


@dataclass(frozen=True)
class Bucket:
    """Energy in kWh; averages in the order of AVERAGED, None where no reading has the value."""

    starts: datetime
    ends: datetime
    kwh: float
    readings: int
    implausible: int
    averages: Sequence[float | None]


@dataclass(frozen=True)
class Series:
    """`watermark`: up to where roll-ups were right and were used; None: all comes from history."""

    watermark: datetime | None
    buckets: list[Bucket]


# `trusted`: the hours in which the roll-ups are right. A late reading also changes the increment of the next instant of
# a device that is not plain: up to the hour of that one nothing is trusted.
# A year by day is one scan of {kind}_hourly's key and one of {kind}_readings_history_covering for each span that is
# not trusted. The window stands in these as a value of its own, so that the planner prunes the days outside it.
_SERIES = """
with state as (select max(rolled_until) as watermark from rollup_state),
bucket as (
  select starts, ends from unnest(%(starts)s::timestamptz[], %(ends)s::timestamptz[]) as bucket (starts, ends)
),
whole as (
  select range_agg(tstzrange(first, last)) as during
  from bucket, state cross join lateral (
    select date_trunc('hour', starts + interval '1 hour' - interval '1 microsecond', 'UTC') as first,
           date_trunc('hour', least(ends, watermark), 'UTC') as last) as hours
  where watermark is not null and first < last
),
marked as (
  select range_agg(tstzrange(from_hour, greatest(to_hour, following.hour + interval '1 hour'))) as during
  from rollup_marks left join lateral (
    select date_trunc('hour', recorded_at, 'UTC') as hour from {history}
    where exists (select from devices where devices.kind = %(kind)s and devices.device_id = %(device)s and {not_plain})
      and {column} = %(device)s and recorded_at >= to_hour and recorded_at < %(end)s
    order by recorded_at limit 1) as following on true
  where rollup_marks.kind = %(kind)s and (device_ids is null or %(device)s = any(device_ids)) and from_hour < %(end)s
),
trusted as (select coalesce(whole.during - coalesce(marked.during, '{{}}'), '{{}}') as during from whole, marked),
part as (
  select width_bucket(recorded_at, %(starts)s::timestamptz[]) as place, kwh, 1 as readings,
         implausible::int as implausible, {from_reading}
  from (select unnest(tstzmultirange(tstzrange(%(start)s, %(end)s)) - during) as during from trusted) as span
  cross join lateral {increments} as increment
  union all
  select width_bucket(hour, %(starts)s::timestamptz[]), kwh, readings, implausible, {from_hour}
  from {hourly} cross join trusted
  where {column} = %(device)s and hour >= %(start)s and hour < %(end)s and hour <@ trusted.during
),
by_bucket as (
  select place, sum(kwh) as kwh, sum(readings)::int as readings, sum(implausible)::int as implausible,
         array[{averages}] as averages
  from part group by place
)
select case when not isempty(during) then watermark end, place, kwh, readings, implausible, averages
from trusted cross join state left join by_bucket on true
"""


def _statement(kind: Kind) -> str:
    averaged = AVERAGED[kind.name]
    columns = [column for column, _, _ in averaged]
    # The device stands for itself in every scan, and in the span its bounds.
    bounds = ["%(start)s", "lower(span.during)"], ["%(end)s", "upper(span.during)"]
    return _SERIES.format(
        history=kind.history,
        hourly=f"{kind.name}_hourly",
        column=kind.device_column,
        not_plain=NOT_PLAIN,
        increments=increments(kind, "%(device)s", *bounds, columns),
        from_reading=", ".join(f"{column}, ({column} is not null)::int as {column}_known" for column in columns),
        from_hour=", ".join(f"{total}, {number}" for _, total, number in averaged),
        averages=", ".join(f"sum({column}) / nullif(sum({column}_known), 0)" for column in columns),
    )


_STATEMENTS = {kind.name: _statement(kind) for kind in (METER, VEHICLE)}


def get_series(
    connection: psycopg.Connection, kind: Kind, device_id: str, edges: Sequence[datetime], *, heartbeat_seconds: int
) -> Series:
    """The device's buckets between the edges (ascending, at least two), those in which it was silent included.

    `heartbeat_seconds` is that of devices without one of their own.
    """
    values = {
        "kind": kind.name,
        "device": device_id,
        "starts": list(edges[:-1]),
        "ends": list(edges[1:]),
        "start": edges[0],
        "end": edges[-1],
        "heartbeat_seconds": heartbeat_seconds,
    }
    rows = connection.execute(_STATEMENTS[kind.name], values).fetchall()
    by_place = {place: row for _, place, *row in rows}
    silent = (0.0, 0, 0, [None] * len(AVERAGED[kind.name]))
    buckets = [Bucket(*span, *by_place.get(place, silent)) for place, span in enumerate(pairwise(edges), start=1)]
    return Series(rows[0][0], buckets)
