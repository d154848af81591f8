"""A workflow as it is declared: steps as data."""

import re
from collections.abc import Iterator
from typing import Annotated, Any, Literal, Self

from pydantic import (
    AfterValidator,
    BeforeValidator,
    ConfigDict,
    Discriminator,
    Field,
    Strict,
    Tag,
    model_validator,
)
from pydantic_core import PydanticKnownError

from operations.sections import Count, Names, Positive, Section, mistake

MOST_STEPS = 200
MOST_CHOICES = 16  # fallbacks, or variants, of one step
IDENTIFIER = re.compile(r"[A-Za-z][A-Za-z0-9_]{0,63}")
IDENTIFIER_RULE = "Use at most 64 letters, digits and '_', the first a letter."
KINDS = ("agent", "tool", "graph")

Mode = Literal["sequential", "parallel", "adaptive"]
Priority = Annotated[int, Field(ge=0, le=10)]


def _identifier(value: str) -> str:
    if not IDENTIFIER.fullmatch(value):
        problem = f"{value[:80]!r} cannot be an id: expressions could not name it"
        raise mistake(problem, IDENTIFIER_RULE)
    return value


def _at_most(most: int) -> BeforeValidator:
    """Refuse what is too long before each part of it is looked at, which may take seconds."""

    def check(value: Any) -> Any:
        if isinstance(value, list | tuple) and len(value) > most:
            facts = {"field_type": "List", "max_length": most, "actual_length": len(value)}
            raise PydanticKnownError("too_long", facts)
        return value

    return BeforeValidator(check)


def _form(value: Any) -> str:
    return "word" if isinstance(value, str) else "compensation"


Id = Annotated[str, AfterValidator(_identifier)]


class Part(Section):
    """A part of a workflow; its JSON Schema refuses the keys that it refuses."""

    model_config = ConfigDict(json_schema_extra={"additionalProperties": False})


class Target(Part):
    """Who does a step: an agent with a capability or of a pool, a tool, or a graph."""

    agent: str | None = None
    tool: str | None = None
    graph: str | None = None
    input: Any = None  # None: what the step itself gives

    @property
    def kind(self) -> str:
        """Which of the three it is."""
        return next(kind for kind in KINDS if getattr(self, kind) is not None)

    @property
    def name(self) -> str:
        """What it is called among its kind."""
        return str(getattr(self, self.kind))

    @model_validator(mode="after")
    def _one_of_three(self) -> Self:
        if sum(getattr(self, kind) is not None for kind in KINDS) != 1:
            raise mistake("nobody or several would do it", "Give one of agent, tool and graph.")
        return self


class Variant(Target):
    """One of several ways to do a step."""

    id: Id


class Map(Part):
    """A step for each item of a list: ``item`` and ``index`` are for its input and key."""

    over: Any  # a list, or an expression for one
    concurrency: Count = 8  # items at a time


class Retry(Part):
    """How often a step is tried, and how long it waits in between."""

    attempts: Annotated[int, Field(ge=1, le=100)] = 3
    first: Positive = 0.5  # seconds before the second attempt
    factor: Annotated[float, Field(ge=1)] = 2.0
    most: Positive = 60.0  # seconds
    jitter: bool = True  # up to a second more
    on: Names = ()  # the names of errors' classes; empty: all


class Cache(Part):
    """How long what a step has given counts for the same key."""

    key: Any = None  # None: who does it, and the input
    ttl: Positive = 300.0  # seconds


class Compensation(Part):
    """The step that puts right what a failed one has left; the workflow fails then."""

    compensate: Id


class BudgetSection(Part):
    """How much may be used."""

    steps: Count | None = None  # executions: every attempt, fallback and item counts
    seconds: Positive | None = None
    tool_calls: Count | None = None


class Step(Target):
    """One piece of work, and what it waits for."""

    id: Id
    needs: Names = ()  # beside those that its expressions refer to
    when: Any = None  # an expression; the step is skipped if it is not true
    map: Map | None = None
    retry: Retry = Retry(attempts=1)
    timeout: Positive | None = None  # seconds of one attempt, or of one item
    fallbacks: Annotated[
        tuple[Target, ...],
        Strict(strict=False),
        Field(max_length=MOST_CHOICES),
        _at_most(MOST_CHOICES),
    ] = ()
    variants: Annotated[
        tuple[Variant, ...],
        Strict(strict=False),
        Field(max_length=MOST_CHOICES),
        _at_most(MOST_CHOICES),
    ] = ()
    cache: Cache | None = None
    approval: bool | str = False  # true, or what to ask
    on_error: Annotated[
        Annotated[Literal["fail", "continue"], Tag("word")]
        | Annotated[Compensation, Tag("compensation")],
        Discriminator(_form),
    ] = "fail"
    priority: Priority | None = None  # 0 is first; None: the run's
    budget: BudgetSection | None = None

    @model_validator(mode="after")
    def _one_of_three(self) -> Self:
        given = sum(getattr(self, kind) is not None for kind in KINDS)
        if given != (0 if self.variants else 1):
            fix = "Give one of agent, tool and graph, or variants, which have theirs."
            raise mistake("nobody or several would do it", fix)
        return self

    @property
    def ways(self) -> dict[str, Target]:
        """Who may do it, by the name of the variant; a step without variants has one way."""
        return {way.id: way for way in self.variants} or {"": self}

    @property
    def compensation(self) -> str | None:
        """The step that is done when this one has failed."""
        return self.on_error.compensate if isinstance(self.on_error, Compensation) else None

    def targets(self) -> Iterator[tuple[str, Target]]:
        """Yield everybody who may do it, with the pointer from the step to who that is."""
        if not self.variants:
            yield "", self
        for number, variant in enumerate(self.variants):
            yield f"/variants/{number}", variant
        for number, fallback in enumerate(self.fallbacks):
            yield f"/fallbacks/{number}", fallback


class Workflow(Part):
    """Steps, and how to get through them."""

    name: Annotated[str, Field(min_length=1, max_length=255)]
    description: str | None = None
    mode: Mode = "parallel"
    max_concurrency: Annotated[int, Field(ge=1, le=1_000)] = 8  # steps at a time
    budget: BudgetSection | None = None
    steps: Annotated[
        tuple[Step, ...],
        Strict(strict=False),
        Field(min_length=1, max_length=MOST_STEPS),
        _at_most(MOST_STEPS),
    ]
