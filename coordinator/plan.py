"""A workflow as it will be gone through: who waits for whom, and in which order."""

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from graphlib import TopologicalSorter
from typing import Any

import orjson

from coordinator.expressions import Reference, braced, references, templates
from coordinator.spec import Step, Workflow

Document = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Plan:
    """A workflow, the steps that each step waits for, and an order that respects it.

    ``order`` leaves out the steps that only compensate. ``inputs`` are the names that expressions
    refer to below ``input``; ``digest`` tells workflows apart.
    """

    workflow: Workflow
    digest: str
    steps: Mapping[str, Step]
    needs: Mapping[str, frozenset[str]]
    order: Sequence[str]
    inputs: Sequence[str]


def digest(document: Any) -> str:
    """Return the SHA-256 of a JSON value, whatever the order of its keys."""
    text = orjson.dumps(document, option=orjson.OPT_SORT_KEYS | orjson.OPT_NON_STR_KEYS)
    return hashlib.sha256(text).hexdigest()


def planned(workflow: Workflow) -> Plan:
    """Return the plan of a workflow that has been checked.

    Raises:
        graphlib.CycleError: steps wait for each other.
        ExpressionRefused: a template is none.
    """
    steps = {step.id: step for step in workflow.steps}
    aside = compensating(workflow)
    found = {name: _found(step) for name, step in steps.items()}
    needs = {
        name: frozenset(step.needs) | (_steps_named(found[name]) & steps.keys()) - {name}
        for name, step in steps.items()
    }
    order = [name for name in in_order(needs, workflow.steps) if name not in aside]
    inputs = dict.fromkeys(
        reference.keys[0]
        for references_ in found.values()
        for reference in references_
        if reference.name == "input" and reference.keys
    )
    document = workflow.model_dump(mode="json")
    return Plan(workflow, digest(document), steps, needs, order, sorted(inputs))


def compensating(workflow: Workflow) -> frozenset[str]:
    """Return the steps that are only done when another one has failed."""
    return frozenset(step.compensation for step in workflow.steps if step.compensation)


def in_order(needs: Mapping[str, frozenset[str]], steps: Sequence[Step]) -> list[str]:
    """Return the steps such that each comes after those it needs: as declared, where that can be.

    Raises:
        graphlib.CycleError: there is no such order; its ``args`` have the steps in a circle.
    """
    rank = {step.id: number for number, step in enumerate(steps)}
    sorter = TopologicalSorter({step.id: sorted(needs[step.id] & rank.keys()) for step in steps})
    sorter.prepare()
    order: list[str] = []
    ready: list[str] = []
    while sorter.is_active():
        ready = sorted([*ready, *sorter.get_ready()], key=rank.__getitem__)
        first = ready.pop(0)
        order.append(first)
        sorter.done(first)
    return order


def expressions(step: Step) -> Iterator[tuple[str, str]]:
    """Yield every template of a step, with its pointer from the step.

    Raises:
        ExpressionRefused: a value is too deep.
    """
    yield from templates(braced(step.when), "/when")
    if step.map is not None:
        yield from templates(braced(step.map.over), "/map/over")
    if step.cache is not None:
        yield from templates(step.cache.key, "/cache/key")
    if isinstance(step.approval, str):
        yield from templates(step.approval, "/approval")
    yield from templates(step.input, "/input")
    for pointer, target in step.targets():
        if target is not step:
            yield from templates(target.input, f"{pointer}/input")


def _found(step: Step) -> frozenset[Reference]:
    return frozenset(one for _, text in expressions(step) for one in references(text))


def _steps_named(found: frozenset[Reference]) -> frozenset[str]:
    return frozenset(one.keys[0] for one in found if one.name == "steps" and one.keys)
