"""``http.mount_prefix``: everything below a path of its own; probes are found without it, too."""

from starlette.types import ASGIApp, Receive, Scope, Send

PROBES = frozenset({"/ok", "/livez", "/readyz", "/startupz"})


class Below:
    """An ASGI application that is another one below a prefix, and ``otherwise`` beside it."""

    def __init__(self, app: ASGIApp, prefix: str, otherwise: ASGIApp) -> None:
        self._app = app
        self._otherwise = otherwise
        self._prefix = "/" + prefix.strip("/")

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass a request on, if it is for something below the prefix."""
        path: str = scope["path"]
        if path == self._prefix or path.startswith(f"{self._prefix}/"):
            await self._app({**scope, "root_path": self._prefix}, receive, send)
        elif path in PROBES:
            await self._app(scope, receive, send)
        else:
            await self._otherwise(scope, receive, send)
