"""kill -9 in the middle of workflows: what had ended is not done again, and the runs end right."""

import os
from functools import partial
from typing import Any

import pytest

from tests.process.server import Server, Submitted, until

MODES = ("sequential", "parallel", "adaptive")
KILLS = int(os.environ.get("WORKFLOW_KILLS", "2"))
AT_ONCE = int(os.environ.get("WORKFLOWS_AT_ONCE", "10"))  # that each kill interrupts: 20 in all
# 1, then 2 and 3 side by side, then 4, and so on to 10.
NEEDS = {1: [], 2: [1], 3: [1], 4: [2, 3], 5: [4], 6: [4], 7: [5, 6], 8: [7], 9: [7], 10: [8, 9]}
HELD = (1, 4, 7, 10)  # steps that all before them lead to


def workflow(mode: str) -> dict[str, Any]:
    steps = [
        {
            "id": f"s{number}",
            "graph": "counter",
            "input": {"name": f"{{{{ input.name }}}}-{number}", "steps": 1},
            "needs": [f"s{need}" for need in needs],
        }
        for number, needs in NEEDS.items()
    ]
    return {"name": "ten", "mode": mode, "steps": steps}


def submit(server: Server, name: str, spec: dict[str, Any]) -> Submitted:
    body = {"workflow": spec, "input": {"name": name}}
    run = server.http.post("/workflows/runs", json=body).raise_for_status().json()
    return Submitted(server, run["thread_id"], run["run_id"])


@pytest.mark.process
@pytest.mark.timeout(240)
def test_a_workflow_repeats_no_step_that_had_ended_when_it_was_killed(server: Server) -> None:
    server.start()
    for kill in range(KILLS):
        runs: dict[str, tuple[Submitted, int]] = {}
        for number in range(AT_ONCE):
            name, held = f"w{kill}{number}", HELD[(kill + number) % len(HELD)]
            server.effects.gate(f"{name}-{held}")
            mode = MODES[(kill + number) % len(MODES)]
            runs[name] = (submit(server, name, workflow(mode)), held)
        for name, (_, held) in runs.items():
            until(partial(server.effects.holds, f"{name}-{held}", 1))
        server.kill9()
        for name, (_, held) in runs.items():
            server.effects.open_gate(f"{name}-{held}")
        server.start()
        for name, (run, _) in runs.items():
            steps = run.join()["steps"]
            assert {step["status"] for step in steps.values()} == {"done"}
            assert len(steps) == len(NEEDS)
            done = [server.effects.steps(f"{name}-{number}") for number in NEEDS]
            assert done == [{1: 1}] * len(NEEDS), f"{name}: a step was done twice, or not at all"
            assert run.status == "success"


@pytest.mark.process
def test_attempts_that_failed_before_a_kill_are_not_had_again(server: Server) -> None:
    server.start()
    retry = {"attempts": 3, "first": 0.01}
    one = {"id": "a", "graph": "failing", "input": {"name": "{{ input.name }}"}, "retry": retry}
    runs: dict[str, Submitted] = {}
    for mode in MODES:
        for name, step in ((mode, one), (f"items-{mode}", one | {"map": {"over": "[0]"}})):
            server.effects.gate(name, 2)
            runs[name] = submit(server, name, {"name": "w", "mode": mode, "steps": [step]})
    for name in runs:
        until(partial(server.effects.holds, name, 3))
    server.kill9()
    for name in runs:
        server.effects.open_gate(name)
    server.start()
    for name, run in runs.items():
        run.until_status("error")
        assert server.effects.of(name) == ["tried"] * 3, name
