"""From the path of a request to what answers there."""

from collections.abc import Mapping

from starlette.types import ASGIApp, Receive, Scope, Send


class Paths:
    """An ASGI application: many others, each at its path, and ``otherwise`` for all the rest.

    A ``{name}`` in a path stands for one part of it, and is passed on in ``path_params``. A path
    that says more exactly what it is for goes first. Looked up by its length and its beginning, a
    path is compared with a handful of others, however many there are.
    """

    def __init__(self, apps: Mapping[str, ASGIApp], otherwise: ASGIApp) -> None:
        self._otherwise = otherwise
        self._places: dict[tuple[int, str], list[_Place]] = {}
        for path in sorted(apps, key=lambda path: path.count("{")):
            place = _Place(path, apps[path])
            self._places.setdefault((len(place.parts), place.parts[1]), []).append(place)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass the request on."""
        found = self._find(scope)
        if found is None:
            await self._otherwise(scope, receive, send)
        else:
            app, scope["path_params"] = found
            await app(scope, receive, send)

    def have(self, scope: Scope) -> bool:
        """Return whether a request is for one of the paths."""
        return self._find(scope) is not None

    def _find(self, scope: Scope) -> tuple[ASGIApp, dict[str, str]] | None:
        parts: list[str] = scope["path"].removeprefix(scope.get("root_path", "")).split("/")
        for place in self._places.get((len(parts), parts[1] if len(parts) > 1 else ""), ()):
            found = place.find(parts)
            if found is not None:
                return place.app, found
        return None


class _Place:
    """One path, and what is there."""

    def __init__(self, path: str, app: ASGIApp) -> None:
        self.app = app
        self.parts = path.split("/")
        self._fixed = [(k, part) for k, part in enumerate(self.parts) if not part.startswith("{")]
        self._named = [(k, part[1:-1]) for k, part in enumerate(self.parts) if part.startswith("{")]

    def find(self, parts: list[str]) -> dict[str, str] | None:
        """Return what stands for each name if ``parts``, as many as ours, are of this path."""
        if any(parts[k] != part for k, part in self._fixed):
            return None
        if not all(parts[k] for k, _ in self._named):
            return None
        return {name: parts[k] for k, name in self._named}
