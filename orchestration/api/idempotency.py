"""``Idempotency-Key``: a creation that is asked for again is answered again, not done again.

After draft-ietf-httpapi-idempotency-key-header: the same key with the same request has the first
answer, with another request 422, and while the first is not answered yet 409. A request that was
refused leaves no key.
"""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass, replace
from hashlib import sha256
from http import HTTPStatus
from typing import TYPE_CHECKING, Any

import orjson
from starlette.responses import Response
from starlette.types import Scope

from orchestration.api.problems import Problem

if TYPE_CHECKING:
    import sqlite3

    from orchestration.api.endpoint import Call

HEADER = b"idempotency-key"
MAX_LENGTH = 255  # characters

Again = Callable[["Call", "sqlite3.Row"], Awaitable[Response]]


async def answer_again(call: "Call", kept: "sqlite3.Row") -> Response:  # noqa: ARG001 - as others
    """Answer with what was answered first."""
    return Response(kept["answer"], media_type="application/json")


@dataclass(frozen=True, slots=True)
class Once:
    """How a creation is repeated: what is kept of what it made, and how that answers again."""

    document: Callable[[Any], Any]
    again: Again = answer_again
    run: Callable[[Any], str | None] = lambda _: None

    async def answer(
        self, call: "Call", asked: bytes, go: Callable[["Call"], Awaitable[Response]]
    ) -> Response:
        """Have a request with a key answered: by ``go`` the first time, from what it left later.

        ``asked`` is the fingerprint of the request.

        Raises:
            Problem: 400, the key is none; 422, it was another request's.
            AskedTwice: the first request with that key is not answered yet.
        """
        key = _key(call)
        principal = call.principal.identity
        keys = call.backend.keys
        with keys.answering(principal, key):
            kept = keys.find(principal, key)
            if kept is None:
                receipt = keys.receipt(principal, key, asked, self._kept)
                return await go(replace(call, receipt=receipt))
        if kept["fingerprint"] != asked:
            raise Problem(
                HTTPStatus.UNPROCESSABLE_ENTITY,
                "this Idempotency-Key was sent with another request; take a new key for a new one",
            )
        return await self.again(call, kept)

    def _kept(self, created: Any) -> tuple[bytes, str | None]:
        return orjson.dumps(self.document(created)), self.run(created)


def _key(call: "Call") -> str:
    """Return the key; the draft has it in quotation marks, most clients have not."""
    values = [value for name, value in call.scope["headers"] if name == HEADER]
    text: str = values[0].decode("latin-1").strip()
    if len(text) > 1 and text[0] == text[-1] == '"':
        text = text[1:-1]
    if len(values) > 1 or not text or len(text) > MAX_LENGTH or not text.isprintable():
        raise Problem(
            HTTPStatus.BAD_REQUEST,
            f"Idempotency-Key: one of 1 to {MAX_LENGTH} printable characters is needed, "
            "for example a UUID",
        )
    return text


def fingerprint(scope: Scope, request: Any) -> bytes:
    """Return what tells a request, as JSON and before anybody has changed it, from all others."""
    asked = [scope["method"], scope["path"], scope["query_string"].decode("latin-1"), request]
    return sha256(orjson.dumps(asked, option=orjson.OPT_SORT_KEYS)).digest()
