"""How many users there are at a time: the shapes that load can have."""

from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field

Users = Annotated[int, Field(ge=1, le=10_000)]
Seconds = Annotated[float, Field(gt=0, le=86_400)]
PEAKS = 4  # of a burst


class _Shape(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)

    users: Users

    def at(self, progress: float) -> int:  # noqa: ARG002 - some shapes need it
        """Return how many users there are when ``progress`` (0 to 1) of the time has passed."""
        return self.users


class Steady(_Shape):
    """The same number of users all the time."""

    kind: Literal["steady"]


class Burst(_Shape):
    """Few users, and four times, for a quarter of the time together, ``peak`` at once."""

    kind: Literal["burst"]
    peak: Users

    def at(self, progress: float) -> int:
        return self.peak if 0.5 <= progress * PEAKS % 1 < 0.75 else self.users  # noqa: PLR2004


class Ramp(_Shape):
    """More and more users, up to ``peak`` at the end."""

    kind: Literal["ramp"]
    peak: Users

    def at(self, progress: float) -> int:
        return round(self.users + (self.peak - self.users) * progress)


class Spike(_Shape):
    """Ten times as many users in the second of three parts of the time."""

    kind: Literal["spike"]
    times: Annotated[int, Field(ge=2, le=100)] = 10

    def at(self, progress: float) -> int:
        return self.users * self.times if 1 <= progress * 3 < 2 else self.users  # noqa: PLR2004


class Soak(_Shape):
    """The same number of users all the time, who do a part of what the service could do.

    What it can do is measured first, for ``calibration`` seconds, by users who do not pause.
    """

    kind: Literal["soak"]
    share: Annotated[float, Field(gt=0, lt=1)]  # of the tasks a second that it can do
    calibration: Seconds


Shape = Annotated[Steady | Burst | Ramp | Spike | Soak, Field(discriminator="kind")]
