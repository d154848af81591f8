"""What a run itself has shown of its arms, which weighs more than what is known from before."""

from collections import OrderedDict

from coordinator.advice import Arm
from coordinator.experience import Problem

RUNS = 1_000  # the last runs whose weights are kept
_ARMS = 256  # of one run, the last tried

_Key = tuple[Problem, Arm]


class RunWeights:
    """Weights of at most 1, by which a draw is multiplied while a run goes on.

    A failure halves the weight of its arm; a success that was slower than expected multiplies it by
    the ratio of the speeds, and any other success brings it half of the way back to 1.
    """

    def __init__(self) -> None:
        self._runs: OrderedDict[str, OrderedDict[_Key, float]] = OrderedDict()

    def __call__(self, run_id: str | None, problem: Problem, arm: Arm) -> float:
        """Return the weight of an arm in a run."""
        known = self._runs.get(run_id) if run_id is not None else None
        return 1.0 if known is None else known.get((problem, arm), 1.0)

    def note(
        self, run_id: str, problem: Problem, arm: Arm, *, reward: float, expected: float
    ) -> None:
        """Take in what came of an arm, of which a speed of ``expected`` was expected."""
        weights = self._runs.setdefault(run_id, OrderedDict())
        self._runs.move_to_end(run_id)
        weight = weights.get((problem, arm), 1.0)
        if reward == 0:
            weight /= 2
        elif reward < expected:
            weight *= reward / expected
        else:
            weight = (1 + weight) / 2
        weights[problem, arm] = weight
        weights.move_to_end((problem, arm))
        if len(weights) > _ARMS:
            weights.popitem(last=False)
        if len(self._runs) > RUNS:
            self._runs.popitem(last=False)
