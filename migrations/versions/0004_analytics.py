"""What is known of devices, charging sessions, hourly roll-ups, tariffs and alerts.

Revision ID: 0004
"""

from alembic import op

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None

_TABLES = (
    "alert_deliveries",
    "alerts",
    "tariffs",
    "rollup_marks",
    "rollup_state",
    "vehicle_hourly",
    "meter_hourly",
    "charging_sessions",
    "devices",
)


def upgrade() -> None:
    _devices()
    _feeds()
    _rollups()
    _tariffs()
    _alerts()


def downgrade() -> None:
    op.execute("drop function feeds_of")
    op.execute("drop view vehicle_feeds")
    op.execute("drop index vehicle_meter_mapping_meter")
    for table in _TABLES:
        op.execute(f"drop table {table}")


# ── Devices ──────────────────────────────────────────────────────────────────────────────────────────────────


def _devices() -> None:
    # By primary key: PUT and GET /v1/meters/{id} and /v1/vehicles/{id}, and every computation of energy.
    op.execute("""
        create table devices (
            kind text not null,
            device_id text collate "C" not null,
            register text not null default 'interval',
            heartbeat_seconds integer,
            name text,
            site text,
            rated_power_kw double precision,
            updated_at timestamptz not null default now(),
            primary key (kind, device_id),
            constraint devices_kind check (kind in ('meter', 'vehicle')),
            constraint devices_register check (register in ('interval', 'cumulative')),
            constraint devices_heartbeat check (heartbeat_seconds > 0),
            constraint devices_rated_power check (rated_power_kw > 0)
        )
    """)


# ── Who feeds whom ───────────────────────────────────────────────────────────────────────────────────────────


def _feeds() -> None:
    op.execute("""
        create table charging_sessions (
            id bigint generated always as identity primary key,
            vehicle_id text collate "C" not null,
            meter_id text collate "C" not null,
            started_at timestamptz not null,
            ended_at timestamptz not null default 'infinity',
            constraint charging_sessions_order check (started_at < ended_at)
        )
    """)
    # GET /v1/sessions?vehicleId=, the feeds of a vehicle; and a start posted twice is one session.
    op.execute("""
        create unique index charging_sessions_vehicle on charging_sessions (vehicle_id, started_at, meter_id)
    """)
    # GET /v1/sessions?meterId=, and who else is fed by a meter.
    op.execute("create index charging_sessions_meter on charging_sessions (meter_id, started_at)")
    # GET /v1/sessions.
    op.execute("create index charging_sessions_started on charging_sessions (started_at, id)")
    # A vehicle charges at one place at a time.
    op.execute("""
        create unique index charging_sessions_open on charging_sessions (vehicle_id) where ended_at = 'infinity'
    """)
    # Who else is fed by a meter.
    op.execute("create index vehicle_meter_mapping_meter on vehicle_meter_mapping (meter_id)")
    op.execute("""
        create view vehicle_feeds as
        select vehicle_id, meter_id, valid_from, valid_to from vehicle_meter_mapping
        union all
        select vehicle_id, meter_id, started_at, ended_at from charging_sessions
    """)
    # What performance has to know of a vehicle before it looks at history. A function, for its plans are kept: to plan
    # the same as part of that statement takes longer than all the rest.
    op.execute("""
        create function feeds_of(vehicle text, since timestamptz, before timestamptz,
          out meters text[], out starts timestamptz[], out ends timestamptz[],
          out shared boolean, out plain boolean, out heartbeat_seconds integer)
        language plpgsql stable as $$
        begin
          select array_agg(meter_id order by meter_id), array_agg(lower(during) order by meter_id),
                 array_agg(upper(during) order by meter_id)
          into meters, starts, ends
          from (select meter_id, unnest(range_agg(tstzrange(valid_from, valid_to))) as during
                from vehicle_feeds
                where vehicle_id = vehicle and valid_from < before and valid_to > since
                group by meter_id) as span;
          select exists (select from vehicle_feeds as other
                         where other.meter_id = any(meters) and other.vehicle_id <> vehicle
                           and other.valid_from < before and other.valid_to > since),
                 coalesce(bool_and(d.register = 'interval' and d.rated_power_kw is null), true),
                 max(d.heartbeat_seconds) filter (where d.kind = 'vehicle')
          into shared, plain, heartbeat_seconds
          from devices as d
          where (d.kind = 'vehicle' and d.device_id = vehicle) or (d.kind = 'meter' and d.device_id = any(meters));
        end $$
    """)


# ── Roll-ups by hour ─────────────────────────────────────────────────────────────────────────────────────────


def _rollups() -> None:
    op.execute("""
        create table meter_hourly (
            hour timestamptz not null,
            kwh double precision not null,
            voltage_sum double precision not null,
            readings integer not null,
            implausible integer not null default 0,
            meter_id text collate "C" not null,
            primary key (meter_id, hour)
        ) with (fillfactor = 70)
    """)
    # GET /v1/analytics/fleet, …/trend, …/vehicles: everything of some hours; and the rules of alerts.
    op.execute("create index meter_hourly_hour on meter_hourly (hour)")
    op.execute("""
        create table vehicle_hourly (
            hour timestamptz not null,
            kwh double precision not null,
            ac_kwh double precision not null default 0,
            battery_temp_sum double precision not null,
            battery_temp_max double precision,
            soc_sum double precision,
            readings integer not null,
            soc_readings integer not null default 0,
            implausible integer not null default 0,
            fed_readings integer not null default 0,
            shared boolean not null default false,
            vehicle_id text collate "C" not null,
            fed_by text[] not null default '{}',
            fed_kwh double precision[] not null default '{}',
            primary key (vehicle_id, hour)
        ) with (fillfactor = 70)
    """)
    # GET /v1/analytics/fleet, …/trend, …/vehicles: everything of some hours; and the rules of alerts.
    op.execute("create index vehicle_hourly_hour on vehicle_hourly (hour)")
    op.execute("""
        create table rollup_state (
            only_row boolean primary key default true,
            marked_until timestamptz not null,
            rolled_until timestamptz,
            moved_at timestamptz,
            constraint rollup_state_one_row check (only_row)
        )
    """)
    op.execute("""
        create table rollup_marks (
            id bigint generated always as identity primary key,
            kind text not null,
            device_ids text[],
            from_hour timestamptz not null,
            to_hour timestamptz not null,
            marked_at timestamptz not null default now(),
            constraint rollup_marks_kind check (kind in ('meter', 'vehicle')),
            constraint rollup_marks_order check (from_hour < to_hour)
        )
    """)


# ── Tariffs ──────────────────────────────────────────────────────────────────────────────────────────────────


def _tariffs() -> None:
    # By primary key: PUT and GET /v1/tariffs/{site}, and the cost of what a site's meters counted.
    op.execute("""
        create table tariffs (
            site text primary key,
            currency text not null,
            timezone text not null,
            price_per_kwh numeric not null,
            periods jsonb not null default '[]',
            updated_at timestamptz not null default now()
        )
    """)


# ── Alerts ───────────────────────────────────────────────────────────────────────────────────────────────────


def _alerts() -> None:
    op.execute("""
        create table alerts (
            id bigint generated always as identity primary key,
            device_kind text not null,
            device_id text collate "C" not null,
            kind text not null,
            state text not null default 'open',
            value double precision,
            bound double precision,
            detail jsonb not null default '{}',
            opened_at timestamptz not null default now(),
            last_seen_at timestamptz not null default now(),
            acknowledged_at timestamptz,
            resolved_at timestamptz,
            note text,
            constraint alerts_device_kind check (device_kind in ('meter', 'vehicle')),
            constraint alerts_state check (state in ('open', 'acknowledged', 'resolved'))
        )
    """)
    # One alert that is not over per device and kind.
    op.execute("""
        create unique index alerts_unresolved on alerts (device_kind, device_id, kind) where state <> 'resolved'
    """)
    # GET /v1/alerts?deviceId=, newest first.
    op.execute("create index alerts_device on alerts (device_id, id)")
    # GET /v1/alerts?state=, newest first, without a walk through all that is over.
    op.execute("create index alerts_unresolved_by_age on alerts (id) where state <> 'resolved'")
    # What the webhook has yet to be told: written with the alert, sent afterwards.
    op.execute("""
        create table alert_deliveries (
            event_id uuid primary key,
            alert_id bigint not null references alerts (id) on delete cascade,
            event text not null,
            payload jsonb not null,
            attempts integer not null default 0,
            last_error text,
            created_at timestamptz not null default now(),
            next_attempt_at timestamptz not null default now(),
            delivered_at timestamptz,
            gave_up_at timestamptz,
            constraint alert_deliveries_event check (event in ('opened', 'resolved'))
        )
    """)
    # Each alert opens once and is resolved once; and one is told before the other.
    op.execute("create unique index alert_deliveries_alert on alert_deliveries (alert_id, event)")
    # Which to try next.
    op.execute("""
        create index alert_deliveries_waiting on alert_deliveries (next_attempt_at)
        where delivered_at is null and gave_up_at is null
    """)
