"""How many seats a pool should have."""

import math

from agents.configuration import Scaling, Seats


class Scaler:
    """Decides from what it is told; it has no clock of its own, and touches no seat.

    The load is the number of agents at work plus the number of those who wait for one, averaged
    over ``smoothing`` seconds.
    """

    def __init__(self, policy: Scaling, seats: Seats, now: float) -> None:
        self._policy = policy
        self._seats = seats
        self._goal = (policy.high + policy.low) / 2  # the utilisation that a change aims at
        self._load = 0.0
        self._average = 0.0
        self._observed = now
        self._grown = self._changed = -math.inf

    def observe(self, now: float, load: int) -> None:
        """Take note that the load is different from now on."""
        weight = 1 - math.exp(-(now - self._observed) / self._policy.smoothing)
        self._average += weight * (self._load - self._average)
        self._load = load
        self._observed = now

    def decide(self, now: float, seats: int, waited: float) -> int:
        """Return how many seats there should be, of those ``seats`` that there are.

        ``waited`` is how long the one waits who waits longest, in seconds; 0 if nobody does.
        """
        self.observe(now, int(self._load))
        if not seats:  # all that there were are about to go
            return self._seats.min
        policy = self._policy
        busy = self._average / seats
        if busy > policy.high or waited > policy.wait:
            if now - self._grown < policy.grow_cooldown:
                return seats
            wanted = max(seats + 1, math.ceil(max(self._average, self._load) / self._goal))
        elif busy < policy.low and not waited:
            if now - self._changed < policy.shrink_cooldown:
                return seats
            wanted = min(seats, math.ceil(self._average / self._goal))
        else:
            return seats
        wanted = min(self._seats.max, max(self._seats.min, wanted))
        if wanted != seats:
            self._changed = now
        if wanted > seats:
            self._grown = now
        return wanted
