"""Live rows on Postgres: the newest reading wins, in any order of arrival and by either way of sending rows."""

import random

import pytest

from models.readings import METER, VEHICLE, to_microseconds
from models.storage import live
from models.storage.live import count_new_devices, upsert_live
from tests.factories import meter, vehicle

MINUTE = 60_000_000  # microseconds
START = 1_750_000_000_000_000


def random_rows(seed: int) -> list[list[tuple]]:
    """Batches of vehicle rows of a few devices: late, repeated, corrected, with and without a state of charge."""
    dice = random.Random(seed)
    rows = [
        (
            f"V{dice.randrange(6)}",
            START + dice.randrange(5) * MINUTE,
            START + 10 * MINUTE + number,
            dice.random(),
            25.0,
            dice.choice([None, dice.random() * 100]),
        )
        for number in range(60)
    ]
    return [rows[at : at + 15] for at in range(0, 60, 15)]


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("copy_from", [1, 1_000], ids=["copied", "as arrays"])
@pytest.mark.parametrize("kind", [METER, VEHICLE], ids=["meters", "vehicles"])
def test_the_newest_reading_wins(resources, database, monkeypatch, kind, copy_from, seed):
    monkeypatch.setattr(live, "COPY_DEVICES", copy_from)
    batches = random_rows(seed)
    random.Random(seed).shuffle(batches)
    for batch in batches:
        with database.transaction():
            upsert_live(database, kind, batch if kind is VEHICLE else [row[:5] for row in batch])
    rows = sorted((row for batch in batches for row in batch), key=lambda row: row[1:3])
    newest = {row[0]: row for row in rows}
    with_soc = {row[0]: row for row in rows if row[5] is not None}
    found = database.execute(f"select * from {kind.live} order by 1").fetchall()
    assert [device for device, *_ in found] == sorted(newest)
    for device, recorded_at, received_at, kwh, value, *soc, _first_stored_at in found:
        assert (*map(to_microseconds, (recorded_at, received_at)), kwh, value) == newest[device][1:5]
        if soc and device in with_soc:
            assert (soc[0], *map(to_microseconds, soc[1:])) == tuple(with_soc[device][place] for place in (5, 1, 2))
        elif soc:
            assert soc == [None, None, None]


def test_a_device_is_new_for_a_day_after_its_first_reading_was_stored(client, send, database):
    send(meter("M1"), meter("M2"), vehicle("V1"))
    database.execute("update meter_readings_live set first_stored_at = now() - interval '25 h' where meter_id = 'M1'")
    database.execute("update vehicle_readings_live set first_stored_at = null")  # of before the column was added
    send(meter("M1"), vehicle("V1"))
    assert count_new_devices(database) == {"meter": 1, "vehicle": 0}
    page = client.get("/metrics").text
    assert 'energy_new_devices{kind="meter"} 1.0' in page
