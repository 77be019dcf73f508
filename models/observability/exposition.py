"""The /metrics page of a role: the values of all its processes, summed.

PROMETHEUS_MULTIPROC_DIR names a folder in which prometheus_client has each process write its values into files. They
outlive the process: what it counted before a kill -9 stays counted. A folder belongs to one role (the web, or one
worker with its children) on one machine, and is empty when the role first starts.
"""

import fcntl
import os
import platform
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from prometheus_client import REGISTRY, CollectorRegistry, Info, Metric, multiprocess
from prometheus_client.mmap_dict import MmapedDict
from prometheus_client.registry import Collector

DEAD = "dead"  # takes the place of the process id in the file that keeps the values of ended processes


def shared_folder() -> Path | None:
    """The folder that the processes of this role share; None if each keeps its own values."""
    folder = os.environ.get("PROMETHEUS_MULTIPROC_DIR")
    return Path(folder) if folder else None


def role_registry(version: str) -> CollectorRegistry:
    """The metrics of all processes of this role, and the version of the build."""
    registry = CollectorRegistry()
    folder = shared_folder()
    registry.register(_SharedMetrics(folder) if folder else REGISTRY)
    build = Info("energy_build", "Always 1; the build is in the labels", registry=registry)
    build.info({"version": version, "python": platform.python_version()})
    return registry


class _SharedMetrics(Collector):
    def __init__(self, folder: Path):
        self._folder = folder

    def collect(self) -> Iterator[Metric]:
        with _locked(self._folder):
            _merge_ended_processes(self._folder)
            # The file of a process that is just starting is empty.
            files = [str(file) for file in self._folder.glob("*.db") if file.stat().st_size]
            yield from list(multiprocess.MultiProcessCollector.merge(files))


@contextmanager
def _locked(folder: Path) -> Iterator[None]:
    """Several processes may be scraped at once; none may read a file while another merges it."""
    with (folder / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def _merge_ended_processes(folder: Path) -> None:
    """Adds the values of ended processes into one file, so that respawned processes do not fill the folder."""
    files = [file for file in folder.glob("*.db") if _owner(file) != DEAD and not _is_alive(int(_owner(file)))]
    for pid in {_owner(file) for file in files}:
        multiprocess.mark_process_dead(pid, folder)  # removes its gauges: they are sums over live processes
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
        pass  # it belongs to another user
    return True
