"""The environments that peers run in: made on demand from the registry, one for each."""

import json
import subprocess
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

HERE = Path(__file__).parent
PEERS = HERE / ".peers"  # what is made; nothing of it is committed
INSTALL_LIMIT = 900.0  # seconds
SHOWN = 300  # characters of the last line that a program wrote
ASK_VERSIONS = """
import json, sys
from importlib.metadata import PackageNotFoundError, version
found = {"python": sys.version.split()[0]}
for name in sys.argv[1:]:
    try:
        found[name] = version(name)
    except PackageNotFoundError:
        pass
print(json.dumps(found))
"""


class CannotInstall(RuntimeError):
    """An environment cannot be made. What was begun is removed at the next try."""


@dataclass(frozen=True, kw_only=True)
class Environment:
    """Packages that are installed together, or those of the interpreter that measures (``None``).

    ``python`` is the oldest version that will do; ``shown`` names the packages to tell of.
    """

    name: str
    requirements: Sequence[str] | None
    shown: Sequence[str]
    python: tuple[int, int] = (3, 11)

    @property
    def bin(self) -> Path:
        """Where its commands are."""
        if self.requirements is None:
            return Path(sys.executable).parent
        return PEERS / self.name / "bin"

    def make(self) -> None:
        """Install it, unless it is.

        Raises:
            CannotInstall: there is no such Python, or the installer failed.
        """
        if self.requirements is None:
            return
        done = PEERS / self.name / "complete.json"
        wanted = json.dumps(list(self.requirements))
        if done.exists() and done.read_text() == wanted:
            return
        print(f"installing {', '.join(self.requirements)} ...", flush=True)
        interpreter = _interpreter(self.python)
        _run([interpreter, "-m", "venv", "--clear", str(PEERS / self.name)])
        pip = [str(self.bin / "python"), "-m", "pip", "--disable-pip-version-check"]
        _run([*pip, "install", "--quiet", *self.requirements])
        done.write_text(wanted)

    def versions(self) -> dict[str, str]:
        """Return the versions of Python and of what is shown."""
        command = [str(self.bin / "python"), "-c", ASK_VERSIONS, *self.shown]
        found: dict[str, str] = json.loads(_run(command))
        return found


def last_words(text: str) -> str:
    """Return the last line of what a program wrote: of an error's traceback, the error."""
    lines = text.strip().splitlines()
    return lines[-1][:SHOWN] if lines else "it said nothing"


def _interpreter(oldest: tuple[int, int]) -> str:
    if sys.version_info >= oldest:
        return sys.executable
    for candidate in _candidates(oldest):
        try:
            _run([candidate, "-c", "import venv"])
        except CannotInstall:
            continue
        return candidate
    raise CannotInstall(f"it needs Python {oldest[0]}.{oldest[1]}, and there is none here")


def _candidates(oldest: tuple[int, int]) -> Iterator[str]:
    """Yield newer interpreters: those on the path, and those that pyenv or uv keep beside ours."""
    for minor in range(oldest[1], oldest[1] + 3):
        name = f"python{oldest[0]}.{minor}"
        yield name
        yield from map(str, Path(sys.base_prefix).parent.glob(f"*/bin/{name}"))


def _run(command: list[str]) -> str:
    try:
        done = subprocess.run(  # noqa: S603 - our own
            command, capture_output=True, text=True, timeout=INSTALL_LIMIT, check=False
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        raise CannotInstall(str(error)) from error
    if done.returncode:
        raise CannotInstall(f"{Path(command[0]).name} failed: {last_words(done.stderr)}")
    return done.stdout
