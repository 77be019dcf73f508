"""Which meter feeds which vehicle's charger, and when: half-open spans [from, to), open ends allowed."""

from collections.abc import Iterable
from datetime import datetime

import psycopg
from psycopg.rows import dict_row

from models.bindings import Binding, bound_to

# An open end is an infinity in the table and None outside: Python's datetime has no infinity.
_COLUMNS = """vehicle_id, meter_id, nullif(valid_from, '-infinity') as valid_from,
              nullif(valid_to, 'infinity') as valid_to"""


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
    Raises psycopg.errors.CheckViolation where the end is not after the start.
    """
    pair = {"vehicle": vehicle_id, "meter": meter_id, "start": valid_from, "end": valid_to}
    with connection.transaction():
        # Two posts of one pair at a time would both find it unmapped.
        connection.execute("select pg_advisory_xact_lock(hashtextextended(%(vehicle)s || ' ' || %(meter)s, 0))", pair)
        cursor = connection.cursor(row_factory=dict_row)
        there = cursor.execute(
            f"""update vehicle_meter_mapping set valid_to = coalesce(%(end)s, valid_to)
                where vehicle_id = %(vehicle)s and meter_id = %(meter)s and case
                  when %(start)s::timestamptz is null then valid_to = 'infinity' and valid_from <= now()
                  else valid_from = %(start)s end
                returning {_COLUMNS}""",
            pair,
        ).fetchone()
        if there:
            return there, False
        new = cursor.execute(
            f"""insert into vehicle_meter_mapping (vehicle_id, meter_id, valid_from, valid_to)
                select %(vehicle)s, %(meter)s, coalesce(%(start)s, case when exists (
                         select from vehicle_meter_mapping where vehicle_id = %(vehicle)s and meter_id = %(meter)s)
                       then now() else '-infinity' end), coalesce(%(end)s, 'infinity'::timestamptz)
                returning {_COLUMNS}""",
            pair,
        ).fetchone()
    return new, True


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
    return ended


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
    """The meters mapped at this time to each of the vehicles that has any. By primary key."""
    return dict(
        connection.execute(
            """select vehicle_id, array_agg(distinct meter_id) from vehicle_meter_mapping
               where vehicle_id = any(%(vehicles)s) and valid_from <= %(at)s and valid_to > %(at)s
               group by vehicle_id""",
            {"vehicles": list(vehicle_ids), "at": at},
        ).fetchall()
    )
