"""What is refused before anything starts, and the hint that goes with it."""

from collections.abc import Iterable
from difflib import get_close_matches


class ConfigurationError(Exception):
    """The configuration makes no sense. Nothing was started.

    The text is one sentence for people: ``where`` names the file and key, or the variable;
    ``problem`` says what was found there; ``fix`` says what to do about it.
    """

    def __init__(self, where: str, problem: str, fix: str) -> None:
        super().__init__(f"{where}: {problem}. {fix}")
        self.where = where
        self.problem = problem
        self.fix = fix


class StorageUnavailable(Exception):
    """The store could not write. The write changed nothing; reads go on.

    ``lasting`` says that no later write of this process will succeed either.
    """

    lasting = False


class StorageFull(StorageUnavailable):
    """There is no room for the write. It changed nothing; later writes may succeed."""


def nearest(name: str, known: Iterable[str], *, prefix: str = "") -> str:
    """Return what to do about an unknown ``name``: use the one it resembles, or any known one.

    A ``prefix`` that all names share is shown, and does not count as resemblance.
    """
    names = {candidate.removeprefix(prefix).lower(): candidate for candidate in sorted(known)}
    if close := get_close_matches(name.removeprefix(prefix).lower(), names, n=1):
        return f"Did you mean {names[close[0]]}?"
    return f"Known are: {', '.join(names.values())}." if names else "There are none."
