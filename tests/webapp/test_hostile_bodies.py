"""Bodies that are costly to read: they are counted before they are built, and take memory in proportion to it."""

import json
import tracemalloc
from contextlib import suppress
from datetime import UTC, datetime

import pytest

from tests.factories import meter
from webapp.http.bodies import Malformed
from webapp.http.fields import EARLIEST
from webapp.ingest import decoding
from webapp.ingest.decoding import DecoderBusy, decode
from webapp.ingest.fast_decoding import Bounds, TooManyReadings

SIZE = 2 * 1024 * 1024
MAX_READINGS = 1_000
GOOD = json.dumps(meter()).encode()


def read(body: bytes, ndjson: bool = False):
    bounds = Bounds(EARLIEST, datetime(2030, 1, 1, tzinfo=UTC))
    return decode(body, kind=None, ndjson=ndjson, bounds=bounds, max_readings=MAX_READINGS)


def array_of(unit: bytes) -> bytes:
    return b"[" + unit * (SIZE // len(unit)) + GOOD + b"]"


def row_of(unit: bytes) -> bytes:
    return b'[0,{"meterId":"M1","x":[' + unit * (SIZE // len(unit)) + b"0]}]"


MANY_KEYS = b"[0,{" + b"".join(b'"%d":0,' % number for number in range(SIZE // 10)) + b'"voltage":1}]'


@pytest.mark.parametrize(
    ("body", "ndjson"),
    [
        *((array_of(unit), False) for unit in (b"1,", b'{"":0},', b"{},", b'"aa",', b"[],", b"NaN,")),
        (b"1\n" * (SIZE // 2), True),
        (b"\n" * SIZE, True),
    ],
    ids=["numbers", "objects", "empty", "strings", "arrays", "nan", "lines", "blank lines"],
)
def test_too_many_rows_are_counted_before_they_are_built(body, ndjson):
    tracemalloc.start()
    try:
        with pytest.raises(TooManyReadings):
            read(body, ndjson)
        assert tracemalloc.get_traced_memory()[1] < 20 * SIZE
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize(
    "body",
    [row_of(b'{"":0},'), row_of(b"[],").replace(b'"x"', b'"voltage"'), MANY_KEYS],
    ids=["unknown field", "known field", "keys"],
)
def test_of_a_row_only_the_fields_of_a_reading_are_built(body):
    tracemalloc.start()
    try:
        with suppress(TooManyReadings):  # for a million values, not all of them in objects
            assert read(body).rejected == 2
        assert tracemalloc.get_traced_memory()[1] < 20 * SIZE
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize("body", [b"[" * SIZE, b'{"a":' * (SIZE // 5), b'[{"a":' + b"[" * SIZE], ids=["a", "o", "row"])
def test_deep_nesting_is_malformed(body):
    with pytest.raises(Malformed, match="nested too deeply"):
        read(body)


def test_good_rows_among_bad_ones_are_accepted_and_the_bad_ones_examined_up_to_a_bound():
    bad = [meter(f"M{number}", voltage=-1) for number in range(MAX_READINGS - 3)]
    unusual = meter("late", timestamp="20260210T103000+0000")
    decoded = read(json.dumps([meter("first"), unusual, *bad, meter("last")]).encode())
    assert [reading[0] for reading in decoded.meters] == ["first", "late", "last"]
    assert decoded.rejected == len(bad)
    assert decoded.unexamined == len(bad) - decoding.MAX_EXAMINED
    assert [error["index"] for error in decoded.errors] == list(range(2, 102))


def test_rows_that_are_not_examined_are_in_the_answer(client, drain_all):
    rows = [{}] * (decoding.MAX_EXAMINED + 7)
    refused = client.post("/v1/telemetry", json=rows)
    assert (refused.status_code, refused.json["rejected"], refused.json["unexamined"]) == (422, len(rows), 7)
    accepted = client.post("/v1/telemetry", json=[*rows, meter()])
    assert (accepted.status_code, accepted.json["accepted"], accepted.json["unexamined"]) == (202, 1, 7)
    assert "unexamined" not in client.post("/v1/telemetry", json=[{}, meter()]).json
    drain_all()


@pytest.mark.parametrize(
    ("row", "named"),
    [
        ('{"meterId": "M1", "kwhConsumedAc": NaN, "voltage": -Infinity}', {"kwhConsumedAc", "voltage", "timestamp"}),
        ('{"meterId": "\\ud83d", "kwhConsumedAc": 1, "voltage": 1}', {"meterId", "timestamp"}),
        ('{"meterId": ["M1"], "voltage": {"a": 1}}', {"meterId", "kwhConsumedAc", "voltage", "timestamp"}),
        ("null", {"_schema"}),
    ],
)
def test_what_json_does_not_have_refuses_its_row_alone(row, named):
    decoded = read(b"[" + GOOD + b"," + row.encode() + b"," + GOOD + b"]")
    assert (decoded.accepted, decoded.rejected) == (2, 1)
    assert set(decoded.errors[0]["errors"]) == named
    lines = read(GOOD + b"\r\n\r\n" + row.encode() + b"\r\n", ndjson=True)
    assert (lines.accepted, lines.errors[0]["errors"].keys()) == (1, named)


def test_one_body_at_a_time_is_decoded_row_by_row(client, monkeypatch):
    monkeypatch.setattr(decoding, "BUSY_SECONDS", 0.01)
    with decoding._row_by_row:
        assert read(GOOD).accepted == 1
        with pytest.raises(DecoderBusy):
            read(b"{}")
        busy = client.post("/v1/telemetry", json={})
        assert (busy.status_code, busy.headers["Retry-After"]) == (503, "5")
    assert client.post("/v1/telemetry", json={}).status_code == 422
