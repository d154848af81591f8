"""Measure Masterloop beside its peers, and write ``docs/performance.md``.

.venv/bin/python -m load.bench [--peers ...] [--workloads ...] [--rounds N] [--quick] [--report]
"""

import argparse
import fcntl
import os
import signal
import sys
from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime

from load.bench import page
from load.bench.environments import HERE
from load.bench.machine import facts
from load.bench.pace import FULL, QUICK
from load.bench.peers import PEERS
from load.bench.results import load
from load.bench.running import Session
from load.bench.server import WORK
from load.bench.table import figures, goals, notes
from load.bench.workloads.catalogue import WORKLOADS

RESULTS = HERE / "results.jsonl"
ROUNDS = 3


def main(arguments: Sequence[str]) -> int:
    """Do what the arguments say; return the exit code."""
    asked = _parser().parse_args(arguments)
    signal.signal(signal.SIGTERM, _end)  # as Ctrl-C does, it ends the server that is measured, too
    file = WORK / "quick.jsonl" if asked.quick else RESULTS
    if not asked.report:
        command = f'make bench ARGS="{" ".join(arguments)}"' if arguments else "make bench"
        with _alone():
            if asked.quick:
                file.unlink(missing_ok=True)
            session = Session(
                file=file,
                pace=QUICK if asked.quick else FULL,
                facts=facts(command),
                began=datetime.now(UTC).isoformat(" ", "seconds").removesuffix("+00:00"),
            )
            os.sched_setaffinity(0, {max(os.sched_getaffinity(0))})
            session.run(
                [PEERS[name] for name in asked.peers],
                [WORKLOADS[name] for name in asked.workloads],
                1 if asked.quick else asked.rounds,
            )
    results = load(file)
    if not results.records:
        print(f"Nothing was measured yet: {file} is missing.")
        return 1
    print("", goals(results), "", figures(results), *notes(results), sep="\n")
    if not asked.quick:
        page.write(results)
    return 0


def _end(number: int, frame: object) -> None:  # noqa: ARG001 - what a handler is given
    raise SystemExit(128 + number)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser("make bench", description=__doc__)
    for name, known in (("peers", list(PEERS)), ("workloads", list(WORKLOADS))):
        parser.add_argument(
            f"--{name}",
            type=_names(known),
            default=known,
            help=f"which, with commas between: {', '.join(known)}",
        )
    parser.add_argument("--rounds", type=int, default=ROUNDS, help=f"at most (default: {ROUNDS})")
    parser.add_argument(
        "--quick", action="store_true", help="one short round, for a look; writes no page"
    )
    parser.add_argument(
        "--report", action="store_true", help="measure nothing; write what was measured before"
    )
    return parser


def _names(known: Collection[str]) -> Callable[[str], list[str]]:
    def names(text: str) -> list[str]:
        given = text.split(",")
        for name in given:
            if name not in known:
                raise argparse.ArgumentTypeError(f"there is no {name!r}")
        return given

    return names


@contextmanager
def _alone() -> Iterator[None]:
    """Hold the folder of the servers: two measurements would spoil each other."""
    WORK.mkdir(exist_ok=True)
    with (WORK / "lock").open("a") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise SystemExit("another bench runs in this folder") from None
        yield


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
