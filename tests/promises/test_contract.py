"""One contract, two decoders: what the fast decoder accepts, the schemas accept too, with the same values."""

import json
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from marshmallow import ValidationError

from models.readings import METER, VEHICLE
from webapp.http.fields import EARLIEST
from webapp.ingest.decoding import decode, load_row
from webapp.ingest.fast_decoding import Bounds, decode_fast

BOUNDS = Bounds(EARLIEST, datetime(2030, 1, 1, tzinfo=UTC))
LIMITS = {"bounds": BOUNDS, "max_readings": 10_000}

METER_ROW = {"meterId": "M1", "kwhConsumedAc": 1.5, "voltage": 230, "timestamp": "2026-02-10T10:30:00Z"}
VEHICLE_ROW = {
    "vehicleId": "V1",
    "kwhDeliveredDc": 1.2,
    "batteryTemp": -5.5,
    "soc": 50,
    "timestamp": "2026-02-10T11:30:00+01:00",
}

numbers = st.one_of(
    st.floats(allow_nan=True, allow_infinity=True),
    st.integers(-(10**25), 10**25),
    st.sampled_from([0, -0.0, 1_000_000, 1_000_000.1, 1000, 150, -60, 100, 100.0001, 1e-320]),
)
timestamps = st.one_of(
    st.datetimes(timezones=st.timezones() | st.none(), allow_imaginary=False).map(datetime.isoformat),
    st.sampled_from(
        [
            "2026-02-10T10:30:00.123456789Z",
            "2026-02-10T10:30:00+0100",
            "2026-02-10 10:30:00Z",
            "2026-02-10t10:30:00z",
            "20260210T103000Z",
            "2026-02-10",
            "2026-W07-2T10:30Z",
            "2026-02-10T24:00:00Z",
            "2026-02-10T10:30:60Z",
            "0001-01-01T00:00:00+14:00",
            "9999-12-31T23:59:59-14:00",
        ]
    ),
)
ids = st.one_of(st.text(max_size=66), st.from_regex(r"[A-Za-z0-9._:-]{1,64}\n?", fullmatch=True))
junk = st.one_of(st.none(), st.booleans(), st.text(max_size=5), st.lists(st.integers(), max_size=2), numbers)
readings = st.fixed_dictionaries(
    {},
    optional={
        "type": st.sampled_from(["meter", "VEHICLE", "Meter", "truck", ""]) | junk,
        "meterId": ids | junk,
        "vehicleId": ids | junk,
        "kwhConsumedAc": numbers | junk,
        "voltage": numbers | junk,
        "kwhDeliveredDc": numbers | junk,
        "batteryTemp": numbers | junk,
        "soc": numbers | junk,
        "timestamp": timestamps | junk,
        "firmware": junk,
    },
)
nearly_good = st.builds(
    lambda base, changes: {**base, **changes}, st.sampled_from([METER_ROW, VEHICLE_ROW]), readings
) | st.builds(
    lambda base, key, value: {**base, key: value},
    st.sampled_from([METER_ROW, VEHICLE_ROW]),
    st.sampled_from(sorted({*METER_ROW, *VEHICLE_ROW})),
    numbers | timestamps | ids | junk,
)


def load_or_none(row: bytes, kind):
    try:
        return load_row(row, kind, BOUNDS)
    except ValidationError:
        return None


@pytest.mark.slow
@settings(max_examples=1500)
@given(rows=st.lists(readings | nearly_good, min_size=1, max_size=3), kind=st.sampled_from([None, METER, VEHICLE]))
def test_both_decoders_accept_the_same_readings_with_the_same_values(rows, kind):
    body = json.dumps(rows).encode()
    fast = decode_fast(body, kind, False, BOUNDS, 10_000)
    thorough = [load_or_none(json.dumps(row).encode(), kind) for row in rows]
    if fast is not None:
        assert fast.meters == [found[1] for found in thorough if found and found[0] is METER]
        assert fast.vehicles == [found[1] for found in thorough if found and found[0] is VEHICLE]
        assert fast.accepted == len(rows)
    decoded = decode(body, kind=kind, ndjson=False, **LIMITS)
    assert decoded.accepted == sum(found is not None for found in thorough)
    assert decoded.accepted + decoded.rejected == len(rows)


@given(values=st.lists(st.floats(0, 1000), min_size=1, max_size=5))
def test_valid_readings_are_decoded_fast(values):
    rows = [{**METER_ROW, "voltage": value} for value in values]
    assert decode_fast(json.dumps(rows).encode(), METER, False, BOUNDS, 10_000) is not None


def one(reading: dict, kind=None):
    return decode(json.dumps(reading).encode(), kind=kind, ndjson=False, **LIMITS)


@pytest.mark.parametrize("number", ['"3.14"', "true", "null", "NaN", "Infinity", "-1", "1e400", "1" + "0" * 400, "[]"])
@pytest.mark.parametrize("field", ["kwhConsumedAc", "voltage"])
def test_a_number_is_a_finite_json_number_in_bounds(field, number):
    body = json.dumps({**METER_ROW, field: 7777.5}).replace("7777.5", number).encode()
    decoded = decode(body, kind=None, ndjson=False, **LIMITS)
    assert decoded.accepted == 0
    assert list(decoded.errors[0]["errors"]) == [field]


@pytest.mark.parametrize("number", ["100.1", "-1", "NaN", '"50"', "true"])
def test_a_state_of_charge_is_a_percentage(number):
    body = json.dumps({**VEHICLE_ROW, "soc": 7777.5}).replace("7777.5", number).encode()
    assert list(decode(body, kind=None, ndjson=False, **LIMITS).errors[0]["errors"]) == ["soc"]


def test_a_missing_state_of_charge_is_unknown_not_zero():
    without = {name: value for name, value in VEHICLE_ROW.items() if name != "soc"}
    assert one(without).vehicles[0][4] is None
    assert one({**VEHICLE_ROW, "soc": None}).vehicles[0][4] is None
    assert one({**VEHICLE_ROW, "soc": 0}).vehicles[0][4] == 0.0


@pytest.mark.parametrize("device", ["", "x" * 65, "a b", "a/b", "ä", "M1\n", "M1\x00", 7, None])
def test_a_device_id_is_short_and_plain(device):
    assert list(one({**METER_ROW, "meterId": device}).errors[0]["errors"]) == ["meterId"]


@pytest.mark.parametrize("device", ["x" * 64, "0b1c6f0e-7d3a-4a57-8f55-1f9f6d2f9f10", "a.b_c:d-e", "1"])
def test_uuids_and_short_names_are_device_ids(device):
    assert one({**METER_ROW, "meterId": device}).meters[0][0] == device


@pytest.mark.parametrize(
    "timestamp",
    ["2026-02-10T10:30:00", "yesterday", "", 1770719400, None, "1999-12-31T23:59:59Z", "2030-01-01T00:00:01Z"],
)
def test_a_timestamp_has_a_zone_and_lies_in_bounds(timestamp):
    assert list(one({**METER_ROW, "timestamp": timestamp}).errors[0]["errors"]) == ["timestamp"]


def test_a_timestamp_is_converted_to_utc():
    utc = one({**METER_ROW, "timestamp": "2026-02-10T10:30:00Z"}).meters[0][1]
    for same in ("2026-02-10T11:30:00+01:00", "2026-02-10T11:30:00+0100", "20260210T103000Z", "2026-02-10T10:30Z"):
        assert one({**METER_ROW, "timestamp": same}).meters[0][1] == utc


def test_the_clock_of_a_device_may_be_a_little_ahead():
    bounds = Bounds(EARLIEST, datetime(2026, 2, 10, 10, 40, tzinfo=UTC))
    body = json.dumps(METER_ROW).encode()
    assert decode(body, kind=None, ndjson=False, bounds=bounds, max_readings=1).accepted == 1
    behind = Bounds(EARLIEST, bounds.latest - timedelta(minutes=11))
    assert decode(body, kind=None, ndjson=False, bounds=behind, max_readings=1).rejected == 1


@pytest.mark.parametrize(
    ("reading", "kind"),
    [
        ({**METER_ROW, **VEHICLE_ROW}, None),
        ({"voltage": 1}, None),
        ({**METER_ROW, "type": "truck"}, None),
        ({**METER_ROW, "type": "vehicle"}, METER),
        ({**METER_ROW, "type": 5}, None),
    ],
)
def test_the_kind_must_be_unambiguous(reading, kind):
    assert list(one(reading, kind).errors[0]["errors"]) == ["type"]


def test_the_kind_comes_from_the_type_the_path_or_the_id():
    assert len(one({**METER_ROW, "type": "METER"}).meters) == 1
    assert len(one({**METER_ROW, **VEHICLE_ROW, "type": "Vehicle"}).vehicles) == 1
    assert len(one({**METER_ROW, **VEHICLE_ROW}, METER).meters) == 1
    assert len(one(VEHICLE_ROW).vehicles) == 1


def test_unknown_fields_are_ignored():
    assert one({**METER_ROW, "firmware": {"build": [1, 2]}, "soc": "wrong for a vehicle, no matter here"}).accepted == 1
