"""What is wrong with a workflow, before any of it is done, where, and how to mend it."""

import re
from collections import deque
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from graphlib import CycleError
from itertools import islice
from typing import Any, cast

import orjson
from pydantic import ValidationError

from coordinator.errors import CoordinatorError
from coordinator.expressions import (
    ExpressionRefused,
    Reference,
    braced,
    is_one_expression,
    references,
)
from coordinator.plan import Plan, compensating, expressions, in_order, planned
from coordinator.spec import Step, Target, Workflow
from operations.errors import nearest
from operations.sections import WORDS

MOST_MISTAKES = 100  # that are looked for: what resembles a name takes a while to find
_MANY = 10_000  # mistakes in the form, of which nothing but their number is told
MOST_TEMPLATES = 2_000  # of one workflow
MOST_OF_STEP = 200  # which are compiled as it begins, for a millisecond or two each
MOST_TEMPLATE_TEXT = 256 * 1024  # characters of all of them
_SHOWN = 20  # mistakes
_RESULT = frozenset({"status", "output", "error"})  # what there is of a step
_NAMES = ("input", "steps")
_ITEM_NAMES = ("item", "index")
_OF_ITEMS = frozenset({"input", "variants", "fallbacks", "cache"})  # where these can be used


@dataclass(frozen=True, slots=True)
class Mistake:
    """What is wrong, at which place of the document (a JSON pointer), and what to do about it."""

    pointer: str
    problem: str

    def __str__(self) -> str:
        return f"{self.pointer or '/'}: {self.problem}"


class WorkflowRefused(CoordinatorError):
    """A workflow cannot be done as it is declared. Nothing was done."""

    def __init__(self, mistakes: Sequence[Mistake]) -> None:
        shown = "; ".join(map(str, mistakes[:_SHOWN]))
        more = f"; and {len(mistakes) - _SHOWN} more" if len(mistakes) > _SHOWN else ""
        super().__init__(shown + more)
        self.mistakes = tuple(mistakes)


@dataclass(frozen=True, slots=True)
class Known:
    """Who is there to do steps. None: that is not known yet, and everything may be."""

    agents: Collection[str] | None = None  # capabilities and pools
    tools: Collection[str] | None = None
    graphs: Collection[str] | None = None

    def of(self, kind: str) -> Collection[str] | None:
        """Return those of a kind."""
        found: Collection[str] | None = getattr(self, f"{kind}s")
        return found


def checked(document: Any, known: Known) -> Plan:
    """Return the plan of a workflow.

    Raises:
        WorkflowRefused: it has mistakes; those that can be seen at once are named, a hundred at
            the most.
    """
    try:
        workflow = Workflow.model_validate(document)
    except ValidationError as error:
        malformed = islice(_malformed(error, document), MOST_MISTAKES)
        raise WorkflowRefused(list(malformed)) from None
    mistakes = list(_too_much(workflow)) or list(islice(_mistakes(workflow, known), MOST_MISTAKES))
    if mistakes:
        raise WorkflowRefused(mistakes)
    try:
        plan = planned(workflow)
    except orjson.JSONEncodeError:
        raise WorkflowRefused(list(islice(_not_kept(document), MOST_MISTAKES))) from None
    collisions = list(_collisions(plan))
    if collisions:
        raise WorkflowRefused(collisions)
    return plan


def require_known(workflow: Workflow, known: Known) -> None:
    """Refuse a workflow, mistakes or not, that has steps which nobody can do.

    Raises:
        WorkflowRefused: it has; each is named, a hundred at the most.
    """
    missing = (
        mistake
        for number, step in enumerate(workflow.steps)
        for mistake in _missing(step, f"/steps/{number}", known)
    )
    if mistakes := list(islice(missing, MOST_MISTAKES)):
        raise WorkflowRefused(mistakes)


def _malformed(error: ValidationError, document: Any) -> Iterator[Mistake]:
    if error.error_count() > _MANY:  # to list them would hold up the event loop
        yield Mistake(
            "", f"there are {error.error_count()} mistakes in it. Begin with a few steps."
        )
        return
    for entry in error.errors(include_url=False):
        if entry["type"] == "too_short" and entry["input"]:
            continue  # it is not: some of it is malformed, which is told besides
        location = [*_existing(entry["loc"], document)]
        if entry["type"] == "mistake":
            facts = entry.get("ctx", {})
            problem = f"{facts['problem']}. {facts['fix']}"
            location += [facts["key"]] if facts["key"] else []
        elif entry["type"] == "missing":
            location.append(str(entry["loc"][-1]))
            problem = "the key is missing. Add it."
        elif word := WORDS.get(entry["type"]):
            problem = f"it has to be {word}."
        else:
            message = re.sub("^Tuple ", "List ", entry["msg"])
            problem = f"{message[:1].lower()}{message[1:]}"
        yield Mistake(_pointer(location), problem)


def _existing(location: Sequence[int | str], document: Any) -> Iterator[str]:
    """Yield the keys that lead to ``location``, without what pydantic adds between them."""
    for step in location:
        if isinstance(document, dict) and step in document:
            document = document[step]
        elif isinstance(document, list | tuple) and isinstance(step, int):
            document = cast("Sequence[Any]", document)[step]
        else:
            continue
        yield str(step)


def _pointer(keys: Sequence[str]) -> str:
    return "".join(f"/{key.replace('~', '~0').replace('/', '~1')}" for key in keys)


def _too_much(workflow: Workflow) -> Iterator[Mistake]:
    """Yield where there are more expressions than are read."""
    count = length = 0
    for number, step in enumerate(workflow.steps):
        with suppress(ExpressionRefused):  # which is told later
            for own, (_, text) in enumerate(expressions(step), 1):
                if own > MOST_OF_STEP:
                    problem = f"a step has at most {MOST_OF_STEP} expressions. Make two of it."
                    yield Mistake(f"/steps/{number}", problem)
                    return
                count += 1
                length += len(text)
                if count > MOST_TEMPLATES or length > MOST_TEMPLATE_TEXT:
                    problem = (
                        f"a workflow has at most {MOST_TEMPLATES} expressions, of "
                        f"{MOST_TEMPLATE_TEXT} characters in all. Leave some out."
                    )
                    yield Mistake(f"/steps/{number}", problem)
                    return


def _mistakes(workflow: Workflow, known: Known) -> Iterator[Mistake]:
    ids = [step.id for step in workflow.steps]
    aside = compensating(workflow)
    needs: dict[str, frozenset[str]] = {}
    for number, step in enumerate(workflow.steps):
        where = f"/steps/{number}"
        if step.id in ids[:number]:
            first = ids.index(step.id)
            yield Mistake(f"{where}/id", f"/steps/{first} has this id too. Ids are for one step.")
        found = _Found(step, where)
        yield from found.mistakes(ids, aside)
        needs[step.id] = frozenset({*step.needs, *found.steps}) & frozenset(ids)
        yield from _wrong_needs(step, where, ids, aside)
        yield from _missing(step, where, known)
        yield from _wrong_compensation(workflow, step, where)
        yield from _wrong_condition(step, where)
    yield from _cycles(workflow, needs)


class _Found:
    """What the expressions of a step refer to, and what is wrong with them."""

    def __init__(self, step: Step, where: str) -> None:
        self._step = step
        self._where = where
        self.steps: set[str] = set()
        self._refused: list[Mistake] = []
        self._references: list[tuple[str, Reference]] = []
        try:
            for pointer, text in expressions(step):
                self._read(pointer, text)
        except ExpressionRefused as error:
            self._refused.append(Mistake(where, str(error)))

    def _read(self, pointer: str, text: str) -> None:
        try:
            found = references(text)
        except ExpressionRefused as error:
            self._refused.append(Mistake(self._where + pointer, f"{text[:80]}: {error}"))
            return
        for one in sorted(found, key=str):
            self._references.append((pointer, one))
            if one.name == "steps" and one.keys:
                self.steps.add(one.keys[0])

    def mistakes(self, ids: Sequence[str], aside: Collection[str]) -> Iterator[Mistake]:
        """Yield what is wrong, where ``ids`` are the steps that there are."""
        yield from self._refused
        for pointer, reference in self._references:
            problem = self._problem(pointer, reference, ids)
            if problem is None and reference.name == "steps":
                problem = _unreachable(self._step, reference.keys[0], aside)
            if problem is not None:
                yield Mistake(self._where + pointer, problem)
        yield from self._wrong_key()

    def _problem(self, pointer: str, reference: Reference, ids: Sequence[str]) -> str | None:
        said = ".".join((reference.name, *reference.keys))
        inside = pointer.split("/")[1] in _OF_ITEMS
        names = (*_NAMES, *_ITEM_NAMES) if self._step.map is not None and inside else _NAMES
        if reference.name not in names:
            return f"there is no {said!r}. {nearest(reference.name, names)}"
        if reference.name in _NAMES and not reference.keys:
            example = {"input": "input.x", "steps": "steps.a.output"}[said]
            return f"{said!r} alone refers to nothing. Name one, as in {example}."
        if reference.name != "steps":
            return None
        if reference.keys[0] not in ids:
            return f"{said!r}: there is no such step. {nearest(reference.keys[0], ids)}"
        if len(reference.keys) > 1 and reference.keys[1] not in _RESULT:
            return f"{said!r}: a step has no such thing. {nearest(reference.keys[1], _RESULT)}"
        return None

    def _wrong_key(self) -> Iterator[Mistake]:
        """Yield that all items of a map would be given the answer to the first one."""
        cache = self._step.cache
        if self._step.map is None or cache is None or cache.key is None or self._refused:
            return
        if not any(
            pointer.startswith("/cache/") and reference.name in _ITEM_NAMES
            for pointer, reference in self._references
        ):
            problem = (
                "every item would be given what the first one gave. Refer to 'item' or 'index', or "
                "leave the key out: it is then who does it and the input."
            )
            yield Mistake(f"{self._where}/cache/key", problem)


def _wrong_condition(step: Step, where: str) -> Iterator[Mistake]:
    if step.when is False:
        problem = "the step is unreachable: this is never true. Leave the step out."
        yield Mistake(f"{where}/when", problem)
    with suppress(ExpressionRefused):  # which has been told
        if isinstance(step.when, str) and not is_one_expression(braced(step.when)):
            problem = "this is a text, which is always true. Put all of it in braces."
            yield Mistake(f"{where}/when", problem)


def _wrong_needs(
    step: Step, where: str, ids: Sequence[str], aside: Collection[str]
) -> Iterator[Mistake]:
    for number, need in enumerate(step.needs):
        if need not in ids:
            problem = f"there is no step {need!r}. {nearest(need, ids)}"
            yield Mistake(f"{where}/needs/{number}", problem)
        elif (unreachable := _unreachable(step, need, aside)) is not None:
            yield Mistake(f"{where}/needs/{number}", unreachable)


def _unreachable(step: Step, need: str, aside: Collection[str]) -> str | None:
    if need not in aside or step.id in aside:
        return None
    return (
        f"the step is unreachable: {need!r} is done only when another step has failed, "
        "and the workflow fails then. Need another step."
    )


def _missing(step: Step, where: str, known: Known) -> Iterator[Mistake]:
    for pointer, target in step.targets():
        names = known.of(target.kind)
        if names is not None and target.name not in names:
            yield Mistake(f"{where}{pointer}/{target.kind}", _nobody(target, names))


def _nobody(target: Target, names: Collection[str]) -> str:
    nothing = {
        "agent": f"no agent can do {target.name!r}, and no pool has this name",
        "tool": f"there is no tool {target.name!r}",
        "graph": f"there is no graph {target.name!r}",
    }[target.kind]
    return f"{nothing}. {nearest(target.name, names)}"


def _wrong_compensation(workflow: Workflow, step: Step, where: str) -> Iterator[Mistake]:
    name = step.compensation
    if name is None:
        return
    pointer = f"{where}/on_error/compensate"
    known = {other.id: other for other in workflow.steps}
    if name not in known:
        yield Mistake(pointer, f"there is no step {name!r}. {nearest(name, known)}")
    elif name == step.id:
        yield Mistake(pointer, "a step cannot put itself right. Name another one.")
    elif known[name].compensation is not None:
        yield Mistake(pointer, f"{name!r} has a compensation itself. One is all there can be.")
    elif known[name].map is not None or known[name].approval:
        yield Mistake(pointer, f"{name!r} has a map or an approval. Leave those out there.")


def _cycles(workflow: Workflow, needs: Mapping[str, frozenset[str]]) -> Iterator[Mistake]:
    """Yield the steps that wait for each other, and those behind them, which never begin."""
    places = {step.id: number for number, step in enumerate(workflow.steps)}
    try:
        in_order(needs, workflow.steps)
    except CycleError as error:
        circle: list[str] = error.args[1][::-1]
        where = f"/steps/{min(places[name] for name in circle)}/needs"
        yield Mistake(where, f"steps wait for each other: {' needs '.join(circle)}. Cut one off.")
        stuck = set(circle)
        behind = [step.id for step in workflow.steps if step.id not in stuck]
        while new := [name for name in behind if needs[name] & stuck and name not in stuck]:
            stuck.update(new)
            for name in new:
                problem = "the step is unreachable: it is behind steps that wait for each other."
                yield Mistake(f"/steps/{places[name]}/needs", problem)


def _not_kept(document: Any) -> Iterator[Mistake]:
    """Yield what a file of JSON can say, and the service could not store or send."""
    left = deque[tuple[tuple[str, ...], Any]]([((), document)])
    while left:
        keys, value = left.popleft()
        if isinstance(value, dict):
            inside = cast("dict[str, Any]", value).items()
            left.extend(((*keys, key), inner) for key, inner in inside)
        elif isinstance(value, list | tuple):
            listed = cast("Sequence[Any]", value)
            left.extend(((*keys, str(number)), inner) for number, inner in enumerate(listed))
        elif isinstance(value, int) and not -(2**63) <= value < 2**64:
            problem = "a whole number has at most 64 bits. Use a smaller one, or a text."
            yield Mistake(_pointer(keys), problem)


def _collisions(plan: Plan) -> Iterator[Mistake]:
    places = {step.id: number for number, step in enumerate(plan.workflow.steps)}
    for name in plan.inputs:
        if name in places:
            problem = f"'input.{name}' has this name too. Give the step or the input another one."
            yield Mistake(f"/steps/{places[name]}/id", problem)
        elif name == "steps" or name.startswith("_"):
            yield Mistake("/steps", f"an input cannot be called {name!r}. Give it another name.")
