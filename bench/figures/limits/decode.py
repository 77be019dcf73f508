"""Raw limit, decoding: msgspec decodes a body of 1,000 readings into objects, in one process, without validation."""

import time
from datetime import datetime

import msgspec

from bench import fleet
from bench.bench import Bench
from bench.measured import Value

READINGS = 1_000


class Reading(msgspec.Struct, gc=False):
    timestamp: datetime
    meterId: str | None = None
    vehicleId: str | None = None
    kwhConsumedAc: float | None = None
    kwhDeliveredDc: float | None = None
    voltage: float | None = None
    batteryTemp: float | None = None
    soc: float | None = None


def measure(bench: Bench) -> list[Value]:
    bench.stack.stop()
    body = fleet.Minutes(fleet.day_start(), READINGS).body(0)
    decode = msgspec.json.Decoder(list[Reading]).decode
    seconds = bench.seconds(3, 1)
    count, started = 0, time.perf_counter()
    while (elapsed := time.perf_counter() - started) < seconds:
        count += len(decode(body))
        bench.show(elapsed / seconds, "")
    return [Value("msgspec.decoded", "raw: msgspec decoding, one process", count / elapsed, "/s")]
