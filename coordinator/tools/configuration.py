"""``masterloop.tools`` in ``langgraph.json``: the tools that steps may use, by name."""

import re
from collections.abc import Iterator, Mapping, Sequence
from graphlib import CycleError, TopologicalSorter
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, Field, Strict

from coordinator.expressions import ExpressionRefused, references, templates
from coordinator.spec import IDENTIFIER, IDENTIFIER_RULE
from operations.errors import nearest
from operations.sections import Count, Names, Positive, Section, mistake

LAYERS = ("primitive", "execution", "dashboard")  # from below
_TARGET = re.compile(r"[^:]+:[A-Za-z_]\w*")


def _name(value: str) -> str:
    if not IDENTIFIER.fullmatch(value):
        problem = "this cannot be the name of a tool: expressions could not name it"
        raise mistake(problem, IDENTIFIER_RULE)
    return value


def _target(value: str) -> str:
    if not _TARGET.fullmatch(value):
        fix = 'It has to be "./file.py:name" or "package.module:name".'
        raise mistake(f'found "{value}"', fix)
    return value


def _some(value: tuple[str, ...]) -> tuple[str, ...]:
    if not value:
        raise mistake("there is nothing to choose from", "Name some tools.")
    return value


class Breaker(Section):
    """When a target that fails is left alone."""

    failures: Count = 5  # in a row
    rest: Positive = 30.0  # seconds until it is tried again, once


class CacheSection(Section):
    """How long what a tool has given counts for the same key."""

    key: Any = "{{ input }}"  # made of what the chain was given
    ttl: Positive = 300.0  # seconds


class Allowance(Section):
    """What one use may take, with all that is needed for it."""

    tool_calls: Count | None = None
    seconds: Positive | None = None


class Tool(Section):
    """What every tool has, whoever does its work."""

    description: str | None = None
    fallback: str | None = None  # the tool that is used if this one fails
    cache: CacheSection | None = None
    budget: Allowance | None = None

    def others(self) -> Iterator[tuple[str, str]]:
        """Yield the tools that it refers to, each with the key that does."""
        if self.fallback is not None:
            yield "fallback", self.fallback

    def expressions(self) -> Iterator[tuple[str, Any, Sequence[str]]]:
        """Yield what is filled in, each with its key and the names that it may refer to."""
        if self.cache is not None:
            yield "cache.key", self.cache.key, ("input",)


class WorkingTool(Tool):
    """A tool that does something itself.

    Its ``input`` may refer to ``input``, what the chain was given, and to ``needs.NAME``.
    """

    input: Any = "{{ input }}"
    needs: Names = ()  # tools whose results its input refers to
    timeout: Positive | None = None  # seconds
    breaker: Breaker | None = None

    @property
    def target(self) -> str | None:
        """What its breaker is about, which others may share; None if that is the tool itself."""
        return None

    def others(self) -> Iterator[tuple[str, str]]:
        """Yield what it needs, too."""
        yield from super().others()
        yield from (("needs", name) for name in self.needs)

    def expressions(self) -> Iterator[tuple[str, Any, Sequence[str]]]:
        """Yield its input, too."""
        yield from super().expressions()
        yield "input", self.input, ("input", "needs")


class FunctionTool(WorkingTool):
    """A pure function: an object is its keyword arguments, anything else its one argument."""

    kind: Literal["function"]
    function: Annotated[str, AfterValidator(_target)]

    @property
    def target(self) -> str | None:
        """The function."""
        return f"function {self.function}"


class LookupTool(WorkingTool):
    """A table: what it is given is the key."""

    kind: Literal["lookup"]
    table: dict[str, Any]


class AgentTool(WorkingTool):
    """A task for an agent, which may be a command, a process, or elsewhere."""

    kind: Literal["agent"]
    agent: str  # a capability
    breaker: Breaker | None = Breaker()

    @property
    def target(self) -> str | None:
        """The capability."""
        return f"agent {self.agent}"


class ViewTool(WorkingTool):
    """Something for people to look at: a text or JSON, with ``{{ input }}`` filled in."""

    kind: Literal["view"]
    view: Any

    def expressions(self) -> Iterator[tuple[str, Any, Sequence[str]]]:
        """Yield the view, too: its ``input`` is what the tool is given."""
        yield from super().expressions()
        yield "view", self.view, ("input",)


class ChoiceTool(Tool):
    """One of several tools, by how they did before."""

    kind: Literal["choice"]
    variants: Annotated[
        tuple[str, ...], Strict(strict=False), Field(max_length=16), AfterValidator(_some)
    ]

    def others(self) -> Iterator[tuple[str, str]]:
        """Yield the variants, too."""
        yield from super().others()
        yield from (("variants", name) for name in self.variants)


AnyWorkingTool = FunctionTool | LookupTool | AgentTool | ViewTool
AnyTool = Annotated[AnyWorkingTool | ChoiceTool, Field(discriminator="kind")]
_LAYER: Mapping[type[Tool], int] = {
    FunctionTool: 0,
    LookupTool: 0,
    AgentTool: 1,
    ViewTool: 2,
}


def _connected(tools: dict[str, AnyTool]) -> dict[str, AnyTool]:
    """Refuse tools that refer to what is not there, to themselves, or to a layer above."""
    for name, tool in tools.items():
        for key, other in tool.others():
            if other not in tools:
                raise mistake(f"there is no tool {other!r}", nearest(other, tools), f"{name}.{key}")
        _require_expressions(name, tool)
    graph = {name: [other for _, other in tool.others()] for name, tool in tools.items()}
    try:
        order = list(TopologicalSorter(graph).static_order())
    except CycleError as error:
        cycle: Sequence[str] = error.args[1][::-1]
        fix = "No tool can need, replace or choose itself, by whatever way."
        raise mistake(f"there is a cycle: {' -> '.join(cycle)}", fix, cycle[0]) from None
    _require_layers(tools, order)
    return tools


def _require_expressions(name: str, tool: Tool) -> None:
    for key, value, known in tool.expressions():
        try:
            found = [one for _, text in templates(value) for one in references(text)]
        except ExpressionRefused as error:
            fix = "See docs/workflows.md for what expressions can be."
            raise mistake(str(error), fix, f"{name}.{key}") from None
        for one in found:
            if one.name not in known:
                raise mistake(
                    f"there is no {one.name!r}", nearest(one.name, known), f"{name}.{key}"
                )
            needs = tool.needs if isinstance(tool, WorkingTool) else ()
            if one.name == "needs" and one.keys and one.keys[0] not in needs:
                fix = f"Name it in {name}.needs."
                raise mistake(f"{one.keys[0]!r} is not needed", fix, f"{name}.{key}")


def _require_layers(tools: Mapping[str, Tool], order: Sequence[str]) -> None:
    heights = _heights(tools, order)
    for name, tool in tools.items():
        for key, other in tool.others():
            if heights[other] > heights[name]:
                problem = (
                    f"{other!r} is of the {LAYERS[heights[other]]} layer, above this one, "
                    f"{LAYERS[heights[name]]}"
                )
                raise mistake(problem, "Refer to the same layer or below.", f"{name}.{key}")


def _heights(tools: Mapping[str, Tool], order: Sequence[str]) -> dict[str, int]:
    """Return the layer of each tool: a choice is of the highest of its variants."""
    heights: dict[str, int] = {}
    for name in order:
        tool = tools[name]
        heights[name] = (
            max(heights[variant] for variant in tool.variants)
            if isinstance(tool, ChoiceTool)
            else _LAYER[type(tool)]
        )
    return heights


Tools = Annotated[dict[Annotated[str, AfterValidator(_name)], AnyTool], AfterValidator(_connected)]
