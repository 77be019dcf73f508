"""Which meter feeds which vehicle's charger, and when: half-open spans [from, to), open ends allowed."""

from collections.abc import Iterable
from datetime import datetime

import psycopg
from psycopg.rows import dict_row

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

    Vehicle, meter and start name a mapping: the same again changes its end to the one given now.
    Raises psycopg.errors.CheckViolation where the end is not after the start.
    """
    row = (
        connection.cursor(row_factory=dict_row)
        .execute(
            f"""insert into vehicle_meter_mapping (vehicle_id, meter_id, valid_from, valid_to)
                values (%s, %s, coalesce(%s::timestamptz, '-infinity'), coalesce(%s::timestamptz, 'infinity'))
                on conflict (vehicle_id, meter_id, valid_from) do update set valid_to = excluded.valid_to
                returning {_COLUMNS}, xmax = 0 as is_new""",
            [vehicle_id, meter_id, valid_from, valid_to],
        )
        .fetchone()
    )
    is_new = row.pop("is_new")
    return row, is_new


def end_mapping(connection: psycopg.Connection, vehicle_id: str, meter_id: str, at: datetime) -> list[dict]:
    """Ends what now maps the meter to the vehicle; returns the ended mappings, empty where there was none."""
    return (
        connection.cursor(row_factory=dict_row)
        .execute(
            f"""update vehicle_meter_mapping set valid_to = %(at)s
                where vehicle_id = %(vehicle)s and meter_id = %(meter)s and valid_from < %(at)s and valid_to > %(at)s
                returning {_COLUMNS}""",
            {"vehicle": vehicle_id, "meter": meter_id, "at": at},
        )
        .fetchall()
    )


def list_mappings(connection: psycopg.Connection, vehicle_id: str | None, *, after: tuple | None, limit: int):
    """Mappings in the order of vehicle, meter and start, of one vehicle or of all. By primary key."""
    where, values = ["true"], []
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
