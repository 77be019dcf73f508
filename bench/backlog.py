"""Puts a backlog straight into the stream: entries as the web appends them, with the fleet's minutes."""

import uuid
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import cache
from itertools import islice

import redis

from bench import fleet
from models.readings import Entry, MeterReading, VehicleReading, encode_entry, to_microseconds
from models.stream.keys import FIELD, stream_key

SHARDS = 2  # the engine's default
# Bytes in a pipeline to Redis.
PIPELINE_BYTES = 4 * 2**20

PairValues = tuple[tuple[str, float, float], tuple[str, float, float, float]]  # of a meter and of its vehicle


@dataclass(frozen=True)
class Minutes:
    """Entries of `size` readings, half of them vehicles'; each entry is the next block of the fleet's minutes.

    `pairs` must be a multiple of half the size. `names` returns the ids of a pair's meter and vehicle.
    """

    start: datetime
    size: int = 1_000
    pairs: int = fleet.PAIRS
    names: Callable[[int], tuple[str, str]] = lambda pair: (fleet.meter_id(pair), fleet.vehicle_id(pair))

    @property
    def blocks(self) -> int:
        return 2 * self.pairs // self.size

    def entry(self, n: int) -> bytes:
        minute, block = divmod(n, self.blocks)
        moment = self.start + timedelta(minutes=minute)
        at = to_microseconds(moment)
        values = self._block_values(block, moment.hour * fleet.SHIFTS // 24)
        meters = [MeterReading(name, at, ac, voltage) for (name, ac, voltage), _ in values]
        vehicles = [VehicleReading(name, at, dc, heat, soc) for _, (name, dc, heat, soc) in values]
        return encode_entry(Entry(meters, vehicles, uuid.uuid4().hex))

    @cache  # noqa: B019 - lives as long as the figure
    def _block_values(self, block: int, shift: int) -> list[PairValues]:
        half = self.size // 2
        return [self._pair(pair, shift) for pair in range(block * half, block * half + half)]

    def _pair(self, pair: int, shift: int) -> PairValues:
        meter, vehicle = self.names(pair)
        values = fleet.values_for(pair, shift)
        return (meter, values.ac, values.voltage), (vehicle, values.dc, values.temperature, values.soc)


def single_entries(count: int) -> Iterable[bytes]:
    """Entries of one reading each, of now; the devices take turns."""
    at = to_microseconds(datetime.now(UTC))
    shift_values = [fleet.values_for(pair, 0) for pair in range(fleet.PAIRS)]
    for n in range(count):
        pair, is_vehicle = divmod(n % fleet.DEVICES, 2)
        values = shift_values[pair]
        meters = [] if is_vehicle else [MeterReading(fleet.meter_id(pair), at + n, values.ac, values.voltage)]
        vehicles = [VehicleReading(fleet.vehicle_id(pair), at + n, values.dc, values.temperature, values.soc)]
        yield encode_entry(Entry(meters, vehicles if is_vehicle else [], uuid.uuid4().hex))


def put(client: redis.Redis, entries: Iterable[bytes], shards: int = 1) -> int:
    """Appends the entries to the shards in turn, without ringing; returns their number."""
    count, entries = 0, iter(entries)
    while first := next(entries, None):
        with client.pipeline(transaction=False) as pipeline:
            room = max(1, PIPELINE_BYTES // len(first))
            for entry in (first, *islice(entries, room - 1)):
                pipeline.xadd(stream_key(count % shards), {FIELD: entry})
                count += 1
            pipeline.execute()
    return count
