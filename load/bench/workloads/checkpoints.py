"""Checkpoints: what a saver costs, without a server; `load.bench.savers` measures in a process."""

import asyncio
import json
import sys
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory

from load.bench.environments import HERE
from load.bench.server import WORK, let_use_all_processors
from load.bench.workloads.bench import Bench, Measures

ROOT = HERE.parent.parent


async def checkpoints(bench: Bench) -> Measures:
    """Measure our saver beside LangGraph's own."""
    WORK.mkdir(exist_ok=True)
    with TemporaryDirectory(dir=WORK) as folder:
        (Path(folder) / "data").mkdir(mode=0o700)
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "load.bench.savers"),
            *(str(Path(folder) / "data"), str(bench.pace.saver_windows)),
            stdout=asyncio.subprocess.PIPE,
            cwd=ROOT,
        )
        let_use_all_processors(process.pid)
        output, _ = await process.communicate()
    if process.returncode:
        raise RuntimeError(f"load.bench.savers ended with {process.returncode}")
    found: dict[str, list[float]] = json.loads(output)
    return {f"{name}, runs/s": median(values) for name, values in found.items()}
