"""Who draws from which meter, and how a meter's energy is divided where several do.

The feeds of a vehicle are its mappings and its charging sessions (the view vehicle_feeds); those on one meter are
merged, so that nothing counts twice. A meter is shared at a moment when it feeds more than one vehicle then. There
time is cut into segments: the UTC hours, and further where a vehicle joins or leaves. What the meter counted in a
segment is divided in proportion to the DC energy that each of its vehicles took in it; in equal parts where none
took any. The proportion is that of the whole segment, also where a window cuts it: so adjoining windows add up, and
the parts of all vehicles add up to what the meter counted.

ATTRIBUTED is a WITH clause, to be continued; `asked_values` makes its parameters. It holds

    span        (number, vehicle_id, meter_id, starts, ends, shared): when the meter fed the vehicle of the question
                `number`, within the window of the query; shared: at some moment of it
    attributed  (number, meter_id, recorded_at, kwh, implausible): each reading of a meter in a span, and how much
                of its energy is the vehicle's
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from models.analytics.energy.registers import increments
from models.readings import METER, VEHICLE


@dataclass(frozen=True)
class EnergyQuery:
    """What fed the vehicle in [start, end)? By all of its meters, or by one."""

    vehicle_id: str
    start: datetime
    end: datetime
    meter_id: str | None = None


def query_values(queries: Sequence[EnergyQuery], heartbeat_seconds: int) -> dict:
    """The parameters of ATTRIBUTED. The numbers of the questions are their places, from 0."""
    start, end = min(a.start for a in queries), max(a.end for a in queries)
    return {
        "vehicle_ids": [a.vehicle_id for a in queries],
        "meter_ids": [a.meter_id for a in queries],
        "starts": [a.start for a in queries],
        "ends": [a.end for a in queries],
        "start": start,
        "end": end,
        "first_hour": _hour(start),
        "last_hour": _hour(end + timedelta(hours=1)),
        "heartbeat_seconds": heartbeat_seconds,
    }


def _hour(at: datetime) -> datetime:
    return at.astimezone(UTC).replace(minute=0, second=0, microsecond=0)


# Feeds are found by vehicle_meter_mapping's key and charging_sessions_vehicle; those of others on the same meter by
# vehicle_meter_mapping_meter and charging_sessions_meter. They are looked for in whole hours, as segments are.
# A meter that feeds nobody else has no division: all it counted is the vehicle's.
_HOURS = """feed.valid_from < date_trunc('hour', {0}.ends, 'UTC') + interval '1 hour'
      and feed.valid_to > date_trunc('hour', {0}.starts, 'UTC')"""
ATTRIBUTED = f"""
with query as (
  select place - 1 as number, query.vehicle_id, query.meter_id, query.starts, query.ends
  from unnest(%(vehicle_ids)s::text[], %(meter_ids)s::text[], %(starts)s::timestamptz[], %(ends)s::timestamptz[])
    with ordinality as query (vehicle_id, meter_id, starts, ends, place)
),
own as (
  select row_number() over () as id, number, vehicle_id, meter_id, lower(during) as fed_from, upper(during) as fed_to,
         greatest(starts, lower(during)) as starts, least(ends, upper(during)) as ends
  from (
    select query.number, query.vehicle_id, feed.meter_id, query.starts, query.ends,
           unnest(range_agg(tstzrange(feed.valid_from, feed.valid_to))) as during
    from query join vehicle_feeds as feed on feed.vehicle_id = query.vehicle_id
      and (query.meter_id is null or feed.meter_id = query.meter_id)
      and {_HOURS.format("query")}
    group by 1, 2, 3, 4, 5
  ) as merged
  where lower(during) < ends and upper(during) > starts
),
co_feeds as (
  select own.id, feed.vehicle_id, unnest(range_agg(tstzrange(feed.valid_from, feed.valid_to))) as during
  from own join vehicle_feeds as feed on feed.meter_id = own.meter_id and feed.vehicle_id <> own.vehicle_id
      and {_HOURS.format("own")}
  group by 1, 2
),
cut as (
  select own.id, hour as at
  from own cross join lateral generate_series(date_trunc('hour', own.starts, 'UTC'),
    date_trunc('hour', own.ends, 'UTC') + interval '1 hour', '1 hour') as hour
  where own.id in (select id from co_feeds)
  union select id, unnest(array[fed_from, fed_to]) from own
  union select id, unnest(array[lower(during), upper(during)]) from co_feeds
),
segment as (
  select between.id, between.starts, between.ends
  from (select id, at as starts, lead(at) over (partition by id order by at) as ends from cut) as between
  join own on own.id = between.id
    and between.starts >= greatest(own.fed_from, date_trunc('hour', own.starts, 'UTC'))
    and between.ends <= least(own.fed_to, date_trunc('hour', own.ends, 'UTC') + interval '1 hour')
),
other as (
  select segment.id, segment.starts, segment.ends, co_feeds.vehicle_id
  from segment join co_feeds on co_feeds.id = segment.id and co_feeds.during @> tstzrange(segment.starts, segment.ends)
),
co_fed as (
  select id, vehicle_id, array_agg(starts order by starts) as starts, array_agg(ends order by starts) as ends
  from (select id, vehicle_id, starts, ends from other
        union select id, own.vehicle_id, other.starts, other.ends from other join own using (id)) as member
  group by id, vehicle_id
),
drawn as (
  select co_fed.id, co_fed.vehicle_id, place, greatest(sum(increment.kwh), 0) as kwh
  from co_fed
  cross join lateral {
    increments(
        VEHICLE,
        "co_fed.vehicle_id",
        ["%(first_hour)s", "co_fed.starts[1]"],
        ["%(last_hour)s", "co_fed.ends[cardinality(co_fed.ends)]"],
    )
} as increment
  cross join lateral width_bucket(increment.recorded_at, co_fed.starts) as place
  where increment.recorded_at < co_fed.ends[place]
  group by 1, 2, 3
),
weight as (
  select co_fed.id, moment.starts, count(*) as vehicles, sum(coalesce(drawn.kwh, 0)) as total,
         sum(coalesce(drawn.kwh, 0)) filter (where co_fed.vehicle_id = own.vehicle_id) as ours
  from co_fed join own using (id)
  cross join lateral unnest(co_fed.starts) with ordinality as moment (starts, place)
  left join drawn on drawn.id = co_fed.id and drawn.vehicle_id = co_fed.vehicle_id and drawn.place = moment.place
  group by 1, 2
),
division as (
  select segment.id, array_agg(segment.starts order by segment.starts) as edges,
         array_agg(case when vehicles is null then 1 when total > 0 then ours / total else 1::float8 / vehicles end
                   order by segment.starts) as shares,
         bool_or(vehicles > 1 and segment.starts < own.ends and segment.ends > own.starts) as shared
  from segment join own using (id) left join weight on weight.id = segment.id and weight.starts = segment.starts
  group by 1
),
span as (
  select number, vehicle_id, meter_id, starts, ends, coalesce(shared, false) as shared, edges, shares
  from own left join division using (id)
),
attributed as (
  select span.number, span.meter_id, increment.recorded_at, increment.implausible,
         increment.kwh * coalesce(span.shares[width_bucket(increment.recorded_at, span.edges)], 1) as kwh
  from span
  cross join lateral {increments(METER, "span.meter_id", ["%(start)s", "span.starts"], ["%(end)s", "span.ends"])}
    as increment
)
"""
