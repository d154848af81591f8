"""From ``"./file.py:name"`` or ``"package.module:name"`` to the object of that name."""

import re
import sys
import sysconfig
import traceback
from importlib import import_module
from importlib.machinery import ModuleSpec, SourceFileLoader
from importlib.util import find_spec, module_from_spec
from pathlib import Path
from types import ModuleType
from typing import Any

from langgraph.graph import StateGraph
from langgraph.pregel import Pregel

from operations.errors import ConfigurationError
from orchestration.graphs.namesakes import is_ours


def load_target(reference: str, *, folder: Path, where: str) -> Any:
    """Import what ``reference`` names, a file relative to ``folder``; ``where`` is for errors.

    A file that the import path reaches is the module that an import statement would make of it,
    so there is one of it, and its classes keep their names in checkpoints.

    Raises:
        ConfigurationError: there is no such file, module or name, or importing it failed.
    """
    source, _, name = reference.rpartition(":")
    if source.endswith(".py") or "/" in source:
        module = _import_file((folder / source).resolve(), source, where)
    else:
        module = _import(source, where)
    try:
        return getattr(module, name)
    except AttributeError:
        raise ConfigurationError(
            where,
            f"module {source!r} has no attribute {name!r} (found: {_offers(module)})",
            "Name one that it has.",
        ) from None


def _import_file(file: Path, source: str, where: str) -> ModuleType:
    if not file.is_file():
        raise ConfigurationError(
            where, f'there is no file "{file.name}" in {file.parent}', "Create it, or name another."
        )
    if names := _dotted_names(file):
        return _import(names[0], where)
    return _import_alone(file, source, where)


def _dotted_names(file: Path) -> list[str]:
    """Return what an import statement would call ``file``, the shortest name first."""
    names: list[str] = []
    for root in {Path(entry).resolve() for entry in sys.path}:
        if root in file.parents:
            parts = file.relative_to(root).with_suffix("").parts
            parts = parts[:-1] if parts[-1] == "__init__" else parts
            named = parts and all(map(str.isidentifier, parts)) and not is_ours(*parts)
            if named and _finds(parts[0], root, file):
                names.append(".".join(parts))
    return sorted(names, key=len)


def _finds(top: str, root: Path, file: Path) -> bool:
    """Whether the module or package ``top`` is the one in ``root``, and not another of its name."""
    try:
        spec = find_spec(top)
    except ValueError:  # imported without a spec, such as __main__
        spec = None
    if spec is None:
        return False
    places = [*(spec.submodule_search_locations or ()), spec.origin or ""]
    return not {root / top, file}.isdisjoint(Path(place).resolve() for place in places)


def _import(name: str, where: str) -> ModuleType:
    try:
        return import_module(name)
    except (Exception, SystemExit) as error:
        raise _failed_import(name, where, error) from error


def _import_alone(file: Path, source: str, where: str) -> ModuleType:
    """Import a file that no import statement reaches, once, under a name made of its path."""
    name = re.sub(r"\W", "_", "__".join(file.with_suffix("").parts[1:]))
    if name in sys.modules:
        return sys.modules[name]
    spec = ModuleSpec(name, SourceFileLoader(name, str(file)), origin=str(file))
    spec.has_location = True
    module = sys.modules[name] = module_from_spec(spec)
    try:
        SourceFileLoader(name, str(file)).exec_module(module)
    except (Exception, SystemExit) as error:
        del sys.modules[name]
        raise _failed_import(source, where, error) from error
    return module


def _failed_import(name: str, where: str, error: BaseException) -> ConfigurationError:
    frames = traceback.extract_tb(error.__traceback__)
    place = next((f" ({f.filename}:{f.lineno})" for f in reversed(frames) if _is_users(f)), "")
    return ConfigurationError(
        where,
        f"importing {name!r} failed with {type(error).__name__}: {error}{place}",
        "It has to be importable by this Python, with what it needs installed.",
    )


def _is_users(frame: traceback.FrameSummary) -> bool:
    """Whether a frame is of the user's code: not of this module, Python, or what is installed."""
    own = (__file__, sysconfig.get_path("stdlib"), sysconfig.get_path("purelib"), "<")
    return not frame.filename.startswith(own)


def _offers(module: ModuleType) -> str:
    """Return the public names that could be meant: graphs, and what the module itself defines."""
    names = [
        name
        for name, value in vars(module).items()
        if not name.startswith("_")
        and (
            getattr(value, "__module__", None) == module.__name__
            or isinstance(value, Pregel | StateGraph)
        )
    ]
    return ", ".join(names) or "nothing"
