"""The number of devices that a key may post for: new ones beyond it are refused row by row."""

import re
import time
from datetime import timedelta

import pytest

from models.access import known_devices
from models.access.keys import rotate_key, split_key
from models.access.known_devices import KnownDevices, count_known, forget_devices
from models.access.limits import UsedUpAllowances
from tests.factories import bearer, meter, post_with_key, vehicle

DAY = timedelta(days=1)


@pytest.fixture(autouse=True)
def _drained(drain_all):
    yield
    drain_all()


@pytest.fixture
def restart(app, resources, monkeypatch):
    """Starts a web process, which knows no device yet."""
    return lambda: monkeypatch.setitem(app.extensions, "known_devices", KnownDevices(resources.settings))


def meters(*names: str) -> list[dict]:
    return [meter(name) for name in names]


def test_new_devices_beyond_the_bound_are_refused_row_by_row(client, new_key, restart):
    text = new_key("ingest", device_prefix="A-", max_devices=3)
    assert post_with_key(client, text, meters("A-1", "A-2")).json["rejected"] == 0
    answer = post_with_key(client, text, [*meters("A-1", "A-3"), vehicle("A-4"), meter("B-1"), {}])
    assert (answer.status_code, answer.json["accepted"], answer.json["rejected"]) == (202, 2, 3)
    reasons = {error["index"]: error["errors"] for error in answer.json["errors"]}
    assert "as many devices as it may" in reasons[2]["vehicleId"][0]
    assert "may not post for this device" in reasons[3]["meterId"][0]
    for _ in range(2):  # also in a process that has not seen these devices
        refused = post_with_key(client, text, meter("A-5"))
        assert (refused.status_code, list(refused.json["errors"])) == (403, ["meterId"])
        assert post_with_key(client, text, meters("A-1", "A-2", "A-3")).json["accepted"] == 3
        restart()
    atomic = post_with_key(client, text, meters("A-1", "A-6"), query_string={"atomic": "true"})
    assert (atomic.status_code, atomic.json["accepted"]) == (403, 0)


def test_a_request_beyond_the_allowance_takes_no_places(client, new_key, resources, restart):
    text = new_key("ingest", readings_per_second=0.001, readings_burst=1, max_devices=10)
    assert post_with_key(client, text, meter("A-1")).status_code == 202
    client.application.extensions["used_up_allowances"] = UsedUpAllowances()  # as in another web process
    assert post_with_key(client, text, meters("A-2", "A-3")).status_code == 429
    owner = split_key(text)[0]
    assert count_known(resources.settings, [owner]) == {owner: 1}


def test_a_refused_device_is_counted_under_its_reason(client, new_key):
    text, reader = new_key("ingest", max_devices=1), new_key("read")

    def counted() -> float:
        page = client.get("/metrics", headers=bearer(reader)).text
        return float(re.search(r'energy_readings_rejected_total\{reason="device_limit"\} (\S+)', page)[1])

    before = counted()
    post_with_key(client, text, meters("M1", "M2", "M3"))
    assert counted() - before == 2


def test_the_default_depends_on_the_binding(client, new_key, with_settings):
    unbound, prefix = new_key("ingest"), new_key("ingest", device_prefix="A-")
    listed = new_key("ingest", device_ids=["A-1", "A-2", "A-3", "A-4"])
    with_settings(auth="required", key_max_devices=2, unbound_key_max_devices=3)
    body = meters("A-1", "A-2", "A-3", "A-4")
    accepted = [post_with_key(client, text, body).json["accepted"] for text in (unbound, prefix, listed)]
    assert accepted == [3, 2, 4]
    with_settings(auth="required", key_max_devices=0, unbound_key_max_devices=0)
    assert post_with_key(client, prefix, body).json["accepted"] == 4


def test_thousands_of_new_devices_at_once_are_bounded(client, new_key, resources):
    text = new_key("ingest", max_devices=2500)
    answer = post_with_key(client, text, meters(*(f"M{number}" for number in range(4000))))
    assert (answer.json["accepted"], answer.json["rejected"]) == (2500, 1500)
    owner = split_key(text)[0]
    assert count_known(resources.settings, [owner]) == {owner: 2500}


def test_a_rotated_key_continues_the_devices_of_the_first_and_may_have_more(client, new_key, database, refresh):
    first = new_key("ingest", max_devices=1)
    assert post_with_key(client, first, meter("M1")).status_code == 202
    second = rotate_key(database, split_key(first)[0], overlap=DAY)
    refresh()
    assert [post_with_key(client, second, meter(name)).status_code for name in ("M1", "M2")] == [202, 403]
    third = rotate_key(database, split_key(second)[0], overlap=DAY, max_devices=2)
    refresh()
    assert [post_with_key(client, third, meter(name)).status_code for name in ("M1", "M2", "M3")] == [202, 202, 403]


def test_a_forgotten_device_makes_room_for_another(client, new_key, resources, monkeypatch):
    text = new_key("ingest", max_devices=2)
    owner = split_key(text)[0]
    post_with_key(client, text, meters("M1", "M2"))
    assert post_with_key(client, text, meter("M3")).status_code == 403
    forget_devices(resources.settings, [owner], ["M1", "M9"])
    monkeypatch.setattr(known_devices, "RECHECK_SECONDS", 0.0)
    assert [post_with_key(client, text, meter(name)).status_code for name in ("M2", "M3", "M1")] == [202, 202, 403]


def test_no_device_is_refused_while_redis_is_unavailable(resources):
    from dataclasses import replace

    known = KnownDevices(replace(resources.settings, redis_url="redis://127.0.0.1:1/0"))
    assert known.claim("owner", 1, {"M1", "M2"}) == frozenset()


def test_a_known_device_costs_no_round_trip_and_hardly_any_time(client, new_key, app, resources, monkeypatch):
    """Judged by the least of several rounds, beside the decoding of the same readings."""
    known, ids = KnownDevices(resources.settings), [f"M{number}" for number in range(1000)]
    known.claim("owner", 5000, ids)
    monkeypatch.setattr(known, "_claim", None)  # any call would fail
    body = app.json.dumps(meters(*ids)).encode()
    from webapp.ingest.fast_decoding import Bounds, decode_fast

    def least(action) -> float:
        times = []
        for _ in range(20):
            started = time.perf_counter()
            action()
            times.append(time.perf_counter() - started)
        return min(times)

    decoding = least(lambda: decode_fast(body, None, False, Bounds.now(resources.settings), 10_000))
    assert known.knows("owner", ids)
    assert least(lambda: known.knows("owner", ids)) < 0.1 * decoding


def test_the_command_sets_and_shows_the_bound(runner, client, refresh):
    made = runner.invoke(args=["keys", "create", "--name", "x", "--scope", "ingest", "--max-devices", "2"])
    refresh()
    assert post_with_key(client, made.stdout.strip(), meters("M1", "M2", "M3")).json["accepted"] == 2
    assert "all (at most 2)" in runner.invoke(args=["keys", "list"]).output
