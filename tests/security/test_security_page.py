"""docs/security.md agrees with the code and the tests; secrets."""

import re
import subprocess
from types import SimpleNamespace

from devstack import programs
from models.settings import load_settings
from tests import ROOT


def test_every_test_that_the_security_page_names_exists():
    page = (ROOT / "docs/security.md").read_text()
    named = re.findall(r"`(tests/)?(test_\w+\.py)::(\w+)`", page)
    assert len(named) > 30
    for _, file, name in named:
        (path,) = (ROOT / "tests").rglob(file)
        assert re.search(rf"^def {name}\(", path.read_text(), re.MULTILINE), f"{file}::{name}"


def test_every_threat_names_a_test():
    section = (ROOT / "docs/security.md").read_text().split("## Threats")[1].split("\n## ")[0]
    threats = re.split(r"^- ", section, flags=re.MULTILINE)[1:]
    assert len(threats) >= 25
    for threat in threats:
        assert "::test_" in threat, threat


def test_the_bounds_in_the_security_page_are_those_of_the_code(servers):
    page = (ROOT / "docs/security.md").read_text().split("## Bounds")[1].split("\n## ")[0]
    settings = load_settings()
    flags = programs.granian(SimpleNamespace(host="x", port=1, web_workers=1))
    for name, value in {
        "MAX_BODY_BYTES": settings.max_body_bytes,
        "MAX_BATCH_READINGS": settings.max_batch_readings,
        "STREAM_MAX_ENTRIES": settings.stream_max_entries,
        "BODY_CONCURRENCY": settings.body_concurrency,
        "BODY_CONCURRENCY_PER_KEY": settings.body_concurrency_per_key,
        "DB_TIMEOUT_SECONDS": settings.db_timeout_seconds,
        "--http1-buffer-size": flags[flags.index("--http1-buffer-size") + 1],
        "--http1-header-read-timeout": flags[flags.index("--http1-header-read-timeout") + 1],
        "--backpressure": flags[flags.index("--backpressure") + 1],
        "--blocking-threads": flags[flags.index("--blocking-threads") + 1],
    }.items():
        row = re.search(rf"^\| .*`{name}`.*$", page, re.MULTILINE)
        assert row, name
        assert re.search(rf"\b{value:g}\b" if isinstance(value, float) else rf"\b{value}\b", row[0].replace(",", "")), (
            name
        )


def test_secrets_are_not_in_the_repository():
    tracked = subprocess.run(["git", "ls-files"], cwd=ROOT, capture_output=True, text=True, check=True).stdout.split()
    assert not [path for path in tracked if path == ".env" or path.startswith("secrets/")]
