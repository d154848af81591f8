"""Where it is measured, and of which program."""

import os
import platform
import sqlite3
import subprocess
from pathlib import Path
from typing import Any

from load.bench.environments import HERE


def facts(command: str) -> dict[str, Any]:
    """Return what whoever reads the figures should know."""
    return {
        "processor": _processor(),
        "processors": os.cpu_count(),
        "system": f"{platform.system()} {platform.release().split('-')[0]}",
        "python": platform.python_version(),
        "sqlite": sqlite3.sqlite_version,
        "priority": "usual" if os.sched_getscheduler(0) == os.SCHED_OTHER else "real-time",
        "commit": _commit(),
        "command": command,
    }


def _processor() -> str:
    file = Path("/proc/cpuinfo")
    lines = file.read_text().splitlines() if file.exists() else []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.machine()


def _commit() -> str:
    done = subprocess.run(
        ["git", "describe", "--always", "--dirty"],  # noqa: S607 - the git of whoever measures
        cwd=HERE,
        capture_output=True,
        text=True,
        check=False,
    )
    return done.stdout.strip() or "unknown"
