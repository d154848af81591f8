"""Put a scenario's load on a service of its own, and report what came of it.

    .venv/bin/python -m load.run SCENARIO [--duration SECONDS]

Starts `masterloop serve` on a free port of this machine, loads it, stops it, and writes
`load/reports/SCENARIO.html` and `.json`. The exit code is 0 if every bound of the scenario held, 1
if one did not, 2 if nothing was measured.
"""

import argparse
import asyncio
import json
import os
import platform
import signal
import sys
from collections.abc import Mapping
from importlib.metadata import version
from pathlib import Path
from typing import Any

import anyio
import uvloop

from load.overload import Overloading, Stage
from load.recorder import Recorder
from load.report import render
from load.scenario import Overload, Scenario, load_scenario, names
from load.service import Service, ServiceFailed, open_service
from load.shapes import Soak
from load.summary import holds, summarise
from load.watching import watch
from operations.errors import ConfigurationError

REPORTS = Path(__file__).with_name("reports")
LOCUSTFILE = Path(__file__).with_name("locustfile.py")
NOT_MEASURED = 2  # exit code
LAST_TASKS = 15  # seconds that users have to end what they are at
_LATE = 60.0  # seconds beyond its time after which locust hangs


class LoadFailed(Exception):
    """Nothing was measured, as what makes the load failed; its log says why."""


class Files:
    """Where what is written of a scenario goes."""

    def __init__(self, folder: Path, name: str) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self.page = folder / f"{name}.html"
        self.summary = folder / f"{name}.json"
        self.service_log = folder / f"{name}.service.log"
        self.users_log = folder / f"{name}.users.log"
        self.requests = folder / f"{name}.requests.jsonl"
        self.samples = folder / f"{name}.samples.jsonl"


async def put_load(scenario: Scenario, files: Files) -> dict[str, Any]:
    """Do the scenario, and return what it came to."""
    found: dict[str, float] = {}
    stages: list[Stage] = []
    span = None
    async with open_service(scenario.environment, files.service_log) as service:
        pace = None
        if isinstance(scenario.shape, Soak):
            pace = await _pace(scenario, scenario.shape, service, files)
        with files.samples.open("w", buffering=1) as samples:
            async with anyio.create_task_group() as watching:
                watching.start_soon(watch, service.url, service.process.pid, samples)
                if scenario.overload is None:
                    await _users(scenario, service, files, scenario.duration, pace)
                else:
                    done = await _overload(scenario.overload, scenario.duration, service, files)
                    found, stages = done.measures(), [*done.stages]
                    span = done.over.at, done.over.at + done.over.seconds
                watching.cancel_scope.cancel()
        found["exit_code"] = await service.stop()
    summary = summarise(scenario, _lines(files.requests), _lines(files.samples), found, span)
    return {**summary, "stages": [stage.row() for stage in stages], "machine": _machine()}


async def _overload(plan: Overload, duration: float, service: Service, files: Files) -> Overloading:
    with files.requests.open("w") as file:
        overloading = Overloading(plan, duration, service.port, Recorder(file))
        await overloading.run()
    return overloading


async def _pace(scenario: Scenario, shape: Soak, service: Service, files: Files) -> float:
    """Return how many tasks a second each user of a soak is to do."""
    print(f"measuring for {shape.calibration:g} s what it can do ...", flush=True)
    await _users(scenario, service, files, shape.calibration, None)
    tasks: int = sum(line["tasks"] for line in _lines(files.requests))
    return tasks / shape.calibration * shape.share / shape.users


async def _users(
    scenario: Scenario, service: Service, files: Files, duration: float, pace: float | None
) -> None:
    """Have locust's users do what they do for so many seconds.

    Raises:
        LoadFailed: locust failed, or did not end.
    """
    command = [sys.executable, "-m", "locust", "--locustfile", str(LOCUSTFILE), "--headless"]
    command += ["--host", service.url, "--stop-timeout", str(LAST_TASKS), "--only-summary"]
    command += ["--exit-code-on-error", "0"]
    environment = {
        **os.environ,
        "LOAD_SCENARIO": scenario.name,
        "LOAD_DURATION": str(duration),
        "LOAD_RECORD": str(files.requests),
        **({} if pace is None else {"LOAD_PACE": str(pace)}),
    }
    with files.users_log.open("wb") as log, anyio.move_on_after(duration + LAST_TASKS + _LATE):
        done = await anyio.run_process(
            command, check=False, stdin=None, stdout=log, stderr=log, env=environment
        )
        if done.returncode == 0:
            return
    raise LoadFailed(f"the users of {scenario.name} failed; see {files.users_log}")


def _lines(file: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in file.read_text().splitlines()]


def _machine() -> dict[str, str]:
    return {
        "cores": str(os.cpu_count()),
        "Python": platform.python_version(),
        "langgraph": version("langgraph"),
        "system": platform.system(),
    }


def _tell(summary: Mapping[str, Any], files: Files) -> None:
    for one in summary["verdict"]:
        found = "not measured" if one["found"] is None else f"{one['found']:.4g}"
        word = "holds" if one["holds"] else "DOES NOT HOLD"
        print(f"{one['measure']:>28}  {found:>12}  ({one['bound']})  {word}")
    for stage in summary["stages"]:
        figures = (
            f"{name} {value:.4g}"
            for name, value in stage.items()
            if name != "stage" and value is not None
        )
        print(f"{stage['stage']}: {', '.join(figures)}")
    for problem, count in summary["problems"].items():
        print(f"{count} x {problem}")
    print(f"see {files.page}")


async def _main(scenario: Scenario, files: Files) -> int:
    task = asyncio.current_task()
    if task is not None:  # so that nothing started here outlives it
        asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, task.cancel)
    summary = None
    try:
        summary = await put_load(scenario, files)
    except* (ServiceFailed, LoadFailed) as failed:
        for error in failed.exceptions:
            print(error, file=sys.stderr)
    if summary is None:
        return NOT_MEASURED
    files.summary.write_text(json.dumps(summary))
    files.page.write_text(render(summary))
    _tell(summary, files)
    return 0 if holds(summary) else 1


def main() -> int:
    """Read the arguments, and do it."""
    parser = argparse.ArgumentParser(description="Put load on a service and report on it.")
    parser.add_argument("scenario", help=", ".join(names()))
    parser.add_argument("--duration", type=float, help="seconds, instead of the scenario's")
    parser.add_argument("--reports", type=Path, default=REPORTS, help="folder of the reports")
    given = parser.parse_args()
    try:
        scenario = load_scenario(given.scenario, given.duration)
    except ConfigurationError as error:
        print(error, file=sys.stderr)
        return NOT_MEASURED
    print(f"{scenario.title}: {scenario.duration:g} s on a service of its own ...", flush=True)
    try:
        with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            return runner.run(_main(scenario, Files(given.reports, scenario.name)))
    except (asyncio.CancelledError, KeyboardInterrupt):
        print("stopped; nothing is reported", file=sys.stderr)
        return NOT_MEASURED


if __name__ == "__main__":
    raise SystemExit(main())
