"""The face as the service has it: made when somebody first comes, for its imports take seconds."""

import asyncio
from collections.abc import Callable, Mapping
from contextlib import AbstractAsyncContextManager

import anyio.to_thread
from starlette.types import ASGIApp, Receive, Scope, Send

from orchestration.api.backend import Backend
from orchestration.api.problems import problem, respond
from orchestration.loop.errors import Draining
from orchestration.mcp.allowed import warn_of_unknown
from orchestration.mcp.oauth import WELL_KNOWN, ProtectedResource

Open = Callable[[Backend, ProtectedResource], AbstractAsyncContextManager[ASGIApp]]


class McpHost:
    """An ASGI application, and the work in the background that it needs."""

    def __init__(self, backend: Backend) -> None:
        self._backend = backend
        self._resource = ProtectedResource(
            backend.settings.oidc_issuer, backend.manifest.masterloop.mcp.url
        )
        self._wanted = asyncio.Event()
        self._closing = asyncio.Event()
        self._face: asyncio.Future[ASGIApp] = asyncio.get_running_loop().create_future()

    @property
    def paths(self) -> Mapping[str, ASGIApp]:
        """Where it is served; nowhere if it is switched off."""
        if self._backend.manifest.http.disable_mcp:
            return {}
        metadata = dict.fromkeys((WELL_KNOWN, f"{WELL_KNOWN}/mcp"), self._resource)
        return {"/mcp": self, "/mcp/": self, **metadata}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        self._wanted.set()
        try:
            face = await asyncio.shield(self._face)
        except Exception as error:  # noqa: BLE001 - whatever it is, the client gets an answer
            await respond(problem(error), scope["path"])(scope, receive, send)
            return
        await face(scope, receive, send)

    async def run(self) -> None:
        """Warn of names that nobody has, and keep the face open from the first request on."""
        if self.paths:
            await warn_of_unknown(self._backend)
        await self._wanted.wait()
        if self._closing.is_set():
            return
        try:
            open_face = await anyio.to_thread.run_sync(_imported)
            async with open_face(self._backend, self._resource) as face:
                if not self._face.done():
                    self._face.set_result(face)
                await self._closing.wait()
        except Exception as error:
            self._fail(error)
            raise

    def close(self) -> None:
        """Begin nothing more."""
        self._closing.set()
        self._wanted.set()
        self._fail(Draining())

    def _fail(self, error: Exception) -> None:
        if not self._face.done():
            self._face.set_exception(error)
            self._face.exception()  # seen: there may be nobody who waits


def _imported() -> Open:
    from orchestration.mcp.face import open_face  # noqa: PLC0415 - two seconds of the SDK's types

    return open_face
