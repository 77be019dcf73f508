"""The audit's queries, on temporary tables: `ledger`, `expected`, `stored`, `receipts`, `batch_entries`."""

from tests.chaos.readings import DEVICES, LATE_SECONDS

# The readings that must be stored: a row for each number in `ledger`, with how often it may exist.
EXPECTED = f"""
create temp table expected on commit drop as
select n, at_least, at_most, is_meter,
       case when is_meter then 'M-' else 'V-' end || n / 2 % {DEVICES} as device,
       at - case when n % 10 < 7 then 0 else n * 48271 % {LATE_SECONDS} end * interval '1 s' as recorded_at,
       (case when is_meter then 200 + n % 50 else n % 40 end)::float8 as measured,
       (case when is_meter or n % 3 = 0 then null else n % 101 end)::float8 as soc
from (select n, at, at_least, at_most, kind = 'meter' or (kind = 'mixed' and n % 2 = 0) as is_meter
      from ledger cross join lateral generate_series(first, last) as n) as submitted
"""

# The readings that are stored: history, and the dead letters that were not replayed.
STORED = """
create temp table stored on commit drop as
select round(kwh_consumed_ac * 1000)::int8 as n, true as is_meter, meter_id as device, recorded_at,
       voltage as measured, null::float8 as soc
from meter_readings_history
union all
select round(kwh_delivered_dc * 1000)::int8, false, vehicle_id, recorded_at, battery_temp, soc
from vehicle_readings_history
union all
select round(coalesce(reading ->> 'kwhConsumedAc', reading ->> 'kwhDeliveredDc')::float8 * 1000)::int8,
       kind = 'meter', coalesce(reading ->> 'meterId', reading ->> 'vehicleId'), (reading ->> 'timestamp')::timestamptz,
       coalesce(reading ->> 'voltage', reading ->> 'batteryTemp')::float8, (reading ->> 'soc')::float8
from dead_letters where replayed_at is null
"""

COUNTED = """
select coalesce(sum(greatest(times - at_most, 0)), 0)::int8, coalesce(sum(greatest(at_least - times, 0)), 0)::int8
from (select at_least, at_most, coalesce(times, 0) as times
      from expected left join (select n, count(*) as times from stored group by n) as counted using (n)) as compared
"""
MISCOUNTED = """
select n, at_least, at_most, coalesce(times, 0)
from expected left join (select n, count(*) as times from stored group by n) as counted using (n)
where coalesce(times, 0) not between at_least and at_most order by n limit 10
"""
ROWS_WRONG = """
select to_jsonb(stored), to_jsonb(expected) from stored left join expected using (n)
where expected.n is null
   or (stored.is_meter, stored.device, stored.recorded_at, stored.measured)
      is distinct from (expected.is_meter, expected.device, expected.recorded_at, expected.measured)
   or stored.soc is distinct from expected.soc
"""

# The newest by (recorded_at, received_at). An entry of the stream and one that was stored directly may
# share both: then either is the newest.
_LIVE = """
with newest as (select distinct on ({device}) {device}, recorded_at, received_at from {kind}_readings_history
                order by {device}, recorded_at desc, received_at desc)
select coalesce(newest.{device}, live.{device}), to_jsonb(live), to_jsonb(newest)
from newest full join {kind}_readings_live as live using ({device})
where (live.recorded_at, live.received_at) is distinct from (newest.recorded_at, newest.received_at)
   or not exists (
     select from {kind}_readings_history as history
     where (history.{device}, history.recorded_at, history.received_at, history.{energy}, history.{other})
           = (live.{device}, live.recorded_at, live.received_at, live.{energy}, live.{other}))
"""
_SOC = """
with newest as (select distinct on (vehicle_id) vehicle_id, recorded_at, received_at from vehicle_readings_history
                where soc is not null order by vehicle_id, recorded_at desc, received_at desc)
select live.vehicle_id, to_jsonb(live), to_jsonb(newest)
from vehicle_readings_live as live left join newest using (vehicle_id)
where (live.soc_recorded_at, live.soc_received_at) is distinct from (newest.recorded_at, newest.received_at)
   or (live.soc is null) <> (newest.vehicle_id is null)
   or (live.soc is not null and not exists (
     select from vehicle_readings_history as history
     where (history.vehicle_id, history.recorded_at, history.received_at, history.soc)
           = (live.vehicle_id, live.soc_recorded_at, live.soc_received_at, live.soc)))
"""
LIVE_WRONG = (
    _LIVE.format(kind="meter", device="meter_id", energy="kwh_consumed_ac", other="voltage"),
    _LIVE.format(kind="vehicle", device="vehicle_id", energy="kwh_delivered_dc", other="battery_temp"),
    _SOC,
)

BATCH_ENTRIES = (
    "create temp table batch_entries on commit drop as select shard, unnest(entries) as number from ingest_batches"
)
RECEIPTS_MISSING = """
select shard, number >> 20, number & 1048575 from receipts left join batch_entries using (shard, number)
where batch_entries.shard is null
"""
ENTRIES_STORED_TWICE = (
    "select shard, number >> 20, number & 1048575 from batch_entries group by shard, number having count(*) > 1"
)
BATCH_COUNTS = """
select (select coalesce(sum(readings + dead_letters), 0) from ingest_batches), (select count(*) from stored)
"""
