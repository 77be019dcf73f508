from datetime import timedelta

import pytest

from models.storage.partitions import ensure_partitions
from tests.exports.files import MANY
from tests.factories import ago


@pytest.fixture
def many(database):
    """Readings of ten vehicles, one a second, which ended an hour ago."""
    ensure_partitions(database, days_ahead=2)
    end = ago(hours=1)
    database.execute(
        """insert into vehicle_readings_history
             (vehicle_id, recorded_at, received_at, kwh_delivered_dc, battery_temp, soc)
           select 'V' || n %% 10, %(end)s - n * interval '100 ms', %(end)s, n / 7.0, 20 + n / 1e5, null
           from generate_series(1, %(many)s) as n""",
        {"end": end, "many": MANY},
    )
    return end - timedelta(days=1), end
