"""The table of transitions, and that neither the SQL nor the worker knows another one."""

import ast
import inspect
import re
from types import ModuleType

import pytest

from orchestration.loop import master, worker
from orchestration.loop.run import RunStatus
from orchestration.loop.transitions import TERMINAL, TRANSITIONS, UNFINISHED, Step, after, diagram
from orchestration.store import recovery, runs


def test_a_run_that_has_ended_changes_no_more() -> None:
    assert TERMINAL.isdisjoint(start for start, _ in TRANSITIONS)
    assert set(RunStatus) == TERMINAL | UNFINISHED


def test_every_status_is_reached_from_pending() -> None:
    reached = {RunStatus.PENDING}
    for _ in TRANSITIONS:
        reached |= {end for (start, _), end in TRANSITIONS.items() if start in reached}
    assert reached == set(RunStatus)


def test_every_step_leads_somewhere_and_others_do_not() -> None:
    assert {step for _, step in TRANSITIONS} == set(Step)
    with pytest.raises(KeyError):
        after(RunStatus.SUCCESS, Step.CLAIM)


def test_the_diagram_shows_every_transition() -> None:
    drawn = re.findall(r"(\w+) --> (\w+): (\w+)", diagram())
    assert {(start, step): end for start, end, step in drawn} == TRANSITIONS
    assert set(re.findall(r"(\w+) --> \[\*\]", diagram())) == TERMINAL


def statements() -> list[str]:
    """Return the SQL of the run store that may change a status."""
    known = (*vars(runs).values(), *vars(recovery).values())
    texts = [text for text in known if isinstance(text, str)]
    return [text for text in texts if re.search(r"UPDATE runs SET[^;]*\bstatus\b", text)]


def test_every_statement_that_changes_a_status_makes_a_transition_of_the_table() -> None:
    """Those with parameters take their status from the worker, which takes it from the table."""
    pairs = {(start, end) for (start, _), end in TRANSITIONS.items()}
    fixed = []
    for text in statements():
        new = re.search(r"SET status = '(\w+)'", text)
        old = re.search(r"WHERE[^;]*status = '(\w+)'", text)
        if new is not None and old is not None:
            fixed.append((old[1], new[1]))
    assert fixed
    # Poison is found right after the crash has made the run pending, in the same transaction.
    assert {pair for pair in fixed if pair not in pairs} == {("pending", "error")}


def test_every_statement_that_changes_a_status_asks_for_the_one_before() -> None:
    for text in statements():
        assert re.search(r"WHERE[^;]*\bstatus = ", text), text


def written(module: ModuleType) -> set[str]:
    """Return the members of RunStatus that a module names."""
    tree = ast.parse(inspect.getsource(module))
    return {
        node.attr
        for node in ast.walk(tree)
        if isinstance(node, ast.Attribute)
        and isinstance(node.value, ast.Name)
        and node.value.id == "RunStatus"
    }


def test_the_loop_names_no_status_but_those_of_runs_that_never_got_to_work() -> None:
    """Cancelled before it began, or given up over a fault of ours; all else is the table's."""
    assert written(worker) | written(master) == {"INTERRUPTED", "ERROR"}
