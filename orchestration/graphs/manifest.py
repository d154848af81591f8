"""``langgraph.json``: which graphs are served, and with what around them."""

import json
import os
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from io import StringIO
from operator import attrgetter
from pathlib import Path
from typing import Any, ClassVar, Self, cast

from dotenv import dotenv_values, load_dotenv
from pydantic import Field, PrivateAttr, ValidationError, ValidationInfo, model_validator
from pydantic_core import ErrorDetails

from agents.configuration import GraphPool
from operations.errors import ConfigurationError, nearest
from operations.sections import WORDS, Names, Section, mistake
from orchestration.graphs.namesakes import join
from orchestration.graphs.sections import (
    AuthSection,
    CheckpointerSection,
    Graphs,
    HttpSection,
    MasterloopSection,
    StoreSection,
    WebhooksSection,
)

DEFAULT_FILE = Path("langgraph.json")
EXAMPLE = '{"dependencies": ["."], "graphs": {"agent": "./agent.py:graph"}}'

# For editors, and for building an image of LangGraph's own server.
BUILD_KEYS = frozenset(
    {
        "$schema",
        "_INTERNAL_docker_tag",
        "api_version",
        "base_image",
        "dockerfile_lines",
        "image_distro",
        "keep_pkg_tools",
        "node_version",
        "package",
        "pip_config_file",
        "pip_installer",
        "project_root",
        "python_version",
        "source",
    }
)
# LangGraph's server acts on these; this one does not.
IGNORED_KEYS = frozenset(
    {"disable_persistence", "encryption", "priority", "swr", "ui", "ui_config"}
)
IGNORED_BELOW = {
    "auth": ("cache",),
    "checkpointer": ("path",),
    "checkpointer.serde": ("allowed_json_modules", "pickle_fallback"),
    "http": ("logging_headers", "middleware_order"),
}


@dataclass(frozen=True, slots=True)
class _Origin:
    file: Path
    keys: frozenset[str]


class Manifest(Section):
    """What ``langgraph.json`` says. A key it leaves out has LangGraph's default."""

    unused: ClassVar[frozenset[str]] = BUILD_KEYS | IGNORED_KEYS

    graphs: Graphs = Field(default_factory=dict, validate_default=True)
    dependencies: Names = ()
    env: str | dict[str, str] = Field(default_factory=dict)
    store: StoreSection = StoreSection()
    checkpointer: CheckpointerSection = CheckpointerSection()
    http: HttpSection = HttpSection()
    auth: AuthSection | None = None
    webhooks: WebhooksSection = WebhooksSection()
    masterloop: MasterloopSection = MasterloopSection()

    _file: Path = PrivateAttr(DEFAULT_FILE)
    _ignored: tuple[str, ...] = PrivateAttr(())

    @property
    def file(self) -> Path:
        """The file, as it was named by whoever had it read."""
        return self._file

    @property
    def folder(self) -> Path:
        """The absolute folder of the file, to which its relative paths refer."""
        return self._file.resolve().parent

    @property
    def ignored(self) -> tuple[str, ...]:
        """The keys it has that LangGraph's own server would act on, and this one does not."""
        return self._ignored

    @property
    def import_folders(self) -> tuple[Path, ...]:
        """The folders that code is imported from: its own, and those among the dependencies."""
        named = ((self.folder / dependency).resolve() for dependency in self.dependencies)
        return tuple(dict.fromkeys((self.folder, *(path for path in named if path.is_dir()))))

    @model_validator(mode="after")
    def _limits_of_known_assistants(self) -> Self:
        for name in self.masterloop.assistants:
            if name not in self.graphs:
                key = f"masterloop.assistants.{name}"
                raise mistake("there is no such graph", nearest(name, self.graphs), key)
        return self

    @model_validator(mode="after")
    def _agents_of_known_graphs(self) -> Self:
        for name, pool in self.masterloop.agents.items():
            if isinstance(pool, GraphPool) and pool.graph not in self.graphs:
                key = f"masterloop.agents.{name}.graph"
                raise mistake("there is no such graph", nearest(pool.graph, self.graphs), key)
        return self

    @model_validator(mode="after")
    def _remember_origin(self, info: ValidationInfo) -> Self:
        if isinstance(origin := info.context, _Origin):
            self._file = origin.file
            below = [
                f"{section}.{key}"
                for section, keys in IGNORED_BELOW.items()
                for key in keys
                if key in getattr(attrgetter(section)(self), "model_fields_set", ())
            ]
            if self.checkpointer.serde.allowed_msgpack_modules is True:
                below.append("checkpointer.serde.allowed_msgpack_modules")
            self._ignored = tuple(sorted((*(origin.keys & IGNORED_KEYS), *below)))
        return self


def load_manifest(path: Path | str = DEFAULT_FILE) -> Manifest:
    """Read ``langgraph.json``.

    Raises:
        ConfigurationError: it cannot be read, or says something that it cannot mean; the text
            names the file, the key, what was found, and the fix.
    """
    file = Path(path)
    document = _read(file)
    keys = (
        frozenset(cast("dict[str, Any]", document)) if isinstance(document, dict) else frozenset()
    )
    try:
        manifest = Manifest.model_validate(document, context=_Origin(file, keys))
    except ValidationError as error:
        raise _in_words(file, document, error) from None
    _require_paths(manifest)
    _refuse_settings(manifest)
    return manifest


def apply_environment(manifest: Manifest) -> None:
    """Make what the graphs need importable, and set the variables of ``env``.

    The folders come last on the import path, as in ``langgraph dev``: they shadow nothing that is
    installed. What they have below names of the service's is found where that has nothing. A
    variable that the environment already has keeps its value.
    """
    for folder in map(str, manifest.import_folders):
        if folder not in sys.path:
            sys.path.append(folder)
    join(manifest.import_folders)
    if isinstance(manifest.env, str):
        load_dotenv(stream=StringIO(_text(manifest.folder / manifest.env)), override=False)
    else:
        for name, value in manifest.env.items():
            os.environ.setdefault(name, value)


def _read(file: Path) -> object:
    try:
        return json.loads(_text(file))
    except FileNotFoundError:
        raise ConfigurationError(
            str(file), "there is no such file", f"Create it: {EXAMPLE}"
        ) from None
    except json.JSONDecodeError as error:
        raise ConfigurationError(
            f"{file}:{error.lineno}:{error.colno}",
            f"this is not JSON ({error.msg})",
            "JSON has double quotes, no comments and no comma before a closing bracket.",
        ) from None


def _text(file: Path) -> str:
    try:
        return file.read_text(encoding="utf-8-sig")
    except FileNotFoundError:
        raise
    except OSError as error:
        raise ConfigurationError(
            str(file), f"it cannot be read ({error.strerror})", "Name a readable file."
        ) from None
    except UnicodeDecodeError as error:
        raise ConfigurationError(
            str(file), f"byte {error.start} is not UTF-8", "Save it as UTF-8."
        ) from None


def _require_paths(manifest: Manifest) -> None:
    if isinstance(manifest.env, str) and not (manifest.folder / manifest.env).is_file():
        raise ConfigurationError(
            f"{manifest.file}: env",
            f'there is no file "{manifest.env}" in {manifest.folder}',
            "Create it, or leave the key out.",
        )
    for number, dependency in enumerate(manifest.dependencies):
        if dependency.startswith(".") and not (manifest.folder / dependency).is_dir():
            raise ConfigurationError(
                f"{manifest.file}: dependencies.{number}",
                f'there is no folder "{dependency}" in {manifest.folder}',
                'Name a folder with Python code, such as ".", or an installed package.',
            )


def _refuse_settings(manifest: Manifest) -> None:
    """Refuse what is read before ``env`` is, unless the environment has it anyway."""
    if isinstance(manifest.env, str):
        file = manifest.folder / manifest.env
        given = {name: f"{file}: {name}" for name in dotenv_values(stream=StringIO(_text(file)))}
    else:
        given = {name: f"{manifest.file}: env.{name}" for name in manifest.env}
    for name, where in given.items():
        if name.upper().startswith("MASTERLOOP_") and name not in os.environ:
            from operations.settings import EXTRA_VARIABLES  # noqa: PLC0415 - slow, for workers

            if name not in EXTRA_VARIABLES:
                raise ConfigurationError(
                    where,
                    "settings of the service are not read from here",
                    "Set it in the environment of the process.",
                )


def _in_words(file: Path, document: object, error: ValidationError) -> ConfigurationError:
    # A value that fits no member of a union has an error for each: the deepest is to the point.
    mistakes = error.errors(include_url=False)
    found = max(mistakes, key=lambda one: len(_path(one["loc"], document)))
    path = _path(found["loc"], document)
    if found["type"] == "mistake":
        facts = found.get("ctx", {})
        problem, fix = facts["problem"], facts["fix"]
        path = [*path, facts["key"]] if facts["key"] else path
    elif found["type"] == "missing":
        path = [*path, str(found["loc"][-1])]
        problem, fix = "the key is missing", "Add it."
    elif found["type"] == "union_tag_not_found":
        path = [*path, _discriminator(found)]
        problem, fix = "the key is missing", "Add it."
    elif found["type"] == "union_tag_invalid":
        facts = found.get("ctx", {})
        path = [*path, _discriminator(found)]
        problem = f"found {_shorten(facts['tag'])}"
        fix = f"It has to be one of {facts['expected_tags']}."
    else:
        rule = WORDS.get(found["type"]) or found["msg"].removeprefix("Input should be ")
        problem, fix = f"found {_shorten(found['input'])}", f"It has to be {rule}."
    where = f"{file}: {'.'.join(path)}" if path else str(file)
    return ConfigurationError(where, problem, fix)


def _discriminator(found: ErrorDetails) -> str:
    """Return the key that says which of several kinds of object one is."""
    return str(found.get("ctx", {})["discriminator"]).strip("'")


def _path(location: Sequence[int | str], document: object) -> list[str]:
    """Return the keys that lead to ``location``, without what pydantic adds between them."""
    path: list[str] = []
    for step in location:
        if isinstance(document, dict) and step in document:
            document = cast("dict[object, object]", document)[step]
        elif isinstance(document, list) and isinstance(step, int):
            document = cast("list[object]", document)[step]
        else:
            continue
        path.append(str(step))
    return path


def _shorten(value: object) -> str:
    text = json.dumps(value, ensure_ascii=False)
    return text if len(text) <= 60 else f"{text[:60]}…"  # noqa: PLR2004 - one line of a terminal
