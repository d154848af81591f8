"""What the SDK's ``get_client()`` without a url finds: the service that a graph works in.

It looks for LangGraph's server in the process around it. Of that there is here what it asks for,
under the names that it asks by.
"""

import sys
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from importlib.machinery import ModuleSpec
from importlib.util import find_spec
from types import ModuleType
from typing import Protocol, TypeVar

import httpx

_SERVER = "langgraph_api"
_IS_INSTALLED = find_spec(_SERVER) is not None  # some have it beside the service, for its command


class Inside(Protocol):
    """A service, for those who work in it."""

    async def answer(self, request: httpx.Request) -> httpx.Response:
        """Answer a request, from whatever event loop; the body of the answer comes as it is made.

        Raises:
            httpx.TransportError: it did not answer.
        """
        ...


T = TypeVar("T", bound=Inside)


class Transport(httpx.AsyncBaseTransport):
    """Hands the requests of a client to the service around it, without a connection."""

    def __init__(self, app: Inside, root_path: str = "") -> None:
        """``root_path`` is how LangGraph's server knows such requests; here they are known."""
        del root_path
        self._inside = app

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        """Have a request answered."""
        return await self._inside.answer(request)


@asynccontextmanager
async def found_by_clients(inside: T) -> AsyncGenerator[T]:
    """Let clients that are made meanwhile, in this process, reach ``inside``."""
    server, transport = ModuleType(f"{_SERVER}.server"), ModuleType(f"{_SERVER}.asgi_transport")
    server.__dict__["app"] = inside
    transport.__dict__["ASGITransport"] = Transport
    modules = {module.__name__: module for module in (server, transport)}
    if not _IS_INSTALLED:
        around = ModuleType(_SERVER)
        around.__spec__ = ModuleSpec(_SERVER, None)
        around.__dict__["asgi_transport"] = transport
        modules[_SERVER] = around
    sys.modules.update(modules)
    try:
        yield inside
    finally:
        for name, module in modules.items():
            if sys.modules.get(name) is module:
                del sys.modules[name]
