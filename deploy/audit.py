"""`make audit`: asks pip-audit whether a locked package has a known vulnerability.

Exit status 0: every package was checked and none has one. 1: at least one has. 2: not every package could be checked,
for instance because the advisories are unavailable. `make` turns both into its own 2; CI runs this module.
"""

import json
import subprocess
import sys

LOCK = "requirements-dev.txt"  # holds the packages of the other locks
COMMAND = [sys.executable, "-m", "pip_audit", f"--requirement={LOCK}", "--require-hashes", "--disable-pip"]
OPTIONS = ["--format=json", "--progress-spinner=off", "--timeout=10"]


def main() -> int:
    done = subprocess.run(COMMAND + OPTIONS, capture_output=True, text=True)  # noqa: S603 - a constant
    lines, status = judge(done.stdout, done.stderr)
    print(*(f"audit: {line}" for line in lines), sep="\n")
    return status


def judge(report: str, errors: str) -> tuple[list[str], int]:
    """What to print, and the exit status. `report` is what pip-audit wrote as JSON, `errors` its standard error."""
    try:
        packages = json.loads(report)["dependencies"]
    except ValueError:
        reason = (errors.strip() or "it printed nothing").splitlines()[-1]
        return [f"NOT DONE: pip-audit got no advisories: {reason}"], 2
    checked = [package for package in packages if "skip_reason" not in package]
    if not checked:
        return [f"NOT DONE: the advisory service answered for none of {len(packages)} packages; is it reachable?"], 2
    vulnerable = [package for package in checked if package["vulns"]]
    lines = [
        f"{package['name']} {package['version']}: {advisory['id']}, "
        f"fixed in {', '.join(advisory['fix_versions']) or 'no version yet'}"
        for package in vulnerable
        for advisory in package["vulns"]
    ]
    lines += [
        f"NOT CHECKED: {package['name']}: {package['skip_reason']}" for package in packages if package not in checked
    ]
    lines.append(f"{len(vulnerable)} of {len(checked)} checked packages have a known vulnerability")
    if vulnerable:
        return lines, 1
    return lines, 0 if len(checked) == len(packages) else 2


if __name__ == "__main__":
    sys.exit(main())
