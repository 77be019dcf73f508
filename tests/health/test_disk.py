"""The check of the disk."""

import shutil
from collections import namedtuple

import pytest

from models.health.disk_check import GIB, MIB, check_disk

Usage = namedtuple("Usage", "total used free")


@pytest.mark.parametrize(
    ("total", "free", "verdict"),
    [
        (100 * GIB, 50 * GIB, "good"),
        (100 * GIB, 9 * GIB, "warning"),
        (2000 * GIB, 11 * GIB, "good"),  # less than a tenth, and enough for days
        (2000 * GIB, 9 * GIB, "warning"),
        (300 * MIB, 65 * MIB, "good"),
        (300 * MIB, 63 * MIB, "wrong"),
    ],
)
def test_the_free_space_is_judged_by_share_and_size(monkeypatch, tmp_path, total, free, verdict):
    monkeypatch.setattr(shutil, "disk_usage", lambda folder: Usage(total, total - free, free))
    check = check_disk([str(tmp_path)])
    assert (check.verdict, check.figures) == (verdict, {"freeBytes": free, "totalBytes": total})
    assert str(tmp_path) not in check.detail


def test_folders_elsewhere_are_not_checked():
    assert check_disk([]).verdict == "good"
    assert check_disk(["/absent"]).verdict == "warning"
