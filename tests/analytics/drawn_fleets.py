"""Fleets, feeds and windows that Hypothesis draws, and how they are stored."""

from datetime import UTC, datetime, timedelta

from hypothesis import strategies as st

from tests import tables
from tests.analytics.oracle import Device, Fleet

# Midnight lies within, and with it the border of two partitions.
BASE = datetime.now(UTC).replace(hour=22, minute=0, second=0, microsecond=0) - timedelta(days=3)
MINUTES = 5 * 60
METERS, VEHICLES = ("M1", "M2"), ("V1", "V2", "V3")
HEARTBEAT = 60

moments = st.integers(0, MINUTES).map(lambda minute: BASE + timedelta(minutes=minute))
# Few different values, so that dips, resets, repeats and increases are all frequent.
values = st.sampled_from([0, 0.1, 0.5, 1, 2, 9, 9.5, 9.9, 10, 10.1, 12, 100, 99.9, 100.3, 90, 89.9])
windows = st.tuples(moments, moments).filter(lambda pair: pair[0] < pair[1])


@st.composite
def devices(draw) -> Device:
    recorded = draw(st.lists(st.tuples(moments, values), max_size=25))
    return Device(
        register=draw(st.sampled_from(["interval", "cumulative"])),
        rated_power_kw=draw(st.sampled_from([None, None, 6, 30])),
        heartbeat_seconds=draw(st.sampled_from([HEARTBEAT, HEARTBEAT, 900])),
        # Received in the order in which they are drawn: some late, some twice for one instant.
        readings=[(at, BASE + timedelta(days=1, seconds=n), value) for n, (at, value) in enumerate(recorded)],
    )


feeds = st.lists(
    st.tuples(st.sampled_from(VEHICLES), st.sampled_from(METERS), windows).map(lambda f: (f[0], f[1], *f[2])),
    max_size=8,
    unique_by=lambda feed: feed[:3],
)
fleets = st.builds(
    Fleet,
    meters=st.fixed_dictionaries({name: devices() for name in METERS}),
    vehicles=st.fixed_dictionaries({name: devices() for name in VEHICLES}),
    feeds=feeds,
)


READ_BY_ANALYTICS = (
    "meter_readings_history",
    "vehicle_readings_history",
    "devices",
    "vehicle_meter_mapping",
    "charging_sessions",
)


def store_fleet(database, fleet: Fleet) -> None:
    tables.empty(
        database,
        "meter_readings_history",
        "vehicle_readings_history",
        "devices",
        "vehicle_meter_mapping",
        "charging_sessions",
    )
    with database.cursor() as cursor:
        for kind, known, values in (("meter", fleet.meters, "230"), ("vehicle", fleet.vehicles, "25, 50")):
            for name, device in known.items():
                cursor.execute(
                    """insert into devices (kind, device_id, register, rated_power_kw, heartbeat_seconds)
                       values (%s, %s, %s, %s, %s)""",
                    [kind, name, device.register, device.rated_power_kw, device.heartbeat_seconds],
                )
                if device.readings:
                    cursor.executemany(
                        f"insert into {kind}_readings_history values (%s, %s, %s, {values}, '{name}')", device.readings
                    )
        sessions: list[tuple] = []
        for number, feed in enumerate(fleet.feeds):
            # Every other feed is a charging session, which counts like a mapping, unless it would overlap another.
            is_session = number % 2 and not any(
                feed[0] == other[0] and feed[2] < other[3] and feed[3] > other[2] for other in sessions
            )
            sessions += [feed] if is_session else []
            table = (
                "charging_sessions (vehicle_id, meter_id, started_at, ended_at)"
                if is_session
                else ("vehicle_meter_mapping")
            )
            cursor.execute(f"insert into {table} values (%s, %s, %s, %s)", feed)
