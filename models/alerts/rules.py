"""When an alert opens and when it is over: one query a kind, over all devices at once.

Each answers with rows of device_kind, device_id, verdict, value, bound and detail. The verdict is `bad` (opens an
alert, or keeps it), `near` (keeps one that is there, opens none) or `good` (resolves it). A device without a row is
one of which nothing can be said: what is there stays. docs/alerts.md tells the rules to a reader.
"""

from models.analytics.energy.efficiency import COMPLETENESS, EFFICIENCY_PERCENT

EFFICIENCY, BATTERY_TEMPERATURE, SILENT, IMPLAUSIBLE = "efficiency", "battery_temperature", "silent", "implausible"

# A fleet of so few devices may well be silent as a whole: each is alerted for itself.
FEW_DEVICES = 10
# Part of ALERT_SILENT_SECONDS for which nothing comes in, of any device, before that is a standstill of ours.
STANDSTILL_SHARE = 0.1
# A device that reports less often than ALERT_SILENT_SECONDS is silent after so many of its heartbeats.
SILENT_HEARTBEATS = 2

_UTC = """to_char({}, 'YYYY-MM-DD"T"HH24:MI:SS.US"Z"')"""

# The last day, as the fleet's summary has it: from the full hour 24 h before the watermark's hour to the watermark.
# Index: {kind}_hourly by hour.
_DAY = """
day as (
  select date_trunc('hour', rolled_until, 'UTC') - interval '24 hours' as starts, rolled_until as ends from rollup_state
)"""
_DAY_DETAIL = f"'from', {_UTC.format('starts')}, 'to', {_UTC.format('ends')}"

_COMPLETENESS = COMPLETENESS.format(
    instants="readings",
    heartbeat_seconds="coalesce(d.heartbeat_seconds, %(heartbeat)s)",
    seconds="extract(epoch from ends - starts)",
)
# Nothing is said of a day with little energy or many readings missing: where the vehicle was not heard, energy that
# the meter counted looks lost.
_EFFICIENCY = f"""
with {_DAY},
vehicle as (
  select vehicle_id, sum(kwh) as dc, sum((select sum(part) from unnest(fed_kwh) as part)) as ac,
         sum(readings) as readings, min(starts) as starts, min(ends) as ends
  from day cross join lateral (
    select vehicle_id, kwh, fed_kwh, readings from vehicle_hourly where hour >= starts and hour < ends) as hours
  group by vehicle_id
),
measured as (
  select v.*, {EFFICIENCY_PERCENT.format(dc="dc", ac="ac")} as percent,
         {_COMPLETENESS} as completeness
  from vehicle as v left join devices as d on d.kind = 'vehicle' and d.device_id = v.vehicle_id
)
select 'vehicle' as device_kind, vehicle_id as device_id,
       case when percent < %(threshold)s then 'bad'
            when percent >= least(%(threshold)s + %(hysteresis)s, 100) then 'good'
            else 'near' end as verdict,
       percent::float8 as value, %(threshold)s::float8 as bound,
       jsonb_build_object({_DAY_DETAIL}, 'acConsumption', round(ac::numeric, 6), 'dcDelivery', round(dc::numeric, 6),
                          'completeness', round(completeness::numeric, 4)) as detail
from measured where percent is not null and ac >= %(min_kwh)s and completeness >= %(min_completeness)s
"""

# Hot is what the newest reading says, however old it is: one that fell silent while hot has not cooled down. And what
# the hour of the watermark or the one before says: a peak between two looks is not missed, and one alert has several.
_BATTERY_TEMPERATURE = f"""
with recent as (
  select vehicle_id, max(battery_temp_max) as hottest
  from rollup_state cross join lateral (
    select vehicle_id, battery_temp_max from vehicle_hourly
    where hour >= date_trunc('hour', rolled_until, 'UTC') - interval '1 hour') as hours
  group by vehicle_id
)
select 'vehicle' as device_kind, vehicle_id as device_id,
       case when greatest(battery_temp, hottest) > %(battery_temp)s then 'bad' else 'good' end as verdict,
       greatest(battery_temp, hottest) as value, %(battery_temp)s::float8 as bound,
       jsonb_build_object('newest', battery_temp, 'timestamp', {_UTC.format("recorded_at")}) as detail
from vehicle_readings_live left join recent using (vehicle_id)
"""

# Heard by the timestamp of the newest reading, as `online` is. During and after a standstill of ours no device is
# found silent until it had ALERT_SILENT_SECONDS to be heard again.
_SILENT = f"""
with heard as (
  select 'meter' as device_kind, meter_id as device_id, recorded_at from meter_readings_live
  union all
  select 'vehicle', vehicle_id, recorded_at from vehicle_readings_live
),
judged as (
  select heard.*, extract(epoch from %(now)s - recorded_at)::float8 as silent_seconds,
         greatest(%(silent_seconds)s, {SILENT_HEARTBEATS} * d.heartbeat_seconds)::float8 as bound
  from heard left join devices as d on (d.kind, d.device_id) = (heard.device_kind, heard.device_id)
)
select device_kind, device_id,
       case when silent_seconds <= bound then 'good' when %(can_tell_silence)s then 'bad' else 'near' end as verdict,
       silent_seconds as value, bound, jsonb_build_object('lastSeen', {_UTC.format("recorded_at")}) as detail
from judged
"""

# What is over is told too: a device with an alert and without an implausible reading in the day.
_IMPLAUSIBLE = f"""
with {_DAY},
counted as (
  select device_kind, device_id, sum(implausible)::float8 as readings, min(starts) as starts, min(ends) as ends
  from day cross join lateral (
    select 'meter' as device_kind, meter_id as device_id, implausible from meter_hourly
    where hour >= starts and hour < ends and implausible > 0
    union all
    select 'vehicle', vehicle_id, implausible from vehicle_hourly
    where hour >= starts and hour < ends and implausible > 0) as hours
  group by device_kind, device_id
)
select device_kind, device_id, 'bad' as verdict, readings as value, 0::float8 as bound,
       jsonb_build_object({_DAY_DETAIL}) as detail
from counted
union all
select device_kind, device_id, 'good', 0, 0, jsonb_build_object({_DAY_DETAIL})
from day cross join alerts
where kind = '{IMPLAUSIBLE}' and state <> 'resolved' and starts is not null
  and (device_kind, device_id) not in (select device_kind, device_id from counted)
"""

RULES = {
    EFFICIENCY: _EFFICIENCY,
    BATTERY_TEMPERATURE: _BATTERY_TEMPERATURE,
    SILENT: _SILENT,
    IMPLAUSIBLE: _IMPLAUSIBLE,
}

# The longest time for which nothing was taken in, since ALERT_SILENT_SECONDS ago; and the devices ever heard, as far
# as they matter. A batch's number holds the time of its last entry (models/stream/entry_ids.py). By primary key.
STANDSTILL = f"""
with taken as (
  select last_entry >> 20 as ms from generate_series(0, %(last_shard)s) as s (shard)
  cross join lateral (select last_entry from ingest_batches b
                      where b.shard = s.shard and last_entry >= %(since_ms)s::int8 << 20) as batch
  union all values (%(since_ms)s::int8), (%(until_ms)s::int8)
),
gap as (select ms - lag(ms) over (order by ms) as ms from taken)
select (select max(ms) / 1000.0 from gap)::float8,
       (select count(*) from (select from meter_readings_live limit {FEW_DEVICES + 1}) as m)
       + (select count(*) from (select from vehicle_readings_live limit {FEW_DEVICES + 1}) as v)
"""
