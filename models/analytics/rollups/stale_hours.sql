-- Temporary tables of one step: the device-hours whose roll-up rows must be recomputed.
create temporary table stale_meter_hours (
  device_id text collate "C", hour timestamptz, primary key (device_id, hour)
) on commit drop;
create temporary table stale_vehicle_hours (like stale_meter_hours including all) on commit drop;
-- What a meter gave a vehicle in an hour: filled while the vehicles are recomputed.
create temporary table vehicle_shares (
  device_id text collate "C", hour timestamptz, meter_id text collate "C", kwh float8, readings bigint
) on commit drop;
