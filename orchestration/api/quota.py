"""``RateLimit`` and ``RateLimit-Policy``, after draft-ietf-httpapi-ratelimit-headers.

These and not the ``X-RateLimit`` fields, whose reset is a time in some services and a number of
seconds in others: here one field says what the limit is, and one how much of it is left.
"""

import math

from orchestration.loop.master import MasterLoop
from orchestration.loop.rate import Allowance
from orchestration.loop.run import Run

FIELDS = ("ratelimit", "ratelimit-policy")


def quota(loop: MasterLoop, run: Run) -> dict[str, str]:
    """Return what is left to the tenant of a run, as headers; none where the rate has no limit."""
    allowance = loop.allowance(run.tenant)
    return {} if allowance is None else rate_limit(allowance)


def rate_limit(allowance: Allowance) -> dict[str, str]:
    """Return an allowance as headers."""
    window, reset = math.ceil(allowance.window), math.ceil(allowance.reset)
    return {
        "ratelimit-policy": f'"runs";q={allowance.quota};w={window}',
        "ratelimit": f'"runs";r={allowance.remaining};t={reset}',
    }
