"""A Celery worker beside the stack's own, as another machine would run it."""

import contextlib
import os
import signal
import subprocess
import sys
import threading
from pathlib import Path

import psutil

from devstack.server import bound_to_parent

ROOT = Path(__file__).resolve().parents[2]
STOP_SECONDS = 15


class KeptWorker:
    """A Celery worker outside of devstack, restarted when it ends, as another machine's supervisor would."""

    def __init__(self, environment: dict[str, str], log: Path):
        self._environment, self._log = environment, log
        self._stopping = threading.Event()
        self.process = self._start()
        # The process ends with the thread that starts it, so this thread lives as long as the worker is needed.
        self._keeper = threading.Thread(target=self._keep, name="second-worker", daemon=True)
        self._keeper.start()

    def _start(self) -> subprocess.Popen:
        celery = [sys.executable, "-m", "celery", "--quiet", "-A", "workers", "worker"]
        options = ["--loglevel", "WARNING", "--concurrency", "2", "-n", "second@%h"]
        with self._log.open("ab") as log:
            return subprocess.Popen(
                bound_to_parent([*celery, *options], signal.SIGTERM),
                cwd=ROOT,
                env=self._environment,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )

    def family(self) -> list[psutil.Process]:
        parent = psutil.Process(self.process.pid)
        return [parent, *parent.children(recursive=True)]

    def stop(self) -> None:
        """A warm shutdown."""
        self._stopping.set()
        self._keeper.join()
        signal_group(self.process.pid, signal.SIGCONT)
        self.process.terminate()
        with contextlib.suppress(subprocess.TimeoutExpired):
            self.process.wait(STOP_SECONDS)
        signal_group(self.process.pid, signal.SIGKILL)
        self.process.wait()

    def _keep(self) -> None:
        while not self._stopping.wait(0.5):
            if self.process.poll() is not None:
                signal_group(self.process.pid, signal.SIGKILL)  # orphans
                self.process = self._start()


def signal_group(leader: int, number: signal.Signals) -> None:
    with contextlib.suppress(ProcessLookupError):
        os.killpg(leader, number)
