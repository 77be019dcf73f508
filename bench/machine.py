"""Describes the machine and the servers of a run."""

import os
import platform
import subprocess
from pathlib import Path
from typing import Any

import psutil

from bench.ground import filesystem
from bench.load.full_speed import client_name
from bench.stack import Stack
from devstack.programs import ROOT


def describe(stack: Stack) -> dict[str, Any]:
    with stack.connect() as connection, stack.redis() as client:
        postgres = connection.execute("show server_version").fetchone()[0]
        redis = client.info("server")["redis_version"]
    return {
        "cpu": _cpu_model(),
        "cores": os.cpu_count(),
        "memory_gib": round(psutil.virtual_memory().total / 2**30, 1),
        "disk": filesystem(stack.home),
        "kernel": platform.release(),
        "python": platform.python_version(),
        "postgres": postgres,
        "redis": redis,
        "client": client_name(),
        "load_before": round(os.getloadavg()[0], 2),
        "revision": _revision(),
    }


def _cpu_model() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.processor()
    return next((line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")), platform.machine())


def _revision() -> str:
    done = subprocess.run(["git", "describe", "--always", "--dirty"], cwd=ROOT, capture_output=True, text=True)
    return done.stdout.strip() or "unknown"
