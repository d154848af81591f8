"""What locust runs: the users and the shape of a scenario, and a record of what they met.

    LOAD_SCENARIO=burst locust -f load/locustfile.py --host http://127.0.0.1:8123

puts its load on a service that is there already, with locust's own page to look at. `make load`
starts one, and makes a report of what is written to LOAD_RECORD.
"""

import os
import sys
import time
from pathlib import Path
from random import uniform
from typing import Any

import gevent
from locust import LoadTestShape, constant_throughput, events
from locust.env import Environment

from load import users
from load.recorder import Outcome, Recorder
from load.scenario import load_scenario

TURN = 1.0  # seconds of a line of the record

_duration = os.environ.get("LOAD_DURATION")
SCENARIO = load_scenario(
    os.environ.get("LOAD_SCENARIO", "steady"), float(_duration) if _duration else None
)
# Tasks a second of each user, at most; the users of a soak are given it.
_pace = os.environ.get("LOAD_PACE")


def _pause(_: users.User) -> float:
    return uniform(0.5, 1.5) * SCENARIO.pause


def _present(kind: str, weight: int) -> type[users.User]:
    """Return a class of users as this scenario has them."""
    wait = constant_throughput(float(_pace)) if _pace else _pause
    return type(kind, (getattr(users, kind),), {"weight": weight, "wait_time": wait})


globals().update({kind: _present(kind, weight) for kind, weight in SCENARIO.users.items()})


class Shape(LoadTestShape):
    """Says how many users there are, and when it is over."""

    def tick(self) -> tuple[int, float] | None:
        elapsed: float = self.get_run_time()
        if SCENARIO.shape is None or elapsed >= SCENARIO.duration:
            return None
        wanted = SCENARIO.shape.at(elapsed / SCENARIO.duration)
        return wanted, max(1, wanted)


@events.init.add_listener
def _keep_record(environment: Environment, **_: Any) -> None:
    place = os.environ.get("LOAD_RECORD")
    file = Path(place).open("w") if place else sys.stdout  # noqa: SIM115 - closed when locust quits
    recorder = Recorder(file)

    def note(
        name: str, response_time: float, exception: Exception | None, response: Any = None, **_: Any
    ) -> None:
        refused = response is not None and response.status_code in users.REFUSALS
        outcome: Outcome = "failed" if exception else "refused" if refused else "done"
        recorder.record(name, outcome, response_time / 1_000, str(exception or ""))

    def turn() -> None:
        tasks, users.User.done = users.User.done, 0
        recorder.turn(time.time(), users=environment.runner.user_count, tasks=tasks)

    def turns() -> None:
        while True:
            gevent.sleep(TURN)
            turn()

    turning = gevent.spawn(turns)

    def end(**_: Any) -> None:
        turning.kill()
        turn()
        file.close()

    environment.events.request.add_listener(note)
    environment.events.quitting.add_listener(end)
