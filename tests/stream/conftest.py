from dataclasses import replace

import pytest

from models.stream.telemetry import TelemetryStream


@pytest.fixture
def stream(resources, broker):
    stream = TelemetryStream(replace(resources.settings, redis_timeout_seconds=0.5))
    yield stream
    stream.close()
    broker.flushall()
