"""The figures of all processes of a role as one, where PROMETHEUS_MULTIPROC_DIR names the role's folder.

prometheus_client has each process write its figures into files there, which outlive it: what a process counted
before a kill -9 stays counted. A folder belongs to one role (web, or the workers of one parent) on one machine and
is empty when the role is first started.
"""

import fcntl
import os
import platform
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from prometheus_client import REGISTRY, CollectorRegistry, Metric, multiprocess
from prometheus_client.core import GaugeMetricFamily
from prometheus_client.mmap_dict import MmapedDict
from prometheus_client.registry import Collector

DEAD = "dead"  # in a file's name, where others have a process id


def shared_folder() -> Path | None:
    """Where the processes of this role share their figures; None where each keeps its own."""
    folder = os.environ.get("PROMETHEUS_MULTIPROC_DIR")
    return Path(folder) if folder else None


def role_registry(version: str) -> CollectorRegistry:
    """What a scrape of this role shows: the figures of its processes, and which build they are of."""
    registry = CollectorRegistry()
    folder = shared_folder()
    registry.register(_Shared(folder) if folder else REGISTRY)
    registry.register(_Build(version))
    return registry


class _Shared(Collector):
    def __init__(self, folder: Path):
        self._folder = folder

    def collect(self) -> Iterator[Metric]:
        with _alone_in(self._folder):
            _merge_the_dead(self._folder)
            # An empty file is that of a process which starts just now.
            files = [str(file) for file in self._folder.glob("*.db") if file.stat().st_size]
            yield from list(multiprocess.MultiProcessCollector.merge(files))


class _Build(Collector):
    def __init__(self, version: str):
        self._version = version

    def collect(self) -> Iterator[Metric]:
        says = "Always 1; what runs is in the labels"
        build = GaugeMetricFamily("energy_build_info", says, None, ["version", "python"])
        build.add_metric([self._version, platform.python_version()], 1)
        yield build


@contextmanager
def _alone_in(folder: Path) -> Iterator[None]:
    """Several processes may be scraped at once, and none may read what another is merging."""
    with (folder / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def _merge_the_dead(folder: Path) -> None:
    """Adds what processes that are gone have counted to one file, so that respawning does not fill the folder."""
    files = [file for file in folder.glob("*.db") if _owner(file) != DEAD and not _is_alive(int(_owner(file)))]
    for pid in {_owner(file) for file in files}:
        multiprocess.mark_process_dead(pid, folder)  # its gauges: they tell of the living only
    for file in filter(Path.exists, files):
        if file.stat().st_size:
            merged = MmapedDict(str(folder / f"{file.stem.rsplit('_', 1)[0]}_{DEAD}.db"))
            for key, value, _, _ in MmapedDict.read_all_values_from_file(file):
                merged.write_value(key, merged.read_value(key)[0] + value, 0.0)
            merged.close()
        file.unlink()


def _owner(file: Path) -> str:
    return file.stem.rsplit("_", 1)[1]


def _is_alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True
