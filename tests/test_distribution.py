"""What is installed beside us, and what the pinned requirements say. See docs/adr/0001."""

import re
from collections.abc import Iterator
from importlib.metadata import distributions, packages_distributions
from importlib.util import find_spec
from pathlib import Path

import pytest
from packaging.utils import canonicalize_name
from packaging.version import Version

ROOT = Path(__file__).parents[1]
ROOMS = ["orchestration", "coordinator", "agents", "operations"]
REQUIREMENTS = sorted(ROOT.glob("requirements*.txt"))

# Below these, an advisory is open (langgraph: the strict mode that answers it is missing).
# Not all of them are installed today; none may come in below its floor, by whatever way.
FLOORS = {
    "h11": "0.16",
    "jinja2": "3.1.6",
    "langgraph": "1.0.10",
    "langgraph-checkpoint": "4.0",
    "langgraph-checkpoint-sqlite": "3.0.1",
    "langgraph-sdk": "0.3.15",
    "mcp": "1.23",
    "orjson": "3.11.6",
    "pyjwt": "2.12",
    "python-multipart": "0.0.31",
    "starlette": "1.3.1",
}


def below_floor(versions: Iterator[tuple[str, str]]) -> list[str]:
    return [
        f"{name} {version} is below {FLOORS[name]}"
        for name, version in versions
        if name in FLOORS and Version(version) < Version(FLOORS[name])
    ]


def pins(requirements: Path) -> Iterator[tuple[str, str]]:
    for name, version in re.findall(
        r"^([\w.-]+)(?:\[.*?\])?==([^\s;\\]+)", requirements.read_text(), re.MULTILINE
    ):
        yield canonicalize_name(name), version


@pytest.mark.parametrize("room", ROOMS)
def test_no_other_distribution_owns_the_name(room: str) -> None:
    assert set(packages_distributions().get(room, [])) <= {"masterloop"}


@pytest.mark.parametrize("room", ROOMS)
def test_the_name_is_imported_from_this_tree(room: str) -> None:
    spec = find_spec(room)
    assert spec is not None
    assert spec.origin == str(ROOT / room / "__init__.py")


def test_what_is_installed_is_at_or_above_the_floors() -> None:
    installed = ((canonicalize_name(d.name), d.version) for d in distributions())
    assert below_floor(installed) == []


@pytest.mark.parametrize("requirements", REQUIREMENTS, ids=lambda path: path.name)
def test_what_is_pinned_is_at_or_above_the_floors(requirements: Path) -> None:
    pinned = list(pins(requirements))
    assert "langgraph" in dict(pinned)
    assert below_floor(iter(pinned)) == []


@pytest.mark.parametrize("requirements", REQUIREMENTS, ids=lambda path: path.name)
def test_requirements_name_no_host_and_no_path(requirements: Path) -> None:
    telltale = re.compile(
        r"://|(^|\s)--(extra-)?index-url|(^|\s)--(find-links|trusted-host)|(^|\s)/|(^|\s)-[if]\s|file:"
    )
    lines = requirements.read_text().splitlines()
    assert [line for line in lines if telltale.search(line)] == []


def test_the_development_pins_agree_with_the_default_ones() -> None:
    default = dict(pins(ROOT / "requirements.txt"))
    for other in REQUIREMENTS:
        assert default.items() <= dict(pins(other)).items(), other.name
