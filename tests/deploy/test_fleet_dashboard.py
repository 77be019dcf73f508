"""The queries of Grafana's fleet dashboard run as its role, and show what the API answers."""

import json
import os
import re
import subprocess
import sys
from datetime import datetime, timedelta

import psycopg
import pytest
import yaml

from tests import ROOT
from tests.deploy.compose_file import compose

pytestmark = pytest.mark.slow

FOLDER = ROOT / "deploy/grafana"
DASHBOARD = json.loads((FOLDER / "dashboards/fleet.json").read_text())
PANELS = DASHBOARD["panels"]
VALUES = {each["name"]: each["query"] for each in DASHBOARD["templating"]["list"]}
ROLE = "energy_dashboards"
UNREADABLE = ("api_keys", "meter_readings_history", "vehicle_readings_history", "alert_deliveries", "dead_letters")


def query(title: str, start: datetime, end: datetime) -> str:
    """The SQL of a panel as Grafana sends it."""
    (panel,) = [panel for panel in PANELS if panel["title"] == title and panel["type"] != "table"]
    return filled(panel, start, end)


def filled(panel: dict, start: datetime, end: datetime) -> str:
    (target,) = panel["targets"]
    sql = target["rawSql"]
    for name, value in {
        "__timeFrom()": f"'{start.isoformat()}'",
        "__timeTo()": f"'{end.isoformat()}'",
        **VALUES,
    }.items():
        sql = sql.replace(f"${name}", value)
    assert "$" not in sql, sql
    return sql


@pytest.fixture(scope="module")
def reader(cluster, servers):
    """A connection of the dashboard's role to the database of a new deployment."""
    environment = os.environ | {"DATABASE_URL": cluster.url("energy", "energy")}
    command = [sys.executable, "-m", "alembic", "upgrade", "head"]
    subprocess.run(command, cwd=ROOT, env=environment, check=True)
    for _ in range(2):  # it may be run again
        cluster.run("dashboards.sql", "energy")
    with psycopg.connect(cluster.url(ROLE, "energy"), autocommit=True) as connection:
        yield connection


@pytest.mark.parametrize("panel", PANELS, ids=lambda panel: f"{panel['type']} {panel['title']}")
def test_the_role_may_run_every_query(reader, panel):
    now = datetime.fromisoformat("2026-02-11T00:00:00Z")
    cursor = reader.execute(filled(panel, now - timedelta(days=1), now))
    assert cursor.description
    if panel["targets"][0]["format"] == "time_series":
        assert cursor.description[0].name == "time"


@pytest.mark.parametrize("table", UNREADABLE)
def test_the_role_reads_no_keys_and_no_history(reader, table):
    with pytest.raises(psycopg.errors.InsufficientPrivilege):
        reader.execute(f"select from {table} limit 1")


def test_the_role_changes_nothing(reader):
    with pytest.raises(psycopg.errors.ReadOnlySqlTransaction):
        reader.execute("delete from alerts")
    reader.execute("set default_transaction_read_only = off")
    with pytest.raises(psycopg.errors.InsufficientPrivilege):
        reader.execute("delete from alerts")


def test_the_figures_are_those_of_the_api(client, database, rolled_fleet):
    fleet = client.get("/v1/analytics/fleet").json
    start, end = (datetime.fromisoformat(fleet["window"][edge]) for edge in ("from", "to"))

    def shown(title: str) -> tuple:
        return database.execute(query(title, start, end)).fetchone()

    assert shown("AC energy (billed)")[0] == pytest.approx(fleet["totalAcConsumption"])
    assert shown("DC energy (in batteries)")[0] == pytest.approx(fleet["totalDcDelivery"])
    assert shown("Efficiency")[0] == pytest.approx(fleet["efficiencyRatio"])
    by_status = dict(zip(("healthy", "degraded", "implausible", "unknown"), shown("Vehicles by status"), strict=True))
    assert sum(by_status.values()) > 0
    by_hour = database.execute(query("Energy by hour", start, end)).fetchall()
    assert sum(ac for _, ac, _ in by_hour) == pytest.approx(fleet["totalAcConsumption"])


def test_grafana_reads_the_postgres_of_the_compose_file():
    (source,) = yaml.safe_load((FOLDER / "provisioning/datasources/postgres.yml").read_text())["datasources"]
    services = compose()["services"]
    assert source["url"].split(":")[0] in services
    assert source["user"] == ROLE
    (secret,) = re.findall(r"\$__file\{/run/secrets/(\w+)\}", source["secureJsonData"]["password"])
    assert secret in services["grafana"]["secrets"]
    assert secret in services["postgres"]["secrets"]
    for panel in PANELS:
        for used in (panel["datasource"], panel["targets"][0]["datasource"]):
            assert used == {"type": source["type"], "uid": source["uid"]}
