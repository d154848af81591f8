"""From a reference to an object: files, modules, and what is said when there is none."""

import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import pytest

from operations.errors import ConfigurationError
from orchestration.graphs.targets import load_target

ABLE = "It has to be importable by this Python, with what it needs installed."


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """The folder of a project, on the import path until the end of the test."""
    monkeypatch.setattr(sys, "path", [*sys.path, str(tmp_path)])
    before = set(sys.modules)
    yield tmp_path
    for name in set(sys.modules) - before:
        del sys.modules[name]


def refusal(reference: str, folder: Path) -> str:
    with pytest.raises(ConfigurationError) as error:
        load_target(reference, folder=folder, where="here")
    return str(error.value).replace(f"{folder}/", "")


def test_a_file_on_the_import_path_is_the_module_that_others_import(folder: Path) -> None:
    package = folder / "parcel"
    package.mkdir()
    (package / "__init__.py").write_text("graph = object()\n")
    (package / "agent.py").write_text("from . import graph\n")
    references = ("./parcel/agent.py:graph", "parcel:graph", "./parcel/__init__.py:graph")
    found = {load_target(reference, folder=folder, where="here") for reference in references}
    assert len(found) == 1
    assert {name for name in sys.modules if "parcel" in name} == {"parcel", "parcel.agent"}


def test_a_file_is_known_by_the_shortest_of_its_names(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (folder / "src").mkdir()
    (folder / "src" / "parcel.py").write_text("name = __name__\n")
    monkeypatch.setattr(sys, "path", [*sys.path, str(folder / "src")])
    assert load_target("./src/parcel.py:name", folder=folder, where="here") == "parcel"


@pytest.mark.parametrize("name", ["json", "sys", "operations", "specless"])
def test_a_file_with_the_name_of_another_module_is_still_found(
    folder: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    monkeypatch.setitem(sys.modules, "specless", ModuleType("specless"))
    (folder / f"{name}.py").write_text("mine = 1\n")
    assert load_target(f"./{name}.py:mine", folder=folder, where="here") == 1


def test_a_file_that_no_import_reaches_is_imported_once(folder: Path) -> None:
    (folder / "my agent.py").write_text("class State: ...\nstate = State()\n")
    state = load_target("./my agent.py:state", folder=folder, where="here")
    again = load_target("./my agent.py:State", folder=folder, where="here")
    assert type(state) is again
    assert sys.modules[again.__module__].State is again


def test_a_missing_name_is_refused_with_those_there_are(folder: Path) -> None:
    (folder / "agent.py").write_text(
        "from json import dumps\n"
        "from langgraph.graph import MessagesState, START, StateGraph\n"
        "builder = StateGraph(MessagesState)\n"
        "def build(): ...\n"
        "_own = 1\n"
    )
    assert refusal("./agent.py:graph", folder) == (
        "here: module './agent.py' has no attribute 'graph' (found: builder, build). "
        "Name one that it has."
    )


def test_a_missing_name_in_an_empty_module_is_refused(folder: Path) -> None:
    (folder / "agent.py").write_text("")
    assert "(found: nothing)" in refusal("./agent.py:graph", folder)


@pytest.mark.parametrize("place", [".", "not-importable"])
@pytest.mark.parametrize(
    ("code", "problem"),
    [
        ("\nimport nowhere", "ModuleNotFoundError: No module named 'nowhere' (FILE:2)"),
        ("import json\njson.loads('{')", "(FILE:2)"),
        ("raise SystemExit('no key')", "SystemExit: no key (FILE:1)"),
        ("def graph(:", "SyntaxError: invalid syntax (agent.py, line 1)"),
    ],
)
def test_an_import_that_fails_says_why_and_where(
    folder: Path, place: str, code: str, problem: str
) -> None:
    file = folder / place / "agent.py"
    file.parent.mkdir(exist_ok=True)
    file.write_text(code)
    text = refusal(f"./{place}/agent.py:graph", folder)
    assert text.endswith(f"{problem.replace('FILE', str(file.relative_to(folder)))}. {ABLE}")


def test_an_import_that_failed_leaves_no_half_module(folder: Path) -> None:
    (folder / "my-agent.py").write_text("import nowhere")
    assert refusal("./my-agent.py:graph", folder) == refusal("./my-agent.py:graph", folder)
