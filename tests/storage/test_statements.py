"""Core statements run on psycopg connections, with every kind of value that the CRUD modules bind."""

import msgspec
import pytest
from psycopg.rows import scalar_row
from psycopg.types.json import Jsonb
from sqlalchemy import ARRAY, Text, and_, any_, bindparam, func, insert, select

from models.schema.devices import devices
from models.schema.stream import dead_letters
from models.sql import one
from models.statements import Statement, rows_of, run


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


def test_an_optional_condition_applies_to_runs_that_give_all_its_values(database):
    for number in range(4):
        run(database, insert(devices).values(kind="meter", device_id=f"M{number}", site="north" if number else None))
    statement = Statement(
        select(devices.c.device_id).order_by(devices.c.device_id).limit(bindparam("limit")),
        optional=(
            devices.c.site == bindparam("site"),
            and_(devices.c.device_id >= bindparam("first"), devices.c.device_id <= bindparam("last")),
        ),
    )

    def listed(**values) -> list[str]:
        return run(database, statement, {"limit": 10, **values}, row=scalar_row).fetchall()

    assert listed() == ["M0", "M1", "M2", "M3"]
    assert listed(site="north") == ["M1", "M2", "M3"]
    assert listed(site=None, first="M0", last="M1") == ["M0", "M1"]
    assert listed(site="north", first="M0", last="M1") == ["M1"]
    assert listed(site="north", first="M3") == ["M1", "M2", "M3"]
    assert listed(limit=1) == ["M0"]


def test_a_statement_without_a_row_is_an_error_where_one_is_needed(database):
    assert one(run(database, select(func.count()).select_from(devices), row=scalar_row)) == 0
    with pytest.raises(LookupError):
        one(run(database, select(devices.c.site), row=scalar_row))


def test_rows_of_other_columns_than_the_fields_are_an_error_at_import():
    class Site(msgspec.Struct):
        device_id: str
        site: str

    rows_of(Site, (devices.c.device_id, devices.c.site))
    with pytest.raises(TypeError):
        rows_of(Site, (devices.c.site, devices.c.device_id))
