"""Roll-ups for tests: brought up to any time at once, and read as rows."""

from datetime import datetime, timedelta

import psycopg

from models.analytics.rollups.watermark import WATERMARK_DELAY_SECONDS, roll_up_steps

HEARTBEAT = 60


def roll_up(database: psycopg.Connection, until: datetime) -> None:
    """Moves the watermark to `until` and works off every stale mark, without waiting for hours that still load."""
    now = until + timedelta(seconds=WATERMARK_DELAY_SECONDS)
    for _ in range(2):  # the first run may add marks
        database.execute("update rollup_marks set marked_at = marked_at - interval '1 hour'")
        for _ in roll_up_steps(database, now=now, heartbeat_seconds=HEARTBEAT):
            pass


def start_watermark(database: psycopg.Connection, start: datetime) -> None:
    """Sets the watermark as if everything before `start` was rolled up, and there had been no readings."""
    database.execute("insert into rollup_state (marked_until, rolled_until) values (%(at)s, %(at)s)", {"at": start})


def hourly_rows(database: psycopg.Connection, kind: str) -> dict[tuple[str, datetime], tuple]:
    """The rows of a kind by device and hour: kWh, readings, implausible, then the other columns."""
    columns = {
        "meter": "kwh, readings, implausible, voltage_sum",
        "vehicle": """kwh, readings, implausible, battery_temp_sum, battery_temp_max, soc_sum, soc_readings, ac_kwh,
                      fed_readings, fed_by, fed_kwh, dc_fed_by, dc_fed_kwh""",
    }[kind]
    return {
        (device, hour): tuple(values)
        for device, hour, *values in database.execute(f"select {kind}_id, hour, {columns} from {kind}_hourly")
    }
