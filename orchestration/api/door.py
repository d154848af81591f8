"""Who is turned away at the door: before a body is read, or a caller asked who they are."""

import re
from collections.abc import Callable, Iterable

from starlette.responses import Response
from starlette.types import Scope

from orchestration.api.access import Access
from orchestration.api.answered import Answered
from orchestration.api.endpoint import Endpoint
from orchestration.api.idempotency import HEADER as IDEMPOTENCY_KEY
from orchestration.api.problems import problem, respond
from orchestration.loop.master import MasterLoop

TurnAway = Callable[[Scope], Response | None]  # the answer to what is not let in
CREATION = Access("threads", "create_run")
# What may be answered from before takes no room; a page of another origin could not read a
# refusal that lacks the headers of CORS.
_LET_IN = frozenset({IDEMPOTENCY_KEY, b"origin"})


class Door:
    """Refuses requests for runs while the queue is full.

    Under overload most requests are refused: what that costs decides how many others are served.
    """

    def __init__(
        self, loop: MasterLoop, endpoints: Iterable[Endpoint], prefix: str, answered: Answered
    ) -> None:
        self._loop = loop
        self._answered = answered
        self._routes = [one.path for one in endpoints if one.access == CREATION]
        patterns = (re.sub(r"{\w+}", "[^/]+", route) for route in self._routes)
        self._path = re.compile(
            re.escape(prefix) + "(?:" + "|".join(f"({p})" for p in patterns) + ")"
        )

    def refusal(self, scope: Scope) -> Response | None:
        """Return the answer to a request that is not let in."""
        if scope["method"] != "POST" or not self._loop.full:
            return None
        found = self._path.fullmatch(scope["path"])
        if found is None or any(name in _LET_IN for name, _ in scope["headers"]):
            return None
        answer = respond(problem(self._loop.turn_away()), scope["path"])
        route = self._routes[(found.lastindex or 1) - 1]
        self._answered.add(route, "POST", answer.status_code, 0.0)
        return answer
