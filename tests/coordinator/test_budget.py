"""Budgets: what is used counts, and what is not there is not given."""

import pytest

from coordinator.budget import Budget
from coordinator.errors import BudgetSpent
from coordinator.spec import BudgetSection
from tests.simulation.simloop import SimLoop, simulate


async def test_what_is_spent_of_a_step_is_spent_of_its_workflow_too() -> None:
    workflow = Budget("workflow w", BudgetSection(tool_calls=3))
    first, second = (Budget(f"step {n}", BudgetSection(tool_calls=2), workflow) for n in "ab")
    first.spend_tool_call()
    first.spend_tool_call()
    with pytest.raises(BudgetSpent, match="the budget of step a is spent: 2 tool calls"):
        first.spend_tool_call()
    second.spend_tool_call()
    with pytest.raises(BudgetSpent, match="the budget of workflow w is spent: 3 tool calls"):
        second.spend_tool_call()
    assert (first.tool_calls, second.tool_calls, workflow.tool_calls) == (2, 1, 3)


async def test_what_was_used_before_counts() -> None:
    budget = Budget("workflow w", BudgetSection(steps=3))
    budget.note_spent(steps=2)
    budget.spend_step()
    with pytest.raises(BudgetSpent, match="3 steps"):
        budget.spend_step()


def test_the_earlier_deadline_counts_and_nothing_begins_after_it() -> None:
    async def main(loop: SimLoop) -> None:
        workflow = Budget("workflow w", BudgetSection(seconds=10))
        step = Budget("step a", BudgetSection(seconds=60), workflow)
        assert step.deadline == 10
        assert Budget("step b").deadline is None
        loop.call_later(10, (done := loop.create_future()).set_result, None)
        step.spend_step()
        await done
        with pytest.raises(BudgetSpent, match="the budget of workflow w is spent: 10 seconds"):
            step.spend_step()

    simulate(0, main)
