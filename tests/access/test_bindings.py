"""Which devices a binding covers: the same in Python, in a Core statement and in SQL written by hand."""

import pytest
from psycopg.rows import scalar_row
from sqlalchemy import insert, select

from models.access.bindings import Binding, binding_sql, binding_values, within_binding
from models.schema.devices import devices
from models.statements import Statement, run

IDS = ["A", "A-", "A-1", "A.", "B", "B-1", "a-1"]


@pytest.mark.parametrize(
    "binding",
    [
        None,
        Binding(),
        Binding(frozenset({"A", "B-1", "C"})),
        Binding(prefix="A-"),
        Binding(frozenset({"B"}), prefix="A-"),
    ],
)
def test_a_statement_keeps_the_devices_that_a_binding_covers(database, binding):
    for device_id in IDS:
        run(database, insert(devices).values(kind="meter", device_id=device_id))
    covered = {device_id for device_id in IDS if binding is None or binding.covers(device_id)}
    statement = Statement(select(devices.c.device_id), optional=within_binding(devices.c.device_id))
    assert set(run(database, statement, binding_values(binding), row=scalar_row)) == covered
    by_hand = f"select device_id from devices where kind = 'meter' and {binding_sql('device_id', binding)}"
    cursor = database.cursor(row_factory=scalar_row)
    assert set(cursor.execute(by_hand, binding_values(binding))) == covered
