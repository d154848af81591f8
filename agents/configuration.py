"""``masterloop.agents`` in ``langgraph.json``: pools of agents, by name."""

import re
from typing import Annotated, Any, Literal, Self

from pydantic import AfterValidator, BeforeValidator, Field, FiniteFloat, Strict, model_validator

from operations.addresses import is_server
from operations.sections import Count, Names, Positive, Section, mistake

PLACEHOLDER = re.compile(r"\{(\w+)\}")
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,63}")
_NAME_RULE = "Use at most 64 letters, digits, '_', '.' and '-', the first a letter or digit."

_ENDING = 10.0  # seconds that an agent may take to end, beyond the graces that it is given

Share = Annotated[FiniteFloat, Field(gt=0, le=1)]
Strategy = Literal["round-robin", "least-loaded", "fastest", "sticky"]


def name_of(what: str) -> AfterValidator:
    """Refuse what cannot be the name of ``what``, such as "a pool"."""

    def check(value: str) -> str:
        if not _NAME.fullmatch(value):
            raise mistake(f"this cannot be the name of {what}", _NAME_RULE)
        return value

    return AfterValidator(check)


def _argv(value: tuple[str, ...]) -> tuple[str, ...]:
    if not value or not value[0]:
        raise mistake("there is no command", 'Name one, such as ["python", "worker.py"].')
    return value


def _url(value: str) -> str:
    if not is_server(value):
        raise mistake("this is no URL of a server", 'Use one such as "https://example.com".')
    return value


def _fixed(value: Any) -> Any:
    return {"min": value, "max": value} if isinstance(value, int) else value


Url = Annotated[str, AfterValidator(_url)]
Argv = Annotated[tuple[str, ...], Strict(strict=False), AfterValidator(_argv)]


class Limits(Section):
    """What one task may take."""

    task_timeout: Positive = 300.0  # seconds
    cancel_grace: Positive = 5.0  # seconds until an agent whose task was cancelled is replaced
    events: Annotated[int, Field(ge=0)] = 500  # of a task; 0: no cap
    output: Count = 64 * 1024  # bytes kept of a stream, half from its beginning, half from its end
    error_output: Count = 8 * 1024  # bytes of stderr in an error
    line: Count = 1024 * 1024  # bytes of a message to or from an agent


class Resources(Section):
    """What the kernel lets a subprocess have; ``null`` leaves what the server itself has."""

    memory: Count | None = None  # bytes of address space
    cpu: Count | None = None  # seconds
    files: Count | None = None  # open at a time
    file_size: Count | None = None  # bytes of a file that it writes
    processes: Count | None = None  # of the whole user, not only this agent's


class Seats(Section):
    """How many agents a pool has."""

    min: Count = 1
    max: Count = 1

    @model_validator(mode="after")
    def _in_order(self) -> Self:
        if self.min > self.max:
            raise mistake(f"min is {self.min}, max is {self.max}", "min must not be above max.")
        return self


class Probing(Section):
    """How an agent that does not answer is noticed."""

    period: Positive = 10.0  # seconds
    jitter: Annotated[FiniteFloat, Field(ge=0, le=0.5)] = 0.2  # of the period, either way
    timeout: Positive = 5.0  # seconds
    failures: Count = 3  # in a row until it is replaced; from the first on it gets no new task
    recoveries: Count = 1  # answers in a row until it gets tasks again
    at_once: Count = 16  # probes in flight


class Restarts(Section):
    """How an agent that ended is replaced."""

    first: Positive = 1.0  # seconds before the first, doubled for each after it
    most: Positive = 60.0  # seconds
    reset: Positive = 600.0  # seconds of health after which counting begins anew
    intensity: Count = 30  # restarts of a pool within ``within``; beyond, it is degraded
    within: Positive = 60.0  # seconds
    start_timeout: Positive = 30.0  # seconds
    starts: Count = 16  # in flight


class Scaling(Section):
    """When a pool with room between min and max grows and shrinks."""

    interval: Positive = 1.0  # seconds between two looks, while there is something to decide
    smoothing: Positive = 10.0  # seconds over which the load is averaged
    high: Share = 0.8  # utilisation above which it grows
    low: Share = 0.3  # utilisation below which it shrinks
    wait: Positive = 1.0  # seconds that somebody waited above which it grows
    grow_cooldown: Positive = 5.0  # seconds
    shrink_cooldown: Positive = 60.0  # seconds

    @model_validator(mode="after")
    def _apart(self) -> Self:
        if self.low >= self.high:
            raise mistake(f"low is {self.low}, high is {self.high}", "low must be below high.")
        return self


class PoolSection(Section):
    """What every pool has, whatever its agents are."""

    seats: Annotated[Seats, BeforeValidator(_fixed)] = Seats()
    capabilities: Names = ()  # empty: what the agents say themselves, or else the pool's name
    strategy: Strategy = "round-robin"
    waiting: Count = 1_000  # who may wait for an agent
    lease_timeout: Positive = 60.0  # seconds that a wait without a deadline of its own may take
    limits: Limits = Limits()
    probe: Probing = Probing()
    restart: Restarts = Restarts()
    scaling: Scaling = Scaling()

    @property
    def ending(self) -> float:
        """Seconds that an agent may take to end before it is left to itself."""
        return _ENDING


class Subprocess(Section):
    """How a subprocess is started: no shell, and only the environment that is named here."""

    argv: Argv
    folder: str = "."  # where it works; relative to the file
    env: dict[str, str] = Field(default_factory=dict)  # `${{ env.NAME }}` is filled in
    inherit: Names = ()  # further variables that it gets from the server's environment
    resources: Resources = Resources()
    end_grace: Positive = 2.0  # seconds between SIGTERM and SIGKILL


class SubprocessPool(PoolSection, Subprocess):
    """A pool whose agents are, or have, subprocesses."""

    @property
    def ending(self) -> float:
        """As for every pool, and its grace."""
        return super().ending + self.end_grace


class GraphPool(PoolSection):
    """A graph of this file."""

    kind: Literal["graph"]
    graph: str


class ProcessPool(SubprocessPool):
    """A subprocess that speaks JSON-RPC, a message a line, over stdin and stdout."""

    kind: Literal["process"]


class CommandPool(SubprocessPool):
    """A subprocess for each task. ``{name}`` in an argument is the task's input of that name."""

    kind: Literal["command"]
    stdin: str = ""  # what the command reads; a template like the arguments

    @model_validator(mode="after")
    def _fixed_command(self) -> Self:
        if PLACEHOLDER.search(self.argv[0]):
            raise mistake("the command itself is a template", "Only arguments can be.", "argv")
        return self


class McpPool(PoolSection):
    """A server of the Model Context Protocol: a subprocess, or one that answers at a URL."""

    kind: Literal["mcp"]
    server: Subprocess | None = None
    url: Url | None = None
    headers: dict[str, str] = Field(default_factory=dict)  # `${{ env.NAME }}` is filled in

    @property
    def parting(self) -> float:
        """Seconds that its client may take to leave the server."""
        grace = 0.0 if self.server is None else self.server.end_grace
        return self.limits.cancel_grace + grace

    @property
    def ending(self) -> float:
        """As for every pool, and what its client may take, and what that leaves behind."""
        return super().ending + 2 * self.parting

    @model_validator(mode="after")
    def _one_of_two(self) -> Self:
        if (self.server is None) == (self.url is None):
            raise mistake("it needs either server or url", 'As in {"url": "https://…/mcp"}.')
        return self


class RemotePool(PoolSection):
    """An assistant of another server with LangGraph's API."""

    kind: Literal["remote"]
    url: Url
    assistant: str
    headers: dict[str, str] = Field(default_factory=dict)  # `${{ env.NAME }}` is filled in


AnyPool = Annotated[
    GraphPool | ProcessPool | CommandPool | McpPool | RemotePool, Field(discriminator="kind")
]
Pools = dict[Annotated[str, name_of("a pool")], AnyPool]
