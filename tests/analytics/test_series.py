"""Series over HTTP: buckets, their numbers, and the roll-ups behind them. Numbers are worked out by hand."""

from datetime import UTC, datetime, timedelta

import pytest

from models.devices.settings import set_device
from models.readings import METER
from tests.factories import ago, meter, stamp, vehicle
from tests.rollups import roll_up, start_watermark


def at(text: str) -> datetime:
    return datetime.fromisoformat(text).astimezone(UTC)


def series(client, path="meters/M001", **query) -> dict:
    answer = client.get(f"/v1/{path}/series", query_string=query)
    assert answer.status_code == 200, answer.json
    return answer.json


def energies(answer: dict) -> list[float]:
    return [bucket["energy"] for bucket in answer["buckets"]]


def test_the_last_24_hours_by_the_hour(client, send):
    send(meter(at=ago(minutes=5)), meter(at=ago(hours=30)))
    answer = series(client)
    assert (answer["meterId"], answer["bucket"], answer["tz"], answer["watermark"]) == ("M001", "1h", "UTC", None)
    assert len(answer["buckets"]) in (24, 25)  # 24 where now is a whole hour
    assert answer["buckets"][0]["from"] == answer["window"]["from"]
    assert answer["buckets"][-1]["to"] == answer["window"]["to"]
    assert sum(energies(answer)) == 1.5


def test_a_bucket_of_a_meter_and_one_in_which_it_was_silent(client, send):
    # Expected: 60 readings an hour, one a minute. There are 3: 3/60 = 0.05; mean of 230, 231 and 233 V is 231.33.
    send(
        meter(at=at("2026-02-10T10:00:00Z"), kwhConsumedAc=0.1, voltage=230),
        meter(at=at("2026-02-10T10:20:00Z"), kwhConsumedAc=0.2, voltage=231),
        meter(at=at("2026-02-10T10:59:59Z"), kwhConsumedAc=0.4, voltage=233),
        meter(at=at("2026-02-10T12:00:00Z"), kwhConsumedAc=100),  # the window ends before it
    )
    answer = series(client, **{"from": "2026-02-10T10:00:00Z", "to": "2026-02-10T12:00:00Z"})
    assert answer["buckets"] == [
        {
            "from": "2026-02-10T10:00:00Z", "to": "2026-02-10T11:00:00Z", "energy": 0.7, "readings": 3,
            "completeness": 0.05, "implausible": 0, "avgVoltage": 231.33,
        },
        {
            "from": "2026-02-10T11:00:00Z", "to": "2026-02-10T12:00:00Z", "energy": 0, "readings": 0,
            "completeness": 0, "implausible": 0, "avgVoltage": None,
        },
    ]  # fmt: skip


def test_a_bucket_of_a_vehicle(client, send):
    # A reading without a state of charge does not count as 0: the mean of 40 and 60.
    send(
        vehicle(at=at("2026-02-10T10:00:00Z"), kwhDeliveredDc=0.5, batteryTemp=20, soc=40),
        vehicle(at=at("2026-02-10T10:01:00Z"), kwhDeliveredDc=0.5, batteryTemp=23, soc=60),
        vehicle(at=at("2026-02-10T10:02:00Z"), kwhDeliveredDc=0.5, batteryTemp=26, soc=None),
    )
    window = {"from": "2026-02-10T10:00:00Z", "to": "2026-02-10T10:10:00Z", "bucket": "5m"}
    first, second = series(client, "vehicles/V001", **window)["buckets"]
    assert (first["energy"], first["avgBatteryTemp"], first["avgSoc"], first["completeness"]) == (1.5, 23, 50, 0.6)
    assert (second["avgBatteryTemp"], second["avgSoc"]) == (None, None)


def test_a_correction_replaces_and_a_repeat_adds_nothing(client, send):
    for kwh in (5, 5, 2):
        send(meter(at=at("2026-02-10T10:00:00Z"), kwhConsumedAc=kwh))
    answer = series(client, **{"from": "2026-02-10T10:00:00Z", "to": "2026-02-10T11:00:00Z"})
    assert (energies(answer), answer["buckets"][0]["readings"]) == ([2], 1)


def test_days_of_23_24_and_25_hours(client, send):
    # Berlin, one reading an hour of 1 kWh, on the hour: as many as the day has hours.
    for first, days in (("2025-03-29T00:00+01:00", [24, 23, 24]), ("2025-10-25T00:00+02:00", [24, 25, 24])):
        start = at(first)
        end = start + timedelta(hours=sum(days))
        send(*[meter(at=start + timedelta(hours=hour), kwhConsumedAc=1) for hour in range(-1, sum(days) + 1)])
        query = {"from": stamp(start), "to": stamp(end), "bucket": "1d", "tz": "Europe/Berlin"}
        answer = series(client, **query)
        assert energies(answer) == days
        assert [bucket["completeness"] for bucket in answer["buckets"]] == [round(1 / 60, 4)] * 3
        assert energies(series(client, **query | {"bucket": "1mo"})) == [sum(days)]
        assert energies(series(client, **query | {"bucket": "1h"})) == [1] * sum(days)


def test_a_local_day_that_starts_at_half_past_in_utc(client, send):
    # The 11th of February begins in Kolkata on the 10th at 18:30 UTC.
    send(
        meter(at=at("2026-02-10T18:29:59Z"), kwhConsumedAc=1),
        meter(at=at("2026-02-10T18:30:00Z"), kwhConsumedAc=2),
        meter(at=at("2026-02-11T18:29:59Z"), kwhConsumedAc=4),
    )
    window = {"from": "2026-02-10T00:00:00Z", "to": "2026-02-11T18:30:00Z", "bucket": "1d", "tz": "Asia/Kolkata"}
    assert energies(series(client, **window)) == [1, 6]


def test_a_register_counts_from_the_reading_before_the_window_and_a_dip_is_taken_back(client, send, database):
    set_device(database, METER, "M001", {"register": "cumulative"})
    for time, kwh in (("09:59", 100), ("10:10", 103), ("11:10", 102.9), ("12:10", 104), ("13:10", 5)):
        send(meter(at=at(f"2026-02-10T{time}:00Z"), kwhConsumedAc=kwh))
    answer = series(client, **{"from": "2026-02-10T10:00:00Z", "to": "2026-02-10T14:00:00Z"})
    # 103 − 100; the dip; 104 − 102.9; a reset counts what it shows.
    assert energies(answer) == [3, -0.1, 1.1, 5]


def test_nothing_is_expected_of_the_future(client, send, database):
    set_device(database, METER, "M001", {"heartbeat_seconds": 3600})
    send(meter())
    start = datetime.now(UTC).replace(minute=0, second=0, microsecond=0) + timedelta(hours=-3)
    answer = series(client, **{"from": stamp(start), "to": stamp(start + timedelta(hours=6))})
    assert answer["heartbeatSeconds"] == 3600
    assert [bucket["completeness"] for bucket in answer["buckets"]][:2] == [0, 0]
    assert [bucket["completeness"] for bucket in answer["buckets"]][-2:] == [None, None]


def test_csv(client, send):
    send(vehicle(at=at("2026-02-10T10:00:00Z"), soc=None))
    query = {"from": "2026-02-10T10:00:00Z", "to": "2026-02-10T10:10:00Z", "bucket": "5m"}
    answer = client.get("/v1/vehicles/V001/series", query_string=query, headers={"Accept": "text/csv"})
    assert answer.mimetype == "text/csv"
    assert "vehicle-V001-series.csv" in answer.headers["Content-Disposition"]
    assert answer.text.splitlines() == [
        "from,to,energy,readings,completeness,implausible,avgBatteryTemp,avgSoc",
        "2026-02-10T10:00:00Z,2026-02-10T10:05:00Z,1.2,1,0.2,0,25.0,",
        "2026-02-10T10:05:00Z,2026-02-10T10:10:00Z,0.0,0,0.0,0,,",
    ]


@pytest.mark.parametrize(
    ("query", "field", "reason"),
    [
        ("bucket=2h", "bucket", "5m, 15m, 1h, 1d, 1w, 1mo"),
        ("tz=Europe/Berln", "tz", "Europe/Berlin"),
        ("tz=../../etc/passwd", "tz", "IANA"),
        ("tz=localtime", "tz", "IANA"),
        ("tz=%00", "tz", "IANA"),
        ("tz=", "tz", "IANA"),
        ("from=2026-01-01T00:00:00Z&to=2026-03-01T00:00:00Z&bucket=5m", "bucket", "10,000"),
        ("from=2999-01-01T00:00:00Z", "from", "past"),
        ("from=9999-12-01T00:00:00Z&to=9999-12-31T23:00:00Z&bucket=1mo", "to", "era"),
        ("from=2026-01-01", "from", "zone"),
        ("from=2026-01-02T00:00:00Z&to=2026-01-01T00:00:00Z", "to", "after"),
    ],
)
def test_a_bad_query_is_refused_with_a_reason(client, send, query, field, reason):
    send(meter())
    answer = client.get(f"/v1/meters/M001/series?{query}")
    assert answer.status_code == 422
    assert list(answer.json["errors"]) == [field]
    assert reason in answer.json["errors"][field][0]


@pytest.mark.parametrize("path", ["vehicles/NOBODY", "meters/NOBODY", "meters/%00", "vehicles/a%20b"])
def test_the_series_of_an_unknown_device_is_not_found(client, path):
    assert client.get(f"/v1/{path}/series").status_code == 404


def test_a_bound_key_reads_the_series_of_its_devices(client, send, new_key):
    headers = {"Authorization": f"Bearer {new_key('admin')}"}
    assert client.get("/v1/meters/M001/series", headers=headers).status_code == 404
    bound = {"Authorization": f"Bearer {new_key('read', device_prefix='M0')}"}
    assert client.get("/v1/meters/M001/series", headers=bound).status_code == 404
    assert client.get("/v1/meters/X001/series", headers=bound).status_code == 403


# ── Roll-ups ─────────────────────────────────────────────────────────────────────────────────────────────────


def test_roll_ups_and_history_give_the_same_and_late_readings_count_at_once(client, send, database):
    start = ago(hours=6).replace(minute=0, second=0)
    start_watermark(database, start)
    query = {"from": stamp(start), "to": stamp(start + timedelta(hours=4)), "bucket": "1d"}
    send(*[meter(at=start + timedelta(minutes=10 * n), kwhConsumedAc=0.1) for n in range(24)])
    by_history = series(client, **query)
    roll_up(database, start + timedelta(hours=4))
    by_rollups = series(client, **query)
    assert by_history.pop("watermark") in (None, stamp(start))
    assert by_rollups.pop("watermark") == stamp(start + timedelta(hours=4))
    assert by_rollups == by_history
    # That it is they that answer: a roll-up that is wrong shows.
    database.execute("update meter_hourly set kwh = kwh + 100")
    assert sum(energies(series(client, **query))) == pytest.approx(402.4)
    # And where a mark waits it does not: of four hours the late one comes from history.
    send(meter(at=start + timedelta(minutes=61), kwhConsumedAc=7))
    assert sum(energies(series(client, **query))) == pytest.approx(302.4 + 7)
    roll_up(database, start + timedelta(hours=4))
    assert sum(energies(series(client, **query))) == pytest.approx(302.4 + 7)


def test_a_late_reading_of_a_register_changes_the_next_hour_with_a_reading_too(client, send, database):
    start = ago(hours=6).replace(minute=0, second=0)
    start_watermark(database, start)
    set_device(database, METER, "M001", {"register": "cumulative"})
    send(*[meter(at=start + timedelta(minutes=n), kwhConsumedAc=100 + n / 60) for n in (0, 30, 190)])
    roll_up(database, start + timedelta(hours=4))
    query = {"from": stamp(start), "to": stamp(start + timedelta(hours=4))}
    # 100 → 100.5 → 103.1667, three hours later: 0.5 in the first hour, 2.6667 in the fourth.
    assert energies(series(client, **query)) == pytest.approx([0.5, 0, 0, 2.666667])
    # Late: 102 at minute 90. The second hour has 1.5 now, and the fourth 1.1667.
    send(meter(at=start + timedelta(minutes=90), kwhConsumedAc=102))
    assert energies(series(client, **query)) == pytest.approx([0.5, 1.5, 0, 1.166667])
    roll_up(database, start + timedelta(hours=4))
    assert energies(series(client, **query)) == pytest.approx([0.5, 1.5, 0, 1.166667])
