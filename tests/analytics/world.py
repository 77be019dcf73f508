"""A small fleet and events that change it, in the database and, beside it, in the oracle."""

from datetime import UTC, datetime, timedelta

from hypothesis import strategies as st

from models.devices.settings import set_device
from models.readings import KINDS, Entry, MeterReading, VehicleReading, encode_entry, to_microseconds
from models.storage.batch import Batch
from models.storage.stale_marks import mark_feed_stale
from models.storage.writer import store_batch
from models.stream.entry_ids import EntryId
from models.stream.telemetry import FIELD
from tests import tables
from tests.analytics.oracle import HOUR, Device, Fleet
from tests.rollups import HEARTBEAT, roll_up, start_watermark

# Midnight lies within, and with it the border of two partitions.
BASE = datetime.now(UTC).replace(hour=21, minute=0, second=0, microsecond=0) - timedelta(days=3)
MINUTES = 5 * 60
METERS, VEHICLES = ("M1", "M2"), ("V1", "V2", "V3")

minutes = st.integers(-90, MINUTES)
readings = st.tuples(
    st.sampled_from([*METERS, *VEHICLES]),
    minutes,
    st.sampled_from([0, 0.1, 0.5, 1, 2, 9, 9.5, 9.9, 10, 10.1, 12, 100, 99.9, 100.3, 90, 89.9]),
    st.sampled_from([20.0, 25.5, 31.0]),
    st.sampled_from([None, 0.0, 40.0, 80.5]),
)
spans = st.tuples(minutes, minutes).filter(lambda span: span[0] < span[1])
events = st.one_of(
    st.tuples(st.just("store"), st.lists(readings, min_size=1, max_size=12)),
    st.tuples(st.just("roll"), st.integers(0, MINUTES)),
    st.tuples(
        st.just("set"),
        st.sampled_from([*METERS, *VEHICLES]),
        st.sampled_from(["interval", "cumulative"]),
        st.sampled_from([None, 6, 30]),
        st.sampled_from([None, 900]),
    ),
    st.tuples(st.just("feed"), st.sampled_from(VEHICLES), st.sampled_from(METERS), spans, st.booleans()),
    st.tuples(st.just("part"), st.integers(0, 9)),
    st.tuples(st.just("shorten"), st.integers(0, 9), minutes),
)


# A start worth changing: a meter that is shared for hours, and readings of all devices, rolled up.
beginnings = st.tuples(
    st.lists(
        st.tuples(
            st.just("feed"),
            st.sampled_from(VEHICLES),
            st.just("M1"),
            st.tuples(st.integers(-90, 60), st.integers(61, MINUTES)),
            st.booleans(),
        ),
        min_size=2,
        max_size=3,
    ),
    st.lists(readings, min_size=10, max_size=20).map(lambda sent: [("store", sent)]),
    st.just([("roll", MINUTES)]),
).map(lambda parts: [event for part in parts for event in part])


def at(minute: int) -> datetime:
    return BASE + timedelta(minutes=minute)


class World:
    """The database, and the same fleet as the oracle has it (tests/analytics/oracle.py)."""

    def __init__(self, database):
        tables.empty(
            database,
            "meter_readings_history",
            "vehicle_readings_history",
            "meter_readings_live",
            "vehicle_readings_live",
            "devices",
            "vehicle_meter_mapping",
            "charging_sessions",
            "meter_hourly",
            "vehicle_hourly",
            "rollup_state",
            "rollup_marks",
        )
        start_watermark(database, BASE)
        self.sessions: list[tuple] = []  # feeds that were stored as sessions
        self.database, self.entries, self.more, self.rolled = database, 0, {}, 0
        self.fleet = Fleet({name: Device() for name in METERS}, {name: Device() for name in VEHICLES}, [])

    def apply(self, event: str, *details) -> None:
        getattr(self, event)(*details)

    def device(self, name: str) -> tuple[str, Device]:
        return ("meter", self.fleet.meters[name]) if name in METERS else ("vehicle", self.fleet.vehicles[name])

    def store(self, sent) -> None:
        """Stores one entry, as the drain does."""
        entry = Entry([], [])
        for number, (name, minute, value, other, soc) in enumerate(sent):
            kind, device = self.device(name)
            self.entries += 1
            device.readings.append((at(minute), datetime.fromtimestamp(self.entries, UTC), value))
            self.more[name, at(minute)] = (other, soc)
            recorded = to_microseconds(at(minute))
            if kind == "meter":
                entry.meters.append(MeterReading(name, recorded, value, other))
            else:
                entry.vehicles.append(VehicleReading(name, recorded, value, other, soc))
            assert number < 100
        with self.database.transaction():
            fields = {FIELD: encode_entry(entry)}
            store_batch(self.database, Batch(0, [(EntryId(1_800_000_000_000 + self.entries, 0), fields)]))

    def roll(self, minute: int) -> None:
        roll_up(self.database, at(minute))
        self.rolled = max(self.rolled, minute)

    def set(self, name: str, register: str, rated: float | None, heartbeat: int | None) -> None:
        kind, device = self.device(name)
        given = {"register": register, "rated_power_kw": rated, "heartbeat_seconds": heartbeat}
        set_device(self.database, KINDS[kind], name, given)
        device.register, device.rated_power_kw, device.heartbeat_seconds = register, rated, heartbeat or HEARTBEAT

    def feed(self, vehicle: str, meter: str, span, is_session: bool) -> None:
        feed = (vehicle, meter, at(span[0]), at(span[1]))
        if any(known[:3] == feed[:3] for known in self.fleet.feeds):
            return
        is_session &= not any(
            feed[0] == other[0] and feed[2] < other[3] and feed[3] > other[2] for other in self.sessions
        )
        self.sessions += [feed] if is_session else []
        table = "charging_sessions (vehicle_id, meter_id, started_at, ended_at)"
        self.change_feeds(
            f"insert into {table if is_session else 'vehicle_meter_mapping'} values (%s, %s, %s, %s)", feed, feed[2:]
        )
        self.fleet.feeds.append(feed)

    def part(self, place: int) -> None:
        if place < len(self.fleet.feeds):
            feed = self.fleet.feeds.pop(place)
            for table, start in (("vehicle_meter_mapping", "valid_from"), ("charging_sessions", "started_at")):
                query = f"delete from {table} where vehicle_id = %s and meter_id = %s and {start} = %s"
                self.change_feeds(query, feed[:3], feed[2:])

    def shorten(self, place: int, minute: int) -> None:
        if place < len(self.fleet.feeds) and self.fleet.feeds[place][2] < at(minute) < self.fleet.feeds[place][3]:
            *feed, end = self.fleet.feeds[place]
            self.fleet.feeds[place] = (*feed, at(minute))
            for table, start in (("vehicle_meter_mapping", "valid_from"), ("charging_sessions", "started_at")):
                ends = start.replace("from", "to").replace("started", "ended")
                query = f"update {table} set {ends} = %s where vehicle_id = %s and meter_id = %s and {start} = %s"
                self.change_feeds(query, [at(minute), *feed], (at(minute), end))

    def change_feeds(self, query: str, values, span) -> None:
        pair = [value for value in values if value in (*VEHICLES, *METERS)]
        with self.database.transaction():
            if self.database.execute(query, values).rowcount:
                mark_feed_stale(self.database, *pair, *span)

    def expected(self, kind: str) -> dict:
        hours = [BASE.replace(minute=0) + n * HOUR for n in range(-2, MINUTES // 60 + 1)]
        known = self.fleet.meters if kind == "meter" else self.fleet.vehicles
        row = self.expected_meter if kind == "meter" else self.expected_vehicle
        rows = {(name, hour): row(name, hour) for name in known for hour in hours}
        return {key: row for key, row in rows.items() if row}

    def instants(self, name: str, hour: datetime) -> list:
        return [found for found in self.device(name)[1].increments() if hour <= found[0] < hour + HOUR]

    def expected_meter(self, name: str, hour: datetime) -> tuple | None:
        found = self.instants(name, hour)
        volts = [self.more[name, moment][0] for moment, *_ in found]
        return found and (sum(f[1] for f in found), len(found), sum(f[2] for f in found), sum(volts))

    def expected_vehicle(self, name: str, hour: datetime) -> tuple | None:
        found = self.instants(name, hour)
        feeds = [feed for feed in self.fleet.feeds if feed[0] == name and feed[2] < hour + HOUR and feed[3] > hour]
        fed = {
            meter: [moment for moment, *_ in self.instants(meter, hour) if name in self.fleet.fed_at(meter, moment)]
            for meter in sorted({feed[1] for feed in feeds})
        }
        if not (found or any(fed.values())):
            return None
        drawn = self.fleet.drawn_by_meters(name, hour, hour + HOUR)
        is_whole = all(feed[2] <= hour and feed[3] >= hour + HOUR for feed in feeds)
        others = [self.more[name, moment] for moment, *_ in found]
        temperatures, socs = [t for t, _ in others], [s for _, s in others if s is not None]
        kwh = [self.fleet.attributed(name, meter, hour, hour + HOUR) for meter in fed]
        return (
            sum(f[1] for f in found),
            len(found),
            sum(f[2] for f in found),
            sum(temperatures),
            max(temperatures, default=None),
            sum(socs) if socs else None,
            len(socs),
            sum(kwh),
            sum(map(len, fed.values())),
            list(fed),
            kwh,
            None if is_whole else [",".join(meters) for meters in sorted(drawn)],
            None if is_whole else [drawn[meters] for meters in sorted(drawn)],
        )
