"""``masterloop agents``, against a service that gives scripted answers."""

import json
from typing import Any

from tests.cli.test_remote import Refusal, service

POOL = {
    "pool": "readers",
    "kind": "process",
    "state": "degraded",
    "reason": "1 of 2 seats: it ended with exit code 7",
    "capabilities": ["count", "read"],
    "seats": 2,
    "in_flight": 1,
    "waiting": 0,
}
SEAT = {"seat": 1, "state": "leased", "tasks": 3, "latency": 0.12345, "trouble": None}
RESTING = {"seat": 2, "state": "waiting", "tasks": 0, "latency": None, "trouble": "gone\nby itself"}
DETAILS: dict[str, Any] = {**POOL, "agents": [SEAT, RESTING]}


def test_ls_lists_the_pools_with_what_is_wrong() -> None:
    with service({"GET /agents": [POOL]}) as server:
        head, row = server.masterloop("agents", "ls").stdout.splitlines()
        found = json.loads(server.masterloop("agents", "ls", "--json").stdout)
    assert head.split() == [
        "pool", "kind", "state", "seats", "in_flight", "waiting", "capabilities", "reason",
    ]  # fmt: skip
    assert row.split()[:7] == ["readers", "process", "degraded", "2", "1", "0", "count,read"]
    assert found == [POOL]


def test_ls_of_a_pool_lists_its_seats() -> None:
    with service({"GET /agents/readers": DETAILS}) as server:
        rows = server.masterloop("agents", "ls", "readers").stdout.splitlines()
    assert [row.split() for row in rows] == [
        ["seat", "state", "tasks", "latency", "trouble"],
        ["1", "leased", "3", "0.123"],
        ["2", "waiting", "0", "gone"],
    ]


def test_without_pools_it_says_so() -> None:
    with service({"GET /agents": []}) as server:
        result = server.masterloop("agents", "ls")
    assert (result.stdout, result.stderr) == ("", "There are none.\n")


def test_drain_and_restart_say_what_state_the_pool_is_in() -> None:
    drained = {**DETAILS, "state": "drained", "reason": "it lends no agents; 1 at work [/x]"}
    healthy = {**DETAILS, "state": "healthy", "reason": None}
    answers = {"POST /agents/readers/drain": drained, "POST /agents/readers/restart": healthy}
    with service(answers) as server:
        assert server.masterloop("agents", "drain", "readers").stdout == (
            "readers: drained (it lends no agents; 1 at work [/x])\n"
        )
        assert server.masterloop("agents", "restart", "readers").stdout == "readers: healthy\n"
        found = json.loads(server.masterloop("agents", "restart", "readers", "--json").stdout)
    assert found == healthy


def test_a_pool_that_is_not_there_is_told_in_the_words_of_the_service() -> None:
    refusal = Refusal(detail="there is no pool 'x'. Known are: readers.")
    with service({"POST /agents/x/drain": refusal}) as server:
        result = server.masterloop("agents", "drain", "x")
    assert (result.exit_code, "Known are: readers" in result.stderr) == (1, True)
