"""The check of the disks that hold the servers' data, if they are on this machine."""

import os
import shutil

from models.health.checks import Check, good, warning, wrong

MIB, GIB = 2**20, 2**30
# Postgres takes 16 MiB for a segment of its log.
FULL_BYTES = 64 * MIB
LOW_BYTES, LOW_SHARE = 10 * GIB, 0.1  # the lesser of the two


def check_disk(folders: list[str]) -> Check:
    """Names no folder: anybody may read /health/ready."""
    if not folders:
        return good("No folder is checked: DATA_FOLDERS is not set")
    try:
        usages = {os.stat(folder).st_dev: shutil.disk_usage(folder) for folder in folders}
    except OSError as error:
        return warning(f"A folder of DATA_FOLDERS can't be checked: {error.strerror}")
    least = min(usages.values(), key=lambda usage: usage.free)
    found = f"{least.free / GIB:,.1f} of {least.total / GIB:,.1f} GiB are free where the servers keep their data"
    figures = {"freeBytes": least.free, "totalBytes": least.total}
    if least.free < FULL_BYTES:
        return wrong(
            f"No space left: {least.free / MIB:,.0f} MiB are free where the servers keep their data", **figures
        )
    judge = warning if least.free < min(LOW_BYTES, LOW_SHARE * least.total) else good
    return judge(found, **figures)
