"""`make audit`: asks pip-audit whether a package of this environment has a known vulnerability.

Exit status 1 where one has. Where the advisories are out of reach it says `audit: skipped` with the reason: a
package that nobody could be asked about has not passed.
"""

import json
import subprocess
import sys

COMMAND = [sys.executable, "-m", "pip_audit", "--local", "--format=json", "--progress-spinner=off", "--timeout=10"]


def main() -> int:
    found = subprocess.run(COMMAND, capture_output=True, text=True)  # noqa: S603 - a constant
    try:
        packages = json.loads(found.stdout)["dependencies"]
    except ValueError:
        last = (found.stderr.strip() or "it printed nothing").splitlines()[-1]
        print(f"audit: skipped: pip-audit got no advisories: {last}")
        return 0
    asked = [package for package in packages if "skip_reason" not in package]
    vulnerable = [package for package in asked if package["vulns"]]
    for package in vulnerable:
        for advisory in package["vulns"]:
            mended = ", ".join(advisory["fix_versions"]) or "no version yet"
            print(f"audit: {package['name']} {package['version']}: {advisory['id']}, mended in {mended}")
    if not asked:
        print(f"audit: skipped: the advisory service knows none of {len(packages)} packages; is it within reach?")
    else:
        print(f"audit: {len(vulnerable)} of {len(asked)} packages have a known vulnerability")
        for package in packages:
            if "skip_reason" in package:
                print(f"audit: not asked about {package['name']}: {package['skip_reason']}")
    return 1 if vulnerable else 0


if __name__ == "__main__":
    sys.exit(main())
