"""What somebody else sends to every operation, and what must come of it."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

CANARY = "hers-and-nobody-elses"
PLACE = {"namespace": "notes", "key": "k"}
ITEM = {"namespace": ["notes"], "key": "k", "value": {"text": CANARY}}
HERS = {"metadata": {"owner": "alice"}}
SCHEDULE = {"schedule": "0 0 1 1 *", "assistant_id": "echo"}
WORKFLOW = {"name": "his", "steps": [{"id": "a", "graph": "echo", "input": {"text": "his"}}]}
RUN = {"assistant_id": "echo", "input": {"text": "his"}}
CRON_WITH_HERS = {"schedule": "0 0 1 1 *", "assistant_id": "{assistant_id}"}
WITH_HERS = {"assistant_id": "{assistant_id}", "input": {"text": "his"}}
COMMANDS: tuple[tuple[str, dict[str, Any]], ...] = (
    ("run.start", {"assistant_id": "echo", "input": {}}),
    ("input.respond", {"interrupt_id": "x", "response": 1}),
    ("agent.getTree", {}),
    ("state.get", {}),
    ("state.listCheckpoints", {}),
    ("state.fork", {"checkpoint_id": "x"}),
)


@dataclass(frozen=True)
class Case:
    """What the second one sends, and what must come of it: a status, or a whole answer."""

    status: int | None = None
    answer: Any = ...
    body: Any = None
    params: Mapping[str, Any] | None = None
    with_keys: "Case | None" = None  # where keys differ: assistants are the server's


GONE = Case(404)
SHARED = Case(404, with_keys=Case(200))
ADMINS = Case(404, body={"name": "his"}, with_keys=Case(403, body={"name": "his"}))


def gone(body: Any = None, **params: Any) -> Case:
    return Case(404, body=body, params=params or None)


def gives(answer: Any, body: Any = None) -> Case:
    return Case(200, answer, body)


def makes(body: Any, status: int = 200) -> Case:
    return Case(status, body=body)


CASES: dict[str, list[Case]] = {
    "POST /runs/wait": [makes(RUN), Case(404, body=WITH_HERS, with_keys=Case(200, body=WITH_HERS))],
    "POST /runs/stream": [makes(RUN)],
    "POST /runs": [makes(RUN)],
    "POST /runs/batch": [makes([RUN])],
    "POST /threads/{thread_id}/runs": [gone(RUN), gone({**RUN, "if_not_exists": "create"})],
    "POST /threads/{thread_id}/runs/wait": [gone(RUN), gone({**RUN, "if_not_exists": "create"})],
    "POST /threads/{thread_id}/runs/stream": [gone({**RUN, "multitask_strategy": "rollback"})],
    "POST /runs/cancel": [
        Case(body={"status": "all"}),  # there may be one of his
        gone({"thread_id": "{held}", "status": "all"}),
        gone({"run_ids": ["{live}", "{loose}"]}, action="rollback"),
    ],
    "GET /dead-letters": [gives([])],
    "GET /threads/{thread_id}/runs": [GONE],
    "GET /threads/{thread_id}/runs/{run_id}": [GONE],
    "GET /threads/{thread_id}/runs/{run_id}/why": [GONE],
    "GET /runs": [
        Case(200),  # there may be one of his
        Case(200, [], params={"run_id": "{run_id}"}),
        Case(200, [], params={"run_id": "{live}"}),
        Case(200, [], params={"run_id": "{loose}"}),
    ],
    "GET /runs/{run_id}/why": [GONE],
    "GET /runs/{run_id}/stream": [GONE],
    "GET /threads/{thread_id}/runs/{run_id}/join": [GONE],
    "GET /threads/{thread_id}/runs/{run_id}/stream": [GONE],
    "POST /threads/{thread_id}/runs/{run_id}/cancel": [GONE, gone(action="rollback")],
    "DELETE /threads/{thread_id}/runs/{run_id}": [GONE],
    "POST /threads": [
        makes({}),
        Case(409, body={"thread_id": "{thread_id}", "if_exists": "do_nothing"}),
    ],
    "GET /threads/{thread_id}": [GONE],
    "PATCH /threads/{thread_id}": [gone({"metadata": {"owner": "bob"}})],
    "DELETE /threads/{thread_id}": [GONE],
    "POST /threads/search": [
        gives([], {"metadata": {"canary": CANARY}}),
        gives([], {"ids": ["{thread_id}"]}),
        Case(200, body=HERS, with_keys=gives([], HERS)),  # the handler puts his name for hers
        gives([], {"values": {"text": CANARY}}),
    ],
    "POST /threads/count": [
        gives(0, {"metadata": {"canary": CANARY}}),
        Case(200, body=HERS, with_keys=gives(0, HERS)),
        gives(0, {"ids": ["{thread_id}"]}),
    ],
    "POST /threads/{thread_id}/copy": [GONE],
    "POST /threads/prune": [
        gives({"pruned_count": 0}, {"thread_ids": ["{thread_id}"], "strategy": strategy})
        for strategy in ("delete", "keep_latest")
    ],
    "GET /threads/{thread_id}/stream": [GONE],
    "GET /threads/{thread_id}/state": [GONE],
    "GET /threads/{thread_id}/state/{checkpoint_id}": [GONE],
    "POST /threads/{thread_id}/state/checkpoint": [gone({"checkpoint": {}})],
    "POST /threads/{thread_id}/state": [gone({"values": {"text": "his"}})],
    "POST /threads/{thread_id}/state/bulk": [
        gone({"supersteps": [{"updates": [{"values": {"text": "his"}, "as_node": "echo"}]}]})
    ],
    "PATCH /threads/{thread_id}/state": [gone({"metadata": {"owner": "bob"}})],
    "GET /threads/{thread_id}/history": [GONE],
    "POST /threads/{thread_id}/history": [gone({})],
    "POST /threads/{thread_id}/commands": [
        gone({"id": 1, "method": method, "params": params}) for method, params in COMMANDS
    ],
    "POST /threads/{thread_id}/stream/events": [gone({"channels": ["values"]})],
    "POST /workflows/runs": [
        makes({"workflow": WORKFLOW, "on_completion": "delete"}),
        gone({"workflow": WORKFLOW, "thread_id": "{thread_id}"}),
    ],
    "POST /workflows": [
        Case(200, body={"workflow": WORKFLOW}, with_keys=Case(403, body={"workflow": WORKFLOW})),
        Case(
            409,
            body={
                "workflow": WORKFLOW,
                "assistant_id": "{assistant_id}",
                "if_exists": "replace",
            },
            with_keys=Case(403, body={"workflow": WORKFLOW}),
        ),
    ],
    "GET /workflows": [Case(200)],  # there may be his
    "GET /workflows/{assistant_id}": [GONE],  # hers is none
    "DELETE /workflows/{assistant_id}": [Case(404, with_keys=Case(403))],
    "GET /schemas/workflow.json": [Case(200)],
    "POST /assistants": [
        Case(200, body={"graph_id": "echo"}, with_keys=Case(403, body={"graph_id": "echo"})),
        Case(
            409,
            body={
                "graph_id": "echo",
                "assistant_id": "{assistant_id}",
                "if_exists": "do_nothing",
            },
            with_keys=Case(403, body={"graph_id": "echo"}),
        ),
    ],
    "GET /assistants/{assistant_id}": [SHARED],
    "PATCH /assistants/{assistant_id}": [ADMINS],
    "POST /assistants/{assistant_id}/versions": [SHARED],
    "POST /assistants/{assistant_id}/latest": [
        Case(404, body={"version": 1}, with_keys=Case(403, body={"version": 1}))
    ],
    "DELETE /assistants/{assistant_id}": [Case(404, with_keys=Case(403))],
    "POST /assistants/search": [
        Case(200, [], {"metadata": {"canary": CANARY}}, with_keys=Case(200)),
    ],
    "POST /assistants/count": [
        Case(200, 0, {"metadata": {"canary": CANARY}}, with_keys=Case(200)),
    ],
    "GET /assistants/{assistant_id}/graph": [SHARED],
    "GET /assistants/{assistant_id}/schemas": [SHARED],
    "GET /assistants/{assistant_id}/subgraphs": [SHARED],
    "GET /assistants/{assistant_id}/subgraphs/{namespace}": [SHARED],
    "POST /runs/crons": [
        makes(SCHEDULE),
        Case(404, body=CRON_WITH_HERS, with_keys=Case(200, body=CRON_WITH_HERS)),
    ],
    "POST /threads/{thread_id}/runs/crons": [
        gone(SCHEDULE),
        gone({**SCHEDULE, "if_not_exists": "create"}),
    ],
    "GET /runs/crons/{cron_id}": [GONE],
    "PATCH /runs/crons/{cron_id}": [gone({"enabled": False})],
    "DELETE /runs/crons/{cron_id}": [GONE],
    "POST /runs/crons/search": [
        gives([], {"thread_id": "{thread_id}"}),
        gives([], {"metadata": {"canary": CANARY}}),
    ],
    "POST /runs/crons/count": [
        gives(0, {"thread_id": "{thread_id}"}),
        gives(0, {"metadata": {"canary": CANARY}}),
    ],
    "PUT /store/items": [makes({**ITEM, "value": {"text": "his"}}, 204)],
    "GET /store/items": [Case(200, None, params={**PLACE, "key": "only-hers"}), Case(params=PLACE)],
    "DELETE /store/items": [makes({"namespace": ["notes"], "key": "only-hers"}, 204)],
    "POST /store/items/search": [makes({}), makes({"namespace_prefix": ["notes"]})],
    "POST /store/namespaces": [
        gives({"namespaces": []}, {"prefix": ["hers"]}),
        gives({"namespaces": []}, {"suffix": ["alone"]}),
    ],
    "GET /metrics": [Case(403)],
    "GET /agents": [gives([])],  # the server's, for everybody
    "GET /agents/{pool}": [Case(404)],
    "POST /agents/{pool}/drain": [Case(403)],
    "POST /agents/{pool}/restart": [Case(403)],
    "POST /messages": [makes({"to": "notes", "content": "his"}, 202)],
    "GET /messages": [Case(200)],  # the server's; what is counted is his, see test_messages.py
    "GET /messages/{mailbox}": [Case(200), Case(200, [], params={"status": "dead"})],
    "DELETE /messages/{mailbox}": [Case(409)],
    "GET /messages/{mailbox}/dead-letters": [gives([])],
    "POST /messages/{mailbox}/dead-letters/requeue": [
        gives({"requeued": 0}, {}),
        gives({"requeued": 0}, {"offsets": [1]}),
    ],
    "POST /messages/{mailbox}/replay": [gives({"requeued": 0}, {"after": 0})],
    "GET /coordinator/decisions": [gives([])],  # of hers there is one, see test_decisions.py
    "GET /coordinator/experience": [Case(403, params={"workflow": "hers"})],
    "GET /coordinator/experience/entries": [Case(403)],
    "GET /webhooks/deliveries": [gives([])],
    "GET /ops/status": [Case(403)],
    "GET /ops/stats": [Case(403)],
    "GET /ops/activity": [Case(403)],
    "GET /ops/stream": [Case(403)],
    "GET /ok": [Case(200)],
    "GET /livez": [Case(200)],
    "GET /readyz": [Case(200), Case(200, params={"verbose": ""})],
    "GET /startupz": [Case(200)],
    "GET /info": [Case(200)],
}
