"""`make audit`: asks pip-audit whether a package of this environment has a known vulnerability.

Exit status 1 if one has. If the advisories are unavailable it prints `audit: skipped` and the reason, which is not a
pass.
"""

import json
import subprocess
import sys

COMMAND = [sys.executable, "-m", "pip_audit", "--local", "--format=json", "--progress-spinner=off", "--timeout=10"]


def main() -> int:
    done = subprocess.run(COMMAND, capture_output=True, text=True)  # noqa: S603 - a constant
    try:
        packages = json.loads(done.stdout)["dependencies"]
    except ValueError:
        reason = (done.stderr.strip() or "it printed nothing").splitlines()[-1]
        print(f"audit: skipped: pip-audit got no advisories: {reason}")
        return 0
    checked = [package for package in packages if "skip_reason" not in package]
    vulnerable = [package for package in checked if package["vulns"]]
    for package in vulnerable:
        for advisory in package["vulns"]:
            fixed = ", ".join(advisory["fix_versions"]) or "no version yet"
            print(f"audit: {package['name']} {package['version']}: {advisory['id']}, fixed in {fixed}")
    if not checked:
        print(f"audit: skipped: the advisory service knows none of {len(packages)} packages; is it reachable?")
    else:
        print(f"audit: {len(vulnerable)} of {len(checked)} packages have a known vulnerability")
        for package in packages:
            if "skip_reason" in package:
                print(f"audit: not checked: {package['name']}: {package['skip_reason']}")
    return 1 if vulnerable else 0


if __name__ == "__main__":
    sys.exit(main())
