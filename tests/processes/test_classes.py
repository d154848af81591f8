"""Classes in checkpoints that no type of a graph's state names."""

from pathlib import Path

import pytest

from tests.api.client import client_of, new_thread, open_play

GRAPH = """
from dataclasses import dataclass
from langgraph.func import entrypoint, task
from langgraph.types import interrupt


@dataclass
class Plan:
    text: str


@task
def plan(text: str) -> Plan:
    return Plan(text)


@entrypoint()
def graph(text: str) -> str:
    made = plan(text).result()
    return f"{interrupt('go on?')} with {type(made).__name__}"
"""


@pytest.mark.parametrize("workers", [0, 1])
@pytest.mark.parametrize(("named", "kind"), [(True, "Plan"), (False, "dict")])
async def test_a_class_that_is_named_is_what_a_task_returned_once_a_question_is_answered(
    tmp_path: Path, workers: int, *, named: bool, kind: str
) -> None:
    module = f"planning_{kind}_{workers}"
    (tmp_path / f"{module}.py").write_text(GRAPH)
    serde = {"allowed_msgpack_modules": [[module, "Plan"]] if named else []}
    manifest = {
        "graphs": {"planning": f"./{module}.py:graph"},
        "checkpointer": {"serde": serde},
    }
    async with (
        open_play(tmp_path, "echo", manifest=manifest, workers=workers) as service,
        client_of(service.app) as client,
    ):
        path = f"/threads/{await new_thread(client)}/runs/wait"
        await client.post(path, json={"assistant_id": "planning", "input": "tea"})
        answer = {"assistant_id": "planning", "command": {"resume": "yes"}}
        answered = await client.post(path, json=answer)
    assert answered.json() == f"yes with {kind}"
