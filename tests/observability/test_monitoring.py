"""deploy/prometheus, deploy/grafana and docs/operations.md name metrics and log events that exist, and all of them."""

import json
import re
import shutil
import subprocess
from datetime import UTC, datetime

import pytest
import yaml
from prometheus_client.parser import text_string_to_metric_families

from models.observability.exposition import role_registry
from tests import ROOT
from tests.rollups import start_watermark
from workers import metrics as _workers_metrics  # noqa: F401 - registers its metrics

RULES = ROOT / "deploy/prometheus/rules.yml"
CONFIG = ROOT / "deploy/prometheus/prometheus.yml"
DASHBOARD = ROOT / "deploy/grafana/dashboards/engine.json"
DOCUMENT = (ROOT / "docs/operations.md").read_text()
NAME = re.compile(r"\benergy_[a-z_]+")

needs_promtool = pytest.mark.skipif(not shutil.which("promtool"), reason="needs promtool (Debian: prometheus)")


@pytest.fixture
def families(client, database) -> dict:
    """The metrics of web and worker by name, from this process, which registers both."""
    from prometheus_client import generate_latest

    start_watermark(database, datetime.now(UTC))
    text = client.get("/metrics").text + generate_latest(role_registry("test")).decode()
    found = {family.name: family for family in text_string_to_metric_families(text)}
    return {name: family for name, family in found.items() if name.startswith("energy_")}


def names_of(family) -> set[str]:
    """Its names in queries: a histogram has several series, a counter ends with _total."""
    suffixes = {"counter": ["_total"], "histogram": ["_bucket", "_sum", "_count"]}.get(family.type, [""])
    return {family.name + suffix for suffix in suffixes}


def rules() -> list[dict]:
    return [rule for group in yaml.safe_load(RULES.read_text())["groups"] for rule in group["rules"]]


def panels() -> list[dict]:
    return [panel for panel in json.loads(DASHBOARD.read_text())["panels"] if panel["type"] != "row"]


def test_rules_and_dashboard_use_metrics_that_exist(families):
    exist = set().union(*map(names_of, families.values()))
    used = [rule["expr"] for rule in rules()] + [t["expr"] for panel in panels() for t in panel["targets"]]
    assert len(used) > 40
    for expression in used:
        names = set(NAME.findall(expression))
        assert names <= exist, expression
        assert names or "up{" in expression


def test_the_dashboard_shows_every_metric_that_can_raise_an_alarm():
    alarming = set(NAME.findall(" ".join(rule["expr"] for rule in rules())))
    assert alarming <= set(NAME.findall(" ".join(t["expr"] for panel in panels() for t in panel["targets"])))


def test_the_panels_of_the_dashboard_do_not_overlap():
    for dashboard in DASHBOARD.parent.glob("*.json"):
        cells = []
        for place in (panel["gridPos"] for panel in json.loads(dashboard.read_text())["panels"]):
            cells += [(place["x"] + x, place["y"] + y) for x in range(place["w"]) for y in range(place["h"])]
        assert len(cells) == len(set(cells)), dashboard.name
        assert max(x for x, _ in cells) < 24, dashboard.name


def test_rules_and_dashboard_use_labels_that_exist(families):
    labels = {"le", "job", "instance", "severity"}
    for family in families.values():
        labels |= {label for sample in family.samples for label in sample.labels}
    for expression in [rule["expr"] for rule in rules()] + [t["expr"] for p in panels() for t in p["targets"]]:
        for grouped in re.findall(r"by \(([^)]*)\)", expression):
            assert set(re.split(r",\s*", grouped)) <= labels, expression
        assert set(re.findall(r"[{,]\s*([a-z_]+)\s*[=!]", expression)) <= labels, expression


def test_reasons_of_refusals_exist_and_are_documented(families):
    reasons = {sample.labels["reason"] for sample in families["energy_requests_refused"].samples}
    for rule in rules():
        for asked in re.findall(r'reason=~"([^"]+)"', rule["expr"]):
            assert set(asked.split("|")) <= reasons
    for reason in reasons:
        assert f"`{reason}`" in DOCUMENT


def test_every_metric_is_documented_and_every_documented_one_exists(families):
    documented = set(re.findall(r"^- `(energy_[a-z_]+)", DOCUMENT, re.MULTILINE))
    shown = {name + ("_total" if family.type == "counter" else "") for name, family in families.items()}
    assert documented == shown


def test_labels_are_documented_as_they_are(families):
    for name, labels in re.findall(r"^- `(energy_[a-z_]+)\{([a-z,]+)\}`", DOCUMENT, re.MULTILINE):
        family = families[name.removesuffix("_total")]
        assert {label for sample in family.samples for label in sample.labels} - {"le"} == set(labels.split(","))


def test_every_alarm_is_explained_and_every_explained_one_exists():
    metrics, alarms = DOCUMENT.split("## When an alarm rings")
    names = [rule["alert"] for rule in rules()]
    assert sorted(re.findall(r"^- `([A-Z]\w+)`: ", alarms, re.MULTILINE)) == sorted(names)
    for name in set(names) - {"WebDown", "WorkersDown"}:
        assert f"`{name}`" in metrics, name
    assert all({"severity"} == set(rule["labels"]) and rule["annotations"]["summary"] for rule in rules())


def test_every_log_event_is_documented_and_every_documented_one_exists():
    code = "".join(path.read_text() for room in ("models", "webapp", "workers") for path in (ROOT / room).rglob("*.py"))
    events = set(re.findall(r'\b(?:log\.\w+|tolerate_outage|warn_of_outage)\(\s*"(\w+)"', code))
    assert len(events) > 20
    section = DOCUMENT.split("## Logs")[1]
    heads = " ".join(re.findall(r"^- (.+?): ", section, re.MULTILINE))
    assert set(re.findall(r"`(\w+)`", heads)) == events


def test_prometheus_scrapes_the_services_of_the_compose_file():
    services = yaml.safe_load((ROOT / "docker-compose.yml").read_text())["services"]
    jobs = {job["job_name"]: job["dns_sd_configs"][0] for job in yaml.safe_load(CONFIG.read_text())["scrape_configs"]}
    assert {name: job["names"] for name, job in jobs.items()} == {"web": ["web"], "worker": ["worker"]}
    assert f"--port={jobs['web']['port']}" in services["web"]["command"]
    assert f":-{jobs['worker']['port']}}}" in services["worker"]["environment"]["WORKER_METRICS_PORT"]
    asked = set(re.findall(r'job="(\w+)"', RULES.read_text()))
    assert asked <= set(jobs)


def test_grafana_reads_the_prometheus_of_the_compose_file():
    source = yaml.safe_load((ROOT / "deploy/grafana/provisioning/datasources/prometheus.yml").read_text())
    (source,) = source["datasources"]
    assert source["url"] == "http://prometheus:9090"
    assert {panel["datasource"]["uid"] for panel in panels()} == {source["uid"]}
    provider = yaml.safe_load((ROOT / "deploy/grafana/provisioning/dashboards/engine.yml").read_text())["providers"][0]
    volumes = yaml.safe_load((ROOT / "docker-compose.yml").read_text())["services"]["grafana"]["volumes"]
    assert f"./deploy/grafana/dashboards:{provider['options']['path']}:ro" in volumes


@needs_promtool
def test_promtool_accepts_rules_and_configuration():
    for command in (["rules", RULES], ["config", "--syntax-only", CONFIG]):
        done = subprocess.run(["promtool", "check", *map(str, command)], capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stdout + done.stderr


@needs_promtool
def test_promtool_accepts_every_query_of_the_dashboard(tmp_path):
    queries = [t["expr"].replace("$__rate_interval", "1m") for panel in panels() for t in panel["targets"]]
    recorded = [{"record": f"panel:{number}", "expr": query} for number, query in enumerate(queries)]
    file = tmp_path / "panels.yml"
    file.write_text(yaml.safe_dump({"groups": [{"name": "panels", "rules": recorded}]}))
    done = subprocess.run(["promtool", "check", "rules", file], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
