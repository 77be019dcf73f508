"""Which meter feeds which vehicle's charger, and when: half-open spans [from, to), open ends allowed."""

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from datetime import datetime

import psycopg
from psycopg.rows import dict_row

from models.access.bindings import Binding, bound_to
from models.storage.stale_marks import mark_feed_stale

# An open end is an infinity in the table and None outside: Python's datetime has no infinity.
_COLUMNS = """vehicle_id, meter_id, nullif(valid_from, '-infinity') as valid_from,
              nullif(valid_to, 'infinity') as valid_to"""


class EndsTooEarly(Exception):
    """A mapping would end before it begins."""


@contextmanager
def _in_order() -> Iterator[None]:
    try:
        yield
    except psycopg.errors.CheckViolation:
        raise EndsTooEarly from None


def map_vehicle(
    connection: psycopg.Connection,
    vehicle_id: str,
    meter_id: str,
    valid_from: datetime | None = None,
    valid_to: datetime | None = None,
) -> tuple[dict, bool]:
    """Says that the meter feeds the vehicle in [valid_from, valid_to); returns the mapping and whether it is new.

    Without a start: always, where the pair was never mapped; the open mapping, where there is one; else from now
    on, since it was once told to end. A mapping that is there stays as it is, but for an end that is given.
    Raises EndsTooEarly where the end is not after the start.
    """
    pair = {"vehicle": vehicle_id, "meter": meter_id, "start": valid_from, "end": valid_to}
    with connection.transaction():
        # Two posts of one pair at a time would both find it unmapped.
        connection.execute("select pg_advisory_xact_lock(hashtextextended(%(vehicle)s || ' ' || %(meter)s, 0))", pair)
        cursor = connection.cursor(row_factory=dict_row)
        there = cursor.execute(
            f"""select {_COLUMNS} from vehicle_meter_mapping as m
                where vehicle_id = %(vehicle)s and meter_id = %(meter)s and case
                  when %(start)s::timestamptz is null then m.valid_to = 'infinity' and m.valid_from <= now()
                  else m.valid_from = %(start)s end
                order by m.valid_from for update""",
            pair,
        ).fetchall()
        if there:
            ended = [_end_at(connection, mapping, valid_to) for mapping in there]
            return ended[0], False
        with _in_order():
            new = cursor.execute(
                f"""insert into vehicle_meter_mapping (vehicle_id, meter_id, valid_from, valid_to)
                    select %(vehicle)s, %(meter)s, coalesce(%(start)s, case when exists (
                             select from vehicle_meter_mapping where vehicle_id = %(vehicle)s and meter_id = %(meter)s)
                           then now() else '-infinity' end), coalesce(%(end)s, 'infinity'::timestamptz)
                    returning {_COLUMNS}""",
                pair,
            ).fetchone()
        mark_feed_stale(connection, vehicle_id, meter_id, new["valid_from"], new["valid_to"])
    return new, True


def _end_at(connection: psycopg.Connection, mapping: dict, valid_to: datetime | None) -> dict:
    """The mapping with the end that is given, if one is; marks the time by which it became longer or shorter."""
    if valid_to is None or valid_to == mapping["valid_to"]:
        return mapping
    with _in_order():
        connection.execute(
            """update vehicle_meter_mapping set valid_to = %(valid_to)s
               where vehicle_id = %(vehicle_id)s and meter_id = %(meter_id)s
                 and valid_from = coalesce(%(valid_from)s::timestamptz, '-infinity')""",
            mapping | {"valid_to": valid_to},
        )
    before = mapping["valid_to"]
    longer = (valid_to, None) if before is None else sorted((before, valid_to))
    mark_feed_stale(connection, mapping["vehicle_id"], mapping["meter_id"], *longer)
    return mapping | {"valid_to": valid_to}


def end_mapping(connection: psycopg.Connection, vehicle_id: str, meter_id: str, at: datetime) -> list[dict]:
    """Ends what maps the meter to the vehicle: now what is open, and wholly what has yet to begin.

    Returns the mappings that were ended, empty where there was none.
    """
    pair = {"vehicle": vehicle_id, "meter": meter_id, "at": at}
    with connection.transaction():
        cursor = connection.cursor(row_factory=dict_row)
        ended = cursor.execute(
            f"""update vehicle_meter_mapping set valid_to = %(at)s
                where vehicle_id = %(vehicle)s and meter_id = %(meter)s and valid_from < %(at)s and valid_to > %(at)s
                returning {_COLUMNS}""",
            pair,
        ).fetchall()
        ended += cursor.execute(
            f"""delete from vehicle_meter_mapping
                where vehicle_id = %(vehicle)s and meter_id = %(meter)s and valid_from >= %(at)s
                returning {_COLUMNS}""",
            pair,
        ).fetchall()
        if ended:
            mark_feed_stale(connection, vehicle_id, meter_id, at, None)
    return ended


def refresh_statistics(connection: psycopg.Connection) -> None:
    """After many changes at a time: plans that were made for a few mappings take a performance 0.7 ms longer.

    Autovacuum would do it within the minute.
    """
    connection.execute("analyze vehicle_meter_mapping")


def list_mappings(
    connection: psycopg.Connection,
    vehicle_id: str | None,
    *,
    after: tuple | None,
    limit: int,
    binding: Binding | None = None,
) -> list[dict]:
    """Mappings in the order of vehicle, meter and start, of one vehicle or of all that are bound. By primary key."""
    where, values = bound_to("vehicle_id", binding)
    where.append("true")
    if vehicle_id is not None:
        where.append("vehicle_id = %s")
        values.append(vehicle_id)
    if after is not None:
        where.append("(vehicle_id, meter_id, valid_from) > (%s, %s, coalesce(%s::timestamptz, '-infinity'))")
        values += after
    return (
        connection.cursor(row_factory=dict_row)
        .execute(
            f"""select {_COLUMNS} from vehicle_meter_mapping as m where {" and ".join(where)}
                order by m.vehicle_id, m.meter_id, m.valid_from limit %s""",
            [*values, limit],
        )
        .fetchall()
    )


def meters_now(connection: psycopg.Connection, vehicle_ids: Iterable[str], at: datetime) -> dict[str, list[str]]:
    """The meters that feed each of the vehicles at this time, by a mapping or a session; of those that any feeds.

    By vehicle_meter_mapping's key and charging_sessions_vehicle.
    """
    return dict(
        connection.execute(
            """select vehicle_id, array_agg(distinct meter_id) from vehicle_feeds
               where vehicle_id = any(%(vehicles)s) and valid_from <= %(at)s and valid_to > %(at)s
               group by vehicle_id""",
            {"vehicles": list(vehicle_ids), "at": at},
        ).fetchall()
    )
