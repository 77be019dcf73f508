"""Core statements run on psycopg connections, with every kind of value that the CRUD modules bind."""

from psycopg.rows import scalar_row
from psycopg.types.json import Jsonb
from sqlalchemy import ARRAY, Text, any_, bindparam, insert, select

from models.schema.analytics import devices
from models.schema.tables import dead_letters
from models.sql import run


def test_rows_come_back_as_dicts_or_as_asked(database):
    returned = run(
        database, insert(devices).values(kind="meter", device_id="M1", site="north").returning(devices)
    ).fetchone()
    assert (returned["device_id"], returned["site"], returned["register"]) == ("M1", "north", "interval")
    assert run(database, select(devices.c.site), row=scalar_row).fetchall() == ["north"]


def test_named_values_and_arrays_are_bound(database):
    run(database, insert(devices).values(kind="meter", device_id="M1"))
    statement = select(devices.c.device_id).where(devices.c.device_id == any_(bindparam("ids", type_=ARRAY(Text))))
    assert run(database, statement, {"ids": ["M1", "'; drop table devices"]}, row=scalar_row).fetchall() == ["M1"]


def test_json_and_bytes_are_kept(database):
    letter = {"shard": 0, "entry_id": "1-0", "kind": "entry", "entry_readings": 1, "reason": "100 % bad"}
    values = {"reading": Jsonb({"a": [1]}), "payload": b"\x00%s", "received_at": "2026-01-01T00:00:00Z"}
    run(database, insert(dead_letters).values(letter | values))
    found = run(database, select(dead_letters.c.reading, dead_letters.c.payload, dead_letters.c.reason)).fetchone()
    assert found == {"reading": {"a": [1]}, "payload": b"\x00%s", "reason": "100 % bad"}
