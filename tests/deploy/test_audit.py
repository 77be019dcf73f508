import json

import pytest

from deploy.audit import COMMAND, LOCK, judge
from tests import ROOT

GOOD = {"name": "flask", "version": "3.1.3", "vulns": []}
BAD = {"name": "jinja2", "version": "2.0", "vulns": [{"id": "PYSEC-1", "fix_versions": ["3.0"]}]}
UNKNOWN = {"name": "celery", "skip_reason": "Dependency not found on PyPI"}


def judged(*packages: dict) -> tuple[str, int]:
    lines, status = judge(json.dumps({"dependencies": packages}), "")
    return "\n".join(lines), status


def test_packages_without_vulnerabilities_pass():
    assert judged(GOOD) == ("0 of 1 checked packages have a known vulnerability", 0)


def test_a_vulnerability_is_named_with_the_version_that_fixes_it():
    text, status = judged(GOOD, BAD, UNKNOWN)
    assert status == 1
    assert "jinja2 2.0: PYSEC-1, fixed in 3.0" in text
    assert "1 of 2 checked" in text


def test_a_package_that_was_not_checked_is_no_pass():
    text, status = judged(GOOD, UNKNOWN)
    assert status == 2
    assert "NOT CHECKED: celery" in text


@pytest.mark.parametrize(
    ("report", "errors"), [(json.dumps({"dependencies": [UNKNOWN]}), ""), ("", "ConnectionError: no route"), ("", "")]
)
def test_without_advisories_the_audit_is_not_done(report, errors):
    lines, status = judge(report, errors)
    assert status == 2
    assert lines[0].startswith("NOT DONE: ")
    assert (errors or "it ") in lines[0] or "none of 1" in lines[0]


def test_the_audit_is_of_the_lock_of_everything():
    assert f"--requirement={LOCK}" in COMMAND
    assert "-r requirements.in" in (ROOT / LOCK).with_suffix(".in").read_text()
