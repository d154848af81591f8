"""What the operations on decisions and experience answer. Times and durations are seconds."""

from typing_extensions import TypedDict


class Arm(TypedDict):
    """A way to go on: in which mode, by which variant, with agents of which pool."""

    mode: str | None
    variant: str | None
    pool: str | None


class Features(TypedDict):
    """What could decide which way is best."""

    steps: int
    width: int
    priority: int
    load: float


class Outcome(TypedDict):
    """How it went, and the reward for it, 0 to 1."""

    duration: float
    success: bool
    cost: float
    reward: float


class Option(TypedDict):
    """A way that could be chosen: what was expected of it, and what it was compared by."""

    arm: Arm
    results: float
    chance: float
    seconds: float
    weight: float
    drawn: float


class Decision(TypedDict):
    """What was chosen, from what, why, and how it went, once that is known."""

    decision_id: str
    at: str
    workflow: str
    run_id: str | None
    step: str | None
    features: Features
    chosen: Arm
    options: list[Option]
    why: str
    result: Outcome | None


class ArmTotal(TypedDict):
    """How a way went in all; duration, cost and reward are averages."""

    owner: str | None
    arm: Arm
    results: int
    succeeded: int
    duration: float
    cost: float
    reward: float
    last_at: str


class ExperienceEntry(TypedDict):
    """One decision and how it went."""

    number: int
    decision_id: str
    at: str
    owner: str | None
    workflow: str
    step: str | None
    arm: Arm
    features: Features
    result: Outcome


class Experience(TypedDict):
    """How each way went, and the best results."""

    arms: list[ArmTotal]
    best: list[ExperienceEntry]
