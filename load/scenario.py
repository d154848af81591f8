"""What a load test is: a file of ``load/scenarios``, checked before anything starts."""

import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal, Self, get_args

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from load.shapes import Seconds, Shape, Soak
from operations.errors import ConfigurationError, nearest
from operations.settings import Settings

FOLDER = Path(__file__).with_name("scenarios")
Kind = Literal[
    "Waiting", "Background", "Streaming", "Priorities", "Approving", "Cancelling", "CallingTools"
]
Measure = Literal[
    "error_rate",  # requests that failed, of all; a refusal with Retry-After is no failure
    "wait_p99",  # seconds of a run that does nothing and is waited for
    "first_event_p99",  # seconds
    "refused_p99",  # seconds until a refusal
    "zombies",  # the most there were
    "lag_p99",  # seconds that the event loop was late, of the worst minute
    "rss_slope",  # MB a minute after the warm-up
    "rss_growth",  # MB, from the first to the last quarter after the warm-up
    "descriptors_growth",
    "threads_growth",
    "tasks_growth",
    "goodput",  # under overload, of the capacity
    "accepted_p99",  # under overload, of what it was at capacity
    "exit_code",  # of the service, when it was told to stop
    "recovery",  # seconds until it was as before the overload
]


class _Part(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class Bound(_Part):
    """What a measure has to be. One that was not measured does not hold."""

    at_most: float | None = None
    at_least: float | None = None

    @model_validator(mode="after")
    def _says_something(self) -> Self:
        if self.at_most is None and self.at_least is None:
            raise ValueError("give at_most or at_least")
        return self

    def holds(self, value: float | None) -> bool:
        """Return whether ``value`` is within the bound."""
        if value is None:
            return False
        return (self.at_most is None or value <= self.at_most) and (
            self.at_least is None or value >= self.at_least
        )

    def __str__(self) -> str:
        if self.at_most == self.at_least:
            return f"{self.at_most:g}"
        parts = [("at most", self.at_most), ("at least", self.at_least)]
        return " and ".join(f"{words} {value:g}" for words, value in parts if value is not None)


class Overload(_Part):
    """More than the service can do: requests at a constant rate, whatever becomes of them."""

    times: Annotated[float, Field(gt=1, le=100)]  # the capacity
    assistant: str
    input: Mapping[str, Any]
    clients: Annotated[int, Field(ge=1, le=4_000)]  # that measure the capacity, none refused
    calibration: Seconds  # of measuring the capacity, and again of offering just that
    recovery: Seconds  # of watching it afterwards


class Scenario(_Part):
    """A load test."""

    name: str
    title: str
    duration: Seconds  # of the load, without what is measured before or after
    warm_up: Annotated[float, Field(ge=0)] = 0.0  # seconds that measures of growth leave out
    service: Mapping[str, int | float | str] = Field(default_factory=dict[str, Any])  # settings
    shape: Shape | None = None
    pause: Annotated[float, Field(ge=0, le=3_600)] = 0.0  # seconds of a user between two tasks
    users: Mapping[Kind, Annotated[int, Field(ge=1)]] = Field(default_factory=dict[Kind, int])
    overload: Overload | None = None
    bounds: Mapping[Measure, Bound]

    @model_validator(mode="after")
    def _has_one_kind_of_load(self) -> Self:
        if (self.shape is None) == (self.overload is None):
            raise ValueError("give either shape, with users, or overload")
        if (self.shape is None) != (not self.users):
            raise ValueError("shape and users need each other")
        if self.pause and isinstance(self.shape, Soak):
            raise ValueError("the users of a soak pause as its share asks; leave pause out")
        if self.warm_up >= self.duration:
            raise ValueError("warm_up must be shorter than duration")
        for name in self.service:
            if name not in Settings.model_fields:
                hint = nearest(name, Settings.model_fields)
                raise ValueError(f"service.{name}: there is no such setting. {hint}")
        return self

    @property
    def environment(self) -> dict[str, str]:
        """The settings of the service, as its environment has them."""
        return {f"MASTERLOOP_{name.upper()}": str(value) for name, value in self.service.items()}


def names() -> list[str]:
    """Return the scenarios that there are."""
    return sorted(file.stem for file in FOLDER.glob("*.toml"))


def load_scenario(name: str, duration: float | None = None, folder: Path = FOLDER) -> Scenario:
    """Return the scenario of that name, for ``duration`` seconds if that is given.

    Raises:
        ConfigurationError: there is no such scenario, or its file makes no sense.
    """
    file = folder / f"{name}.toml"
    try:
        document = tomllib.loads(file.read_text())
    except FileNotFoundError:
        known = [one.stem for one in folder.glob("*.toml")]
        raise ConfigurationError(name, "there is no such scenario", nearest(name, known)) from None
    except tomllib.TOMLDecodeError as error:
        raise ConfigurationError(str(file), f"not TOML: {error}", "Mend the file") from None
    if duration is not None:
        shorter = duration / document.get("duration", duration)
        document["duration"] = duration
        document["warm_up"] = document.get("warm_up", 0.0) * min(1.0, shorter)
    try:
        return Scenario(name=name, **document)
    except ValidationError as error:
        raise _in_words(file, error) from None


def _in_words(file: Path, error: ValidationError) -> ConfigurationError:
    first = error.errors(include_url=False)[0]
    where = ".".join(str(part) for part in first["loc"] if part != "[key]") or "the file"
    problem = f"{where}: {first['msg'].removeprefix('Value error, ')}"
    known: dict[str, tuple[str, ...]] = {
        "users": get_args(Kind),
        "bounds": get_args(Measure),
    }
    section = known.get(str(first["loc"][0])) if first["loc"] else None
    if section is not None and first["type"] == "literal_error":
        return ConfigurationError(str(file), problem, nearest(str(first["input"]), section))
    return ConfigurationError(str(file), problem, "Mend the file")
