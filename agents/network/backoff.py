"""How long to wait before trying again."""

from random import Random


def backoff(attempt: int, *, first: float, most: float, rng: Random) -> float:
    """Return the wait before retry number ``attempt`` (from 1), in seconds.

    Full jitter: uniform over ``[0, min(most, first * 2 ** (attempt - 1))]``.

    Source: M. Brooker, "Exponential Backoff And Jitter", AWS Architecture Blog, 2015.
    """
    return rng.uniform(0, min(most, first * 2.0 ** min(attempt - 1, 64)))
