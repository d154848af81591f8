"""Packages of a project that have the name of one of the service's: both are there, as one.

Many a project has its graphs in a package `agents`. Python knows one package of a name; where an
import finds nothing in the service's, it goes on in the project's.
"""

from collections.abc import Callable, Iterable
from importlib import import_module
from pathlib import Path
from types import ModuleType
from typing import Any

_ROOMS = ("agents", "coordinator", "operations", "orchestration")


def join(folders: Iterable[Path]) -> None:
    """Let imports find what there is in ``folders`` below the service's names.

    A module that several have is the service's, or that of the first folder. Nothing is imported
    yet.
    """
    for room, package in _namesakes(folders):
        room.__path__.append(str(package))
        source = package / "__init__.py"
        if source.is_file():
            room.__dict__.setdefault("__getattr__", _attributes(room, source))


def hidden(folders: Iterable[Path]) -> list[Path]:
    """Return what no import finds in ``folders``, as the service has it, too."""
    return [
        package / module
        for room in _ROOMS
        for package in (folder / room for folder in folders)
        if package.is_dir() and package.resolve() != _home(room)
        for module in sorted(_modules(package) & _modules(_home(room)))
    ]


def is_ours(room: str, *modules: str) -> bool:
    """Return whether a dotted name, by its parts, is of a module that the service has."""
    return room in _ROOMS and not _modules(_home(room)).isdisjoint(modules[:1])


def _namesakes(folders: Iterable[Path]) -> Iterable[tuple[ModuleType, Path]]:
    """Yield each package of a project with that of the service, unless they are joined."""
    for folder in folders:
        for room in map(import_module, _ROOMS):
            package = folder / room.__name__
            if package.is_dir() and package.resolve() not in map(Path.resolve, _places(room)):
                yield room, package


def _attributes(room: ModuleType, source: Path) -> Callable[[str], Any]:
    """Return what finds in ``source`` what the room has not; it is executed when first asked."""
    names: dict[str, Any] = {}

    def find(name: str) -> Any:
        if not (names or name.startswith("__") or is_ours(room.__name__, name)):
            names.update(vars(room), __file__=str(source))
            try:
                exec(compile(source.read_bytes(), source, "exec"), names)  # noqa: S102 - an import
            except BaseException:
                names.clear()
                raise
        if name in names:
            return names[name]
        raise AttributeError(f"module {room.__name__!r} has no attribute {name!r}")

    return find


def _home(room: str) -> Path:
    return _places(import_module(room))[0].resolve()


def _places(room: ModuleType) -> list[Path]:
    return [Path(place) for place in room.__path__]


def _modules(package: Path) -> set[str]:
    """Return the names of the modules and packages in a folder."""
    found = {
        entry.stem
        for entry in package.iterdir()
        if entry.suffix == ".py" or (entry.is_dir() and entry.name.isidentifier())
    }
    return found - {"__init__", "__pycache__"}
