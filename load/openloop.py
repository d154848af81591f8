"""Requests at a constant rate, whatever becomes of the earlier ones: what clients meet.

    .venv/bin/python -m load.openloop http://127.0.0.1:8123 --rate 200 --seconds 30 \
        --assistant nothing --input '{"text": "x"}' [--stream]

A generator that waits for an answer before it sends the next request leaves out just those that
would have met a stall ("coordinated omission"). Here every time begins when the request was due,
whether or not it could be sent then. Prints the percentiles of that, and beside them those of what
is wrongly taken for it: the time from the sending.
"""

import argparse
import asyncio
import json
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from http import HTTPStatus
from time import perf_counter
from typing import Any
from urllib.parse import urlsplit

import uvloop

from load.recorder import Outcome, new_histogram, percentile, record
from load.wire import Answer, Client, request

PATIENCE = 60.0  # seconds for an answer
CONNECTIONS = 4_096
REFUSALS = frozenset({HTTPStatus.TOO_MANY_REQUESTS, HTTPStatus.SERVICE_UNAVAILABLE})
FAILURES = (b'"__error__"', b"event: error")  # how a run that failed is told, with status 200
PERCENTS = (50.0, 90.0, 99.0, 99.9, 100.0)


@dataclass(frozen=True, slots=True)
class Arrival:
    """A request that was due, and what came of it; times are `perf_counter`s, in seconds."""

    due: float
    sent: float
    ended: float
    first: float | None  # when the first event of a stream came
    outcome: Outcome
    problem: str = ""

    @property
    def took(self) -> float:
        """Seconds from when it was due."""
        return self.ended - self.due


class OpenLoop:
    """Sends at a constant rate, and tells ``note`` what came of each request.

    ``send`` is called with the number of a request when that is due, and sends it.
    """

    def __init__(
        self, send: Callable[[int], Awaitable[Answer]], note: Callable[[Arrival], None]
    ) -> None:
        self._send = send
        self._note = note
        self.offered = 0
        self.lateness = new_histogram()  # of the generator itself

    async def run(self, rate: float, seconds: float, patience: float = PATIENCE) -> None:
        """Send ``rate`` requests a second for ``seconds``; return when all have ended."""
        begun = perf_counter()
        async with asyncio.TaskGroup() as requests:
            for number in range(round(rate * seconds)):
                due = begun + number / rate
                await asyncio.sleep(max(0.0, due - perf_counter()))
                self.offered += 1
                record(self.lateness, perf_counter() - due)
                requests.create_task(self.exchange(number, due, patience))

    async def exchange(self, number: int, due: float, patience: float = PATIENCE) -> None:
        """Send the request of that number, which is ``due``, and tell what came of it."""
        try:
            async with asyncio.timeout(patience):
                answer = await self._send(number)
        except TimeoutError:
            self._failed(due, perf_counter(), f"no answer within {patience:g} s")
        except OSError as error:
            self._failed(due, perf_counter(), f"{type(error).__name__}: {error}")
        else:
            self._note(judged(due, answer))

    def _failed(self, due: float, ended: float, problem: str) -> None:
        self._note(Arrival(due, due, ended, None, "failed", problem))


def judged(due: float, answer: Answer) -> Arrival:
    """Return what came of a request: its run succeeds, or a refusal says when to come again."""
    outcome: Outcome = "failed"
    problem = ""
    if answer.status == HTTPStatus.OK and any(failure in answer.body for failure in FAILURES):
        problem = "the run failed"
    elif answer.status == HTTPStatus.OK:
        outcome = "done"
    elif answer.status in REFUSALS and answer.retry_after is not None:
        outcome = "refused"
    else:
        problem = f"status {answer.status}, retry-after {answer.retry_after}"
    return Arrival(due, answer.sent, answer.ended, answer.first, outcome, problem)


class _Figures:
    """What is printed in the end."""

    def __init__(self) -> None:
        self.times = {
            name: new_histogram() for name in ("corrected", "from sending", "first", "refused")
        }
        self.outcomes = {"done": 0, "refused": 0, "failed": 0}
        self.problems: set[str] = set()

    def note(self, arrival: Arrival) -> None:
        self.outcomes[arrival.outcome] += 1
        if arrival.problem:
            self.problems.add(arrival.problem)
        if arrival.outcome == "refused":
            record(self.times["refused"], arrival.took)
        if arrival.outcome != "done":
            return
        record(self.times["corrected"], arrival.took)
        record(self.times["from sending"], arrival.ended - arrival.sent)
        if arrival.first is not None:
            record(self.times["first"], arrival.first - arrival.due)

    def tell(self, loop: OpenLoop, seconds: float) -> None:
        told = ", ".join(f"{count} {name}" for name, count in self.outcomes.items())
        print(
            f"{loop.offered} offered: {told}; {self.outcomes['done'] / seconds:.1f} done a second"
        )
        rows = {
            "until the answer": self.times["corrected"],
            "until the first event": self.times["first"],
            "until a refusal": self.times["refused"],
            "(from the sending)": self.times["from sending"],
            "(lateness of the generator)": loop.lateness,
        }
        print(f"{'ms':>28}" + "".join(f"{f'p{percent:g}':>10}" for percent in PERCENTS))
        for name, histogram in rows.items():
            if histogram.get_total_count():
                cells = (f"{percentile(histogram, p) * 1_000:10.2f}" for p in PERCENTS)
                print(f"{name:>28}" + "".join(cells))
        for problem in sorted(self.problems):
            print(f"failed: {problem}")


async def _main(given: argparse.Namespace) -> int:
    url = urlsplit(given.url)
    host, port = url.hostname or "127.0.0.1", url.port or 80
    body: dict[str, Any] = {"assistant_id": given.assistant, "input": json.loads(given.input)}
    if given.stream:
        body["stream_mode"] = ["updates"]
    path = "/runs/stream" if given.stream else "/runs/wait"
    message = request(path, body, f"{host}:{port}")
    client, figures = Client(host, port, given.connections), _Figures()
    loop = OpenLoop(lambda _: client.send(message), figures.note)
    await loop.run(given.rate, given.seconds)
    client.close()
    figures.tell(loop, given.seconds)
    return 1 if figures.outcomes["failed"] else 0


def main() -> int:
    """Read the arguments, and do it."""
    parser = argparse.ArgumentParser(description="Send requests at a constant rate.")
    parser.add_argument("url")
    parser.add_argument("--rate", type=float, required=True, help="requests a second")
    parser.add_argument("--seconds", type=float, default=30.0)
    parser.add_argument("--assistant", default="nothing")
    parser.add_argument("--input", default="{}", help="JSON")
    parser.add_argument("--stream", action="store_true", help="of updates, instead of waiting")
    parser.add_argument("--connections", type=int, default=CONNECTIONS, help="at most")
    given = parser.parse_args()
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        return runner.run(_main(given))


if __name__ == "__main__":
    raise SystemExit(main())
