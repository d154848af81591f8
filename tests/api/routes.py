"""Routes of a project's own, for the tests of ``http.app``."""

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any

from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.middleware.base import BaseHTTPMiddleware
from starlette.requests import Request
from starlette.responses import JSONResponse, PlainTextResponse, Response
from starlette.routing import Mount, Route, WebSocketRoute
from starlette.websockets import WebSocket

life: list[str] = []


async def _hello(request: Request) -> Response:
    user = request.user.identity if "user" in request.scope else None
    return JSONResponse({"hello": user, "given": request.state.given, "life": life[-1]})


async def _echo(request: Request) -> Response:
    return JSONResponse(await request.json())


async def _shadow(_: Request) -> Response:
    return JSONResponse({"ok": "mine"})


async def _inner(_: Request) -> Response:
    return PlainTextResponse("inner")


async def _greet(socket: WebSocket) -> None:
    await socket.accept()
    await socket.send_text(socket.user.identity)
    await socket.close()


async def _count(socket: WebSocket) -> None:
    await socket.accept()
    await socket.send_text("1")
    await socket.close()


async def _broken(_: Request) -> Response:
    raise ValueError("of the project")


async def _marked(request: Request, go: Callable[[Request], Awaitable[Response]]) -> Response:
    response = await go(request)
    response.headers["x-marked"] = "yes"
    return response


@asynccontextmanager
async def _lifespan(_: Any) -> AsyncIterator[dict[str, str]]:
    life.append("begun")
    yield {"given": "by the lifespan"}
    life.append("ended")


app = Starlette(
    routes=[
        Route("/hello", _hello),
        Route("/echo", _echo, methods=["POST"]),
        Route("/ok", _shadow),
        Route("/threads", _shadow, methods=["GET"]),
        Route("/broken", _broken),
        WebSocketRoute("/greet", _greet),
        WebSocketRoute("/count", _count),
        Mount("/mounted", routes=[Route("/inner", _inner), WebSocketRoute("/count", _count)]),
    ],
    middleware=[Middleware(BaseHTTPMiddleware, dispatch=_marked)],
    lifespan=_lifespan,
)
nothing = "no application"
