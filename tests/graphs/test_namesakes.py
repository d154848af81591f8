"""Projects with packages of the service's names, as many have one that is called `agents`."""

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from structlog.testing import capture_logs

import agents
import agents.client
from operations.errors import ConfigurationError
from orchestration.graphs.manifest import Manifest, apply_environment, load_manifest
from orchestration.graphs.namesakes import hidden, join
from orchestration.graphs.targets import load_target
from tests.api.client import client_of, open_play

FILES = {
    "agents/__init__.py": """
from pathlib import Path
from .words import WORD
HERE = Path(__file__).parent.name
""",
    "agents/words.py": "WORD = 'mine'",
    "agents/deep/words.py": """
from agents import HERE
from ..words import WORD
BOTH = [HERE, WORD]
""",
    "agents/client.py": "from agents.words import WORD",
    "agents/graph.py": """
from typing import Any
from typing_extensions import TypedDict
from langgraph.graph import START, StateGraph
from agents import HERE, WORD
from agents.deep.words import BOTH

class State(TypedDict, total=False):
    found: Any

def node(state: State) -> State:
    import agents.words
    return {"found": [HERE, WORD, BOTH, agents.words.WORD, __name__]}

graph = StateGraph(State).add_node("node", node).add_edge(START, "node").compile()
""",
}


@pytest.fixture
def project(tmp_path: Path) -> Iterator[Path]:
    """A project; what importing it changes is undone."""
    for name, text in FILES.items():
        file = tmp_path / "src" / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text)
    places, path, modules = [*agents.__path__], [*sys.path], {*sys.modules}
    yield tmp_path
    agents.__path__[:], sys.path[:] = places, path
    agents.__dict__.pop("__getattr__", None)
    for name in [name for name in sys.modules if name not in modules and name[:6] == "agents"]:
        del sys.modules[name]
        agents.__dict__.pop(name.partition(".")[2], None)


def prepared(project: Path, graph: str = "agents.graph:graph") -> Manifest:
    file = project / "langgraph.json"
    file.write_text(f'{{"dependencies": ["./src"], "graphs": {{"graph": "{graph}"}}}}')
    manifest = load_manifest(file)
    apply_environment(manifest)
    return manifest


@pytest.mark.parametrize("workers", [0, 1])
@pytest.mark.parametrize("graph", ["agents.graph:graph", "./src/agents/graph.py:graph"])
async def test_a_graph_in_a_package_of_that_name_is_imported_with_all_it_needs(
    project: Path, graph: str, workers: int
) -> None:
    manifest: dict[str, Any] = {"dependencies": ["./src"], "graphs": {"graph": graph}}
    with capture_logs() as logs:
        async with (
            open_play(project, "echo", manifest=manifest, workers=workers) as service,
            client_of(service.app) as client,
        ):
            answer = await client.post("/runs/wait", json={"assistant_id": "graph", "input": {}})
    both = ["agents", "mine"]
    assert answer.json() == {"found": [*both, both, "mine", "agents.graph"]}
    warned = [entry["modules"] for entry in logs if "cannot be imported" in entry["event"]]
    assert warned == [[str(project / "src" / "agents" / "client")]]


def test_the_service_keeps_its_own_modules(project: Path) -> None:
    manifest = prepared(project)
    loaded = load_target("agents.graph:graph", folder=project, where="")
    apply_environment(manifest)
    assert loaded is load_target("./src/agents/graph.py:graph", folder=project, where="")
    assert len(agents.__path__) == 2
    assert sys.modules["agents.client"] is agents.client
    assert "AgentClient" in vars(agents.client)
    assert load_target("./src/agents/client.py:WORD", folder=project, where="") == "mine"


def test_nothing_of_the_project_is_executed_before_it_is_asked_for(project: Path) -> None:
    (project / "src/agents/__init__.py").write_text("raise ValueError('when executed')")
    manifest = prepared(project)
    assert hidden(manifest.import_folders) == [project / "src" / "agents" / "client"]
    assert not hasattr(agents, "__wrapped__")
    for _ in range(2):
        with pytest.raises(ConfigurationError, match="ValueError: when executed"):
            load_target("agents.graph:graph", folder=project, where="")


def test_of_two_packages_the_first_goes_before(project: Path) -> None:
    second = project / "second" / "agents"
    second.mkdir(parents=True)
    (second / "__init__.py").write_text("WORD = HERE = 'of the second'")
    (second / "words.py").write_text("WORD = 'of the second'")
    (second / "more.py").write_text("from agents import WORD")
    join([project / "src", project / "second"])
    assert load_target("agents.more:WORD", folder=project, where="") == "mine"


def test_what_neither_has_is_not_there(project: Path) -> None:
    prepared(project)
    with pytest.raises(AttributeError, match="module 'agents' has no attribute 'nothing'"):
        _ = agents.nothing  # type: ignore[attr-defined]
    assert agents.HERE == "agents"  # type: ignore[attr-defined]
