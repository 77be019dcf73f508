"""Which meter feeds which vehicle's charger, and when: half-open spans [from, to), open ends allowed."""

from collections.abc import Iterable
from datetime import UTC, datetime

import msgspec
import psycopg
from sqlalchemy import and_, bindparam, delete, insert, select, tuple_, update

from models.access.bindings import Binding, binding_values, within_binding
from models.schema.devices import vehicle_meter_mapping
from models.statements import Statement, finite, rows_of, run
from models.storage.stale_marks import mark_feed_stale


class Mapping(msgspec.Struct, frozen=True):
    """The meter feeds the vehicle in [valid_from, valid_to); None: without a start, without an end."""

    vehicle_id: str
    meter_id: str
    valid_from: datetime | None
    valid_to: datetime | None


class EndsTooEarly(Exception):
    """A mapping would end before it begins."""


# An open end in the table; a time in Python is never infinite.
_ALWAYS, _FOREVER = "-infinity", "infinity"
_TABLE = vehicle_meter_mapping.c
_KEY = (_TABLE.vehicle_id, _TABLE.meter_id, _TABLE.valid_from)
_COLUMNS = (_TABLE.vehicle_id, _TABLE.meter_id, finite(_TABLE.valid_from), finite(_TABLE.valid_to))
_ROW = rows_of(Mapping, _COLUMNS)
_OF_PAIR = and_(_TABLE.vehicle_id == bindparam("vehicle_id"), _TABLE.meter_id == bindparam("meter_id"))
_AT = bindparam("at", type_=_TABLE.valid_to.type)

_GET_PAIR = Statement(select(*_COLUMNS).where(_OF_PAIR).order_by(_TABLE.valid_from).with_for_update())
_INSERT = Statement(insert(vehicle_meter_mapping).values({column: bindparam(column.name) for column in _TABLE}))
_SET_END = Statement(
    update(vehicle_meter_mapping).where(_OF_PAIR, _TABLE.valid_from == bindparam("valid_from")).values(valid_to=_AT)
)
_END_CURRENT = Statement(
    update(vehicle_meter_mapping)
    .where(_OF_PAIR, _TABLE.valid_from < _AT, _TABLE.valid_to > _AT)
    .values(valid_to=_AT)
    .returning(*_COLUMNS)
)
_DELETE_FUTURE = Statement(delete(vehicle_meter_mapping).where(_OF_PAIR, _TABLE.valid_from >= _AT).returning(*_COLUMNS))
_LIST = Statement(
    select(*_COLUMNS).order_by(*_KEY).limit(bindparam("limit")),
    optional=(
        _TABLE.vehicle_id == bindparam("vehicle_id"),
        tuple_(*_KEY) > tuple_(bindparam("after_vehicle"), bindparam("after_meter"), bindparam("after_start")),
        *within_binding(_TABLE.vehicle_id),
    ),
)


def map_vehicle(
    connection: psycopg.Connection,
    vehicle_id: str,
    meter_id: str,
    valid_from: datetime | None = None,
    valid_to: datetime | None = None,
) -> tuple[Mapping, bool]:
    """Has the meter feed the vehicle in [valid_from, valid_to); returns the mapping and whether it is new.

    Without a start: the open mapping, if there is one; always, if the pair was never mapped; else from now on, since
    the earlier mapping was ended. A mapping that exists keeps its start, and its end unless `valid_to` is given.
    Raises EndsTooEarly if the end is not after the start. One transaction: the mapping and its stale marks.
    """
    now = datetime.now(UTC)
    pair = {"vehicle_id": vehicle_id, "meter_id": meter_id}
    with connection.transaction():
        # Two posts of one pair at a time would both find it unmapped.
        connection.execute("select pg_advisory_xact_lock(hashtextextended(%s, 0))", [f"{vehicle_id} {meter_id}"])
        existing = run(connection, _GET_PAIR, pair, row=_ROW).fetchall()
        if valid_from is None:
            found = [m for m in existing if m.valid_to is None and (m.valid_from is None or m.valid_from <= now)]
        else:
            found = [m for m in existing if m.valid_from == valid_from]
        if found:
            first, *_ = [_set_end(connection, mapping, valid_to) for mapping in found]
            return first, False
        start = now if existing and valid_from is None else valid_from
        _require_order(start, valid_to)
        run(connection, _INSERT, {**pair, "valid_from": start or _ALWAYS, "valid_to": valid_to or _FOREVER})
        mark_feed_stale(connection, vehicle_id, meter_id, start, valid_to)
    return Mapping(vehicle_id, meter_id, start, valid_to), True


def _set_end(connection: psycopg.Connection, mapping: Mapping, valid_to: datetime | None) -> Mapping:
    """The mapping with this end, if one is given; marks the time by which it became longer or shorter."""
    if valid_to is None or valid_to == mapping.valid_to:
        return mapping
    _require_order(mapping.valid_from, valid_to)
    key = {**msgspec.structs.asdict(mapping), "valid_from": mapping.valid_from or _ALWAYS}
    run(connection, _SET_END, {**key, "at": valid_to})
    changed = (valid_to, None) if mapping.valid_to is None else sorted((mapping.valid_to, valid_to))
    mark_feed_stale(connection, mapping.vehicle_id, mapping.meter_id, *changed)
    return msgspec.structs.replace(mapping, valid_to=valid_to)


def _require_order(start: datetime | None, end: datetime | None) -> None:
    if start is not None and end is not None and end <= start:
        raise EndsTooEarly


def end_mapping(connection: psycopg.Connection, vehicle_id: str, meter_id: str, at: datetime) -> list[Mapping]:
    """Ends the pair's current mappings and deletes those that begin later; returns both, or an empty list.

    One transaction: the mappings and their stale marks.
    """
    values = {"vehicle_id": vehicle_id, "meter_id": meter_id, "at": at}
    with connection.transaction():
        ended = run(connection, _END_CURRENT, values, row=_ROW).fetchall()
        ended += run(connection, _DELETE_FUTURE, values, row=_ROW).fetchall()
        if ended:
            mark_feed_stale(connection, vehicle_id, meter_id, at, None)
    return ended


def refresh_statistics(connection: psycopg.Connection) -> None:
    """After many changes at once: plans made for a few mappings take a performance query 0.7 ms longer.

    Autovacuum would refresh them within a minute.
    """
    connection.execute("analyze vehicle_meter_mapping")


def list_mappings(
    connection: psycopg.Connection,
    vehicle_id: str | None = None,
    *,
    after: tuple[str, str, datetime | None] | None = None,
    limit: int,
    binding: Binding | None = None,
) -> list[Mapping]:
    """Mappings in the order of vehicle, meter and start, after the key `after`; of one vehicle, or of all.

    By primary key.
    """
    values = {"vehicle_id": vehicle_id, "limit": limit, **binding_values(binding)}
    if after is not None:
        vehicle, meter, start = after
        values |= {"after_vehicle": vehicle, "after_meter": meter, "after_start": start or _ALWAYS}
    return run(connection, _LIST, values, row=_ROW).fetchall()


def get_feeding_meters(
    connection: psycopg.Connection, vehicle_ids: Iterable[str], at: datetime
) -> dict[str, list[str]]:
    """The meters that feed each of the vehicles at this time, by a mapping or a session; only vehicles that are fed.

    By vehicle_meter_mapping's key and charging_sessions_vehicle.
    """
    rows = connection.execute(
        """select vehicle_id, array_agg(distinct meter_id) from vehicle_feeds
           where vehicle_id = any(%(vehicles)s) and valid_from <= %(at)s and valid_to > %(at)s
           group by vehicle_id""",
        {"vehicles": list(vehicle_ids), "at": at},
    )
    return dict(rows.fetchall())
