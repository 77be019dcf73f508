-- The role of Grafana's fleet dashboard: it reads devices, energy and alerts, and neither keys nor raw readings.
-- Run it as the superuser, after the migrations, also when an upgrade adds a table here:
--   docker compose exec -T postgres psql --username=postgres --dbname=energy <deploy/postgres/dashboards.sql
\set ON_ERROR_STOP on
\set password `cat /run/secrets/dashboards_password`
select 'create role energy_dashboards' where not exists (select from pg_roles where rolname = 'energy_dashboards') \gexec
alter role energy_dashboards login password :'password' connection limit 10;
alter role energy_dashboards set default_transaction_read_only = on;
alter role energy_dashboards set statement_timeout = '10s';
alter role energy_dashboards set timezone = 'UTC';
grant select on
    meter_readings_live, vehicle_readings_live, devices, meter_hourly, vehicle_hourly, rollup_state,
    charging_sessions, vehicle_meter_mapping, alerts
  to energy_dashboards;
