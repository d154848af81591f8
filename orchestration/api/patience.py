"""Waiting for a run inside a request."""

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from http import HTTPStatus

import orjson
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from operations.errors import StorageUnavailable
from orchestration.api.endpoint import Call, json_response
from orchestration.api.following import place
from orchestration.api.problems import CLIENT_GONE, problem, respond
from orchestration.loop.errors import Draining, LoopError
from orchestration.loop.run import Ending, Run

_KEPT = "the service is stopping; join the run in a few seconds: this request would make another"


def waiting(
    call: Call,
    run: Run,
    *,
    cancel: bool,
    again: bool = True,
    headers: Mapping[str, str] | None = None,
) -> Response:
    """Return the response that waits for ``run``; ``cancel`` it if the client goes away.

    ``again``: whether it is the same run that is waited for if the request is sent once more.
    """
    loop, runs = call.backend.loop, call.backend.runs
    return WaitResponse(
        run,
        announce=None if run.announced else (lambda: runs.announce(run)),
        headers={**place(run.thread_id, run.run_id, "join"), **(headers or {})},
        keep_alive=call.backend.settings.keep_alive,
        leave=(lambda: loop.cancel(run, Ending.INTERRUPT)) if cancel else None,
        again=again,
    )


class WaitResponse(Response):
    """An ASGI response with the outcome of a run; white space keeps a long wait alive.

    A run that ends within ``keep_alive`` seconds is answered plainly; before anything is said of
    one that has not, it is ``announce``d. ``leave`` is called at once when the client goes away
    first; where there is none, a client is looked after only from then on.
    Of a stop a client that cannot ask ``again`` is told in words, not by a status on which clients
    send the request once more by themselves: that would make another run.
    """

    def __init__(
        self,
        run: Run,
        *,
        headers: Mapping[str, str],
        keep_alive: float,
        leave: Callable[[], None] | None,
        announce: Callable[[], Awaitable[None]] | None = None,
        again: bool = True,
    ) -> None:
        if run.done is None:
            raise RuntimeError("only a submitted run can be waited for")
        self.status_code = HTTPStatus.OK
        self._done = run.done
        self._waiters = run.waiters
        self._announce = announce
        self._head = headers
        self._keep_alive = keep_alive
        self._leave = leave
        self._again = again
        self._awake: asyncio.Future[None] | None = None
        self._gone = False

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Wait, then answer."""
        watch = asyncio.create_task(self._watch(receive)) if self._leave is not None else None
        self._waiters.add(self._wake)
        try:
            while not await self._over():
                watch = watch or asyncio.create_task(self._watch(receive))
                if await self._announced():
                    await self._trickle(send)
                    return
            if self._gone:
                self.status_code = CLIENT_GONE
            else:
                answer = await self._plain(scope["path"])
                self.status_code = answer.status_code
                await answer(scope, receive, send)
        finally:
            self._waiters.discard(self._wake)
            if watch is not None:
                watch.cancel()

    async def _watch(self, receive: Receive) -> None:
        while (await receive())["type"] != "http.disconnect":
            pass
        if self._leave is not None and not self._done.done():
            self._leave()
        self._gone = True
        self._wake()

    def _wake(self) -> None:
        if self._awake is not None and not self._awake.done():
            self._awake.set_result(None)

    async def _over(self) -> bool:
        """Return whether the wait is over, ``keep_alive`` seconds from now at the latest."""
        if not self._gone and not self._done.done():
            # Not awaited itself: to cancel this request must not cancel what others wait for.
            self._awake = asyncio.get_running_loop().create_future()
            timer = self._awake.get_loop().call_later(self._keep_alive, self._wake)
            try:
                await self._awake
            finally:
                timer.cancel()
        return self._gone or self._done.done()

    async def _announced(self) -> bool:
        """Return whether the client may be told of the run; if not, the store cannot write."""
        if self._announce is not None:
            try:
                await self._announce()
            except StorageUnavailable:
                return False
        return True

    async def _plain(self, path: str) -> Response:
        try:
            return json_response(self._done.result().answer, headers=self._head)
        except (LoopError, StorageUnavailable) as error:
            if self._keeps(error) and await self._announced():
                return json_response(self._told(error), headers=self._head)
            return respond(problem(error), path)

    def _keeps(self, error: LoopError | StorageUnavailable) -> bool:
        """Return whether the run goes on after a stop, and another request would make another."""
        return isinstance(error, Draining) and not self._again

    def _told(self, error: LoopError | StorageUnavailable) -> bytes:
        """Return an error where the answer would be, as LangGraph's clients know it."""
        said = _KEPT if self._keeps(error) else problem(error).detail
        return orjson.dumps({"__error__": {"error": type(error).__name__, "message": said}})

    async def _trickle(self, send: Send) -> None:
        head = {"content-type": "application/json", **self._head}
        raw = [(name.encode(), value.encode()) for name, value in head.items()]
        await send({"type": "http.response.start", "status": 200, "headers": raw})
        await send({"type": "http.response.body", "body": b"\n", "more_body": True})
        while not await self._over():
            await send({"type": "http.response.body", "body": b"\n", "more_body": True})
        if self._gone:
            return
        try:
            body = self._done.result().answer
        except (LoopError, StorageUnavailable) as error:
            body = self._told(error)
        await send({"type": "http.response.body", "body": body, "more_body": False})
