"""The containers of docker-compose.yml: images, secrets, bounds, servers, networks, order and stopping."""

import os
import re
import runpy
import subprocess
from pathlib import Path

import psycopg
import pytest
import redis

from devstack import redis_server
from models.database import WORKER_POOL_SIZE
from tests import ROOT
from tests.deploy.compose_file import (
    ENGINE_SERVICES,
    MONITORING,
    PROXY,
    compose,
    dockerfile,
    option,
    seconds,
)


def test_passwords_are_in_files_and_in_no_environment(services):
    for name, service in services.items():
        for variable, value in service.get("environment", {}).items():
            if re.search("PASSWORD|SECRET", variable):
                assert variable.endswith("_FILE"), f"{name}: {variable}"
                assert value.removeprefix("/run/secrets/") in service["secrets"], f"{name}: {variable}"
    for name, secret in compose(SECRETS="/elsewhere")["secrets"].items():
        assert secret == {"file": f"/elsewhere/{name}"}


def test_passwords_are_made_once_and_stay_out_of_the_repository(tmp_path):
    script = [ROOT / "deploy/create_secrets.sh"]
    folder = tmp_path / "secrets"
    subprocess.run(script, env=os.environ | {"SECRETS": str(folder)}, check=True)
    made = {path.name: path.read_text() for path in folder.iterdir()}
    assert {name for name in compose()["secrets"] if name not in made} == {"metrics_key", "tls_certificate", "tls_key"}
    assert len(set(made.values())) == len(made)
    assert folder.stat().st_mode & 0o777 == 0o700
    assert {path.stat().st_mode & 0o777 for path in folder.iterdir()} == {0o444}
    subprocess.run(script, env=os.environ | {"SECRETS": str(folder)}, check=True)
    assert {path.name: path.read_text() for path in folder.iterdir()} == made
    assert "/secrets/" in (ROOT / ".gitignore").read_text().splitlines()


def test_images_are_pinned_by_digest(services):
    """A tag moves; the digest of what was tested does not."""
    given = {service["image"] for name, service in services.items() if name not in ENGINE_SERVICES}
    given |= {stage[0][1] for stage in dockerfile()}
    for image in given:
        assert re.fullmatch(r"[\w/.-]+:v?\d[\w.-]*@sha256:[0-9a-f]{64}", image), image
    assert services["web"]["build"] == "."


def test_every_container_is_bounded(services):
    for name, service in services.items():
        assert re.fullmatch(r"\d+(\.\d+)?[mg]", service["mem_limit"]), name
        assert float(service["cpus"]) >= 0, name
        assert service["pids_limit"] > 0, name
        assert service["ulimits"] == {"nofile": 65536}, name


def test_redis_and_postgres_may_use_what_they_are_set_to(services):
    redis = services["redis"]["command"]
    assert megabytes(services["redis"]["mem_limit"]) > 2 * megabytes(redis[redis.index("--maxmemory") + 1][:-1])
    given = dict(word.removeprefix("-c").split("=", 1) for word in services["postgres"]["command"][1:])
    caches = megabytes(given["shared_buffers"][:-1]) + megabytes(given["effective_cache_size"][:-1])
    assert megabytes(services["postgres"]["mem_limit"]) > caches
    processes = int(option(services["web"]["command"], "--workers"))
    threads = int(option(services["web"]["command"], "--blocking-threads"))
    assert services["web"]["pids_limit"] > 2 * processes * threads
    assert megabytes(services["proxy"]["mem_limit"]) > megabytes(services["proxy"]["tmpfs"][0].split("size=")[1])


def megabytes(size: str) -> float:
    return float(size[:-1]) * {"m": 1, "g": 1024}[size[-1].lower()]


# ── Servers ──────────────────────────────────────────────────────────────────────────────────────────────────────


def test_redis_is_durable(services, tmp_path):
    command = services["redis"]["command"]
    given = dict(zip(command[::2], command[1::2], strict=True))
    assert given["--appendonly"] == "yes"
    assert given["--appendfsync"] == "always"
    assert given["--save"] == ""
    assert given["--maxmemory-policy"] == "noeviction"
    embedded = redis_server.prepare(tmp_path).argv[1:]
    embedded = dict(zip(embedded[::2], embedded[1::2], strict=True))
    machine = {"--bind", "--port", "--dir", "--loglevel", "--aclfile"}
    assert {name: value for name, value in given.items() if name not in machine} == {
        name: value for name, value in embedded.items() if name not in machine
    }
    assert services["redis"]["volumes"] == [f"redis:{given['--dir']}"]


@pytest.mark.slow
def test_redis_starts_with_these_options_and_wants_its_password(services, tmp_path):
    shell, option, script, name = services["redis"]["entrypoint"]
    check = services["redis"]["healthcheck"]["test"][1]

    def here(text: str) -> str:
        text = text.replace("$$", "$").replace("/tmp/", f"{tmp_path}/").replace("/run/secrets", str(tmp_path))
        return text.replace("/data", str(tmp_path)).replace("exec redis-server", f"exec {redis_server.executable()}")

    start = [shell, option, here(script), name, *map(here, services["redis"]["command"])]
    start += ["--port", "0", "--unixsocket", f"{tmp_path}/s"]
    assert subprocess.run(start, cwd=tmp_path, capture_output=True, check=False).returncode == 1, "without a password"
    (tmp_path / "redis_password").write_text("a secret\n")
    server = subprocess.Popen(start, cwd=tmp_path, stdout=subprocess.PIPE, text=True)
    try:
        assert any("ready to accept" in line.lower() for line in server.stdout)
        with redis.Redis(unix_socket_path=f"{tmp_path}/s") as client, pytest.raises(redis.AuthenticationError):
            client.ping()
        with redis.Redis(unix_socket_path=f"{tmp_path}/s", password="a secret") as client:
            assert client.ping()
        assert "redis_password" in check
        assert (tmp_path / "password.conf").stat().st_mode & 0o777 == 0o600
        assert "a secret" not in Path(f"/proc/{server.pid}/cmdline").read_text()
    finally:
        server.terminate()
        server.communicate(timeout=10)


def test_postgres_commits_to_disk_and_runs_in_utc(services, servers):
    given = dict(word.removeprefix("-c").split("=", 1) for word in services["postgres"]["command"][1:])
    for name in ("fsync", "synchronous_commit", "full_page_writes"):
        assert given[name] == "on"
    assert given["timezone"] == given["log_timezone"] == "UTC"
    with psycopg.connect(servers.database_url) as connection:
        known = {name for (name,) in connection.execute("select name from pg_settings")}
    assert {name.lower() for name in given} <= {name.lower() for name in known}


def test_postgres_has_connections_for_what_is_configured(services):
    given = dict(word.removeprefix("-c").split("=", 1) for word in services["postgres"]["command"][1:])
    web = int(option(services["web"]["command"], "--workers")) * int(services["web"]["environment"]["DB_POOL_SIZE"])
    a_worker = int(option(services["worker"]["command"], "--concurrency")) * WORKER_POOL_SIZE
    assert web + 10 * a_worker < int(given["max_connections"])


def test_data_of_postgres_is_on_the_volume(services):
    # From 18 on the image refuses a volume at /var/lib/postgresql/data.
    major = int(re.match(r"postgres:(\d+)", services["postgres"]["image"])[1])
    assert major >= 18
    assert services["postgres"]["volumes"][0] == "postgres:/var/lib/postgresql"
    assert set(compose()["volumes"]) == {"postgres", "redis"} | MONITORING


# ── Network, order, stopping, restrictions ───────────────────────────────────────────────────────────────────────


def test_only_the_web_and_the_proxy_are_published(services):
    published = {name: service["ports"] for name, service in services.items() if "ports" in service}
    assert set(published) == {"web"} | MONITORING | PROXY
    on_this_machine = {name for name, ports in published.items() if all(p.startswith("127.0.0.1:") for p in ports)}
    assert on_this_machine == {"web"} | MONITORING, "the proxy has TLS"
    assert services["web"]["ports"] == ["127.0.0.1:8000:8000"]
    assert compose(WEB_BIND="0.0.0.0", WEB_PORT="80")["services"]["web"]["ports"] == ["0.0.0.0:80:8000"]


def test_networks_join_only_what_belongs_together(services):
    networks = compose()["networks"]
    assert {name for name, network in networks.items() if network != {"internal": True}} == {"outside"}
    members = {name: {each for each, service in services.items() if name in service["networks"]} for name in networks}
    assert members == {
        "inside": {"postgres", "redis"} | ENGINE_SERVICES,
        "front": {"proxy", "web"},
        "monitoring": {"web", "worker"} | MONITORING,
        "reports": {"grafana", "postgres"},
        "outside": {"web", "proxy"} | MONITORING,
    }


def test_one_port_in_granian_health_check_publication_and_image(services):
    web = services["web"]
    port = option(web["command"], "--port")
    assert web["ports"][0].rsplit(":", 1)[1] == port
    assert web["healthcheck"]["test"][-1] == port
    assert ["EXPOSE", port] in [line[:2] for line in dockerfile()[-1]]


def test_worker_can_be_scaled(services):
    assert not {"container_name", "hostname", "ports"} & set(services["worker"])


def test_start_is_in_order(services):
    for name in ("web", "worker", "beat"):
        assert services[name]["depends_on"] == {
            "postgres": {"condition": "service_healthy"},
            "redis": {"condition": "service_healthy"},
            "migrate": {"condition": "service_completed_successfully"},
        }
    assert services["migrate"]["depends_on"] == {"postgres": {"condition": "service_healthy"}}
    assert services["migrate"]["restart"] == "no"


def test_every_long_running_service_has_a_health_check_and_is_restarted(services):
    for name, service in services.items():
        if name != "migrate":
            assert service["restart"] == "unless-stopped"
            assert seconds(service["healthcheck"]["timeout"]) <= seconds(service["healthcheck"]["interval"])


def test_stop_grace_periods_exceed_the_timeouts_inside(services, monkeypatch):
    monkeypatch.setenv("DATABASE_URL", services["worker"]["environment"]["DATABASE_URL"])
    monkeypatch.setenv("REDIS_URL", services["worker"]["environment"]["REDIS_URL"])
    settings = runpy.run_path(str(ROOT / "celeryconfig.py"))  # not imported: the tests' Celery has its own

    grace = {name: seconds(service["stop_grace_period"]) for name, service in services.items() if name != "migrate"}
    drain_seconds = int(services["worker"]["environment"]["DRAIN_SECONDS"])
    assert grace["worker"] > settings["worker_soft_shutdown_timeout"]
    assert grace["worker"] > 30 + drain_seconds  # the longest DRAIN_SECONDS, and a batch
    assert grace["web"] > int(option(services["web"]["command"], "--workers-kill-timeout"))
    assert float(services["web"]["environment"]["DB_TIMEOUT_SECONDS"]) < int(
        option(services["web"]["command"], "--workers-kill-timeout")
    )
    assert grace["postgres"] >= 60
    assert grace["redis"] >= 30


def test_containers_are_restricted(services):
    for name, service in services.items():
        assert service["read_only"] is True, name
        assert service["cap_drop"] == ["ALL"]
        assert service["security_opt"] == ["no-new-privileges:true"]
        assert "cap_add" not in service
        assert "privileged" not in service
    assert services["postgres"]["user"] == "postgres"
    assert services["redis"]["user"] == "redis"


def test_grafana_does_not_start_with_an_empty_password(services, tmp_path):
    shell, option, script = services["grafana"]["entrypoint"]
    script = script.replace("$$", "$").replace("/run.sh", "true")
    for password, status in (("", 1), ("s3cret", 0)):
        (tmp_path / "password").write_text(password)
        environment = {"GF_SECURITY_ADMIN_PASSWORD__FILE": str(tmp_path / "password")}
        assert subprocess.run([shell, option, script], env=environment, check=False).returncode == status


def test_folders_written_at_run_time_are_writable(services):
    for role in ("web", "worker"):
        assert services[role]["environment"]["PROMETHEUS_MULTIPROC_DIR"] in services[role]["tmpfs"]
    folder = str(Path(option(services["beat"]["command"], "--schedule")).parent)
    assert folder in services["beat"]["tmpfs"]
    assert services["beat"]["healthcheck"]["test"][-1] == folder
    assert "/var/run/postgresql" in services["postgres"]["tmpfs"]
    for service in services.values():
        assert "/tmp" in [folder.split(":")[0] for folder in service["tmpfs"]]
