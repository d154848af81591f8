"""What clients asked and were told, and what may follow from it: a history and its checker.

As in Jepsen: an operation is invoked, and then is ``ok`` (it happened), ``fail`` (it did not), or
``info`` (nobody knows, for the connection broke). Only what clients saw counts as accepted.
"""

import sqlite3
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from tests.process.server import TERMINAL
from tests.process.witness import committed_steps, inspected

Result = Literal["invoke", "ok", "fail", "info"]


@dataclass
class Operation:
    """A run that a client asked for, by the name it gave it."""

    name: str
    steps: int
    stateless: bool
    result: Result = "invoke"
    run_id: str | None = None
    thread_id: str | None = None
    cancelled: bool = False
    ended: bool = False  # its client has the result; it may never have been written (ADR 7)


@dataclass
class History:
    """All operations, and how often every step was done, over all lives of the server."""

    operations: dict[str, Operation] = field(default_factory=dict)
    violations: list[str] = field(default_factory=list)
    repeated: int = 0
    _done: Counter[tuple[str, int]] = field(default_factory=Counter[tuple[str, int]])
    _committed: dict[str, int] = field(default_factory=dict)
    _read: int = 0

    def invoke(self, steps: int, *, stateless: bool) -> Operation:
        name = f"r{len(self.operations)}"
        self.operations[name] = Operation(name, steps, stateless)
        return self.operations[name]

    def after_kill(self, database: Path, effects: Path) -> None:
        """Take in what one life of the server did, and what of it was committed at its end."""
        self._take_effects(effects)
        with inspected(database) as connection:
            for row in connection.execute("SELECT * FROM runs WHERE attempt > 0"):
                name = _name(row)
                if row["status"] in TERMINAL:
                    self._committed[name] = self.operations[name].steps
                elif not row["ephemeral"]:
                    steps = committed_steps(connection, row["thread_id"], row["run_id"])
                    self._committed[name] = max(steps, self._committed.get(name, 0))

    def at_the_end(self, database: Path, effects: Path) -> None:
        """Take in the last life, which nobody killed, and judge the whole."""
        self._take_effects(effects)
        with inspected(database) as connection:
            runs = {_name(row): row for row in connection.execute("SELECT * FROM runs")}
            ends: dict[str, list[str]] = {}
            for run_id, what in connection.execute("SELECT run_id, what FROM witnessed"):
                ends.setdefault(run_id, []).append(what)
        for operation in self.operations.values():
            self._judge(operation, runs.get(operation.name), ends)
        unasked = runs.keys() - self.operations.keys()
        self._check(not unasked, f"runs that nobody asked for: {unasked}")

    def _take_effects(self, effects: Path) -> None:
        with effects.open() as log:
            log.seek(self._read)
            lines = log.readlines()
            self._read = log.tell()
        for name, step in (line.split() for line in lines):
            before = self._committed.get(name, 0)
            self._check(int(step) > before, f"{name}: step {step} again, {before} were committed")
            self.repeated += (name, int(step)) in self._done
            self._done[name, int(step)] += 1

    def _judge(
        self, operation: Operation, row: "sqlite3.Row | None", ends: dict[str, list[str]]
    ) -> None:
        name, run_id = operation.name, operation.run_id
        if row is not None:
            self._check(run_id in (None, row["run_id"]), f"{name}: accepted twice")
            run_id = str(row["run_id"])
        ended = ends.get(run_id, []) if run_id is not None else []
        match operation.result:
            case "ok":
                self._check(operation.ended or bool(ended), f"{name}: accepted and lost")
            case "fail":
                self._check(row is None, f"{name}: refused and done")
        self._check(len(ended) <= 1, f"{name}: ended more than once: {ended}")
        self._check(row is None or row["status"] in TERMINAL, f"{name}: never ended")
        if row is not None and row["status"] == "success":
            missing = [
                step + 1 for step in range(operation.steps) if not self._done[name, step + 1]
            ]
            self._check(not missing, f"{name}: succeeded without its steps {missing}")
        wanted = {"success", "interrupted"} if operation.cancelled else {"success"}
        self._check(
            operation.stateless or set(ended) <= wanted, f"{name}: {ended}, expected {wanted}"
        )

    def _check(self, holds: bool, violation: str) -> None:
        if not holds:
            self.violations.append(violation)


def _name(row: sqlite3.Row) -> str:
    """Return the name that the client gave a run, which it finds in the run's metadata."""
    return str(row["metadata"].partition('"name":"')[2].partition('"')[0])
