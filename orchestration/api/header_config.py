"""``http.configurable_headers``: headers of a request that its runs are to know."""

from collections.abc import Mapping
from fnmatch import fnmatchcase

from orchestration.graphs.sections import HeaderFilter

# Runs are kept, and shown with what they were told: secrets only where they are named in full.
_SECRET = frozenset({"authorization", "cookie", "x-api-key"})


def configurable_headers(headers: Mapping[bytes, bytes], wanted: HeaderFilter) -> dict[str, str]:
    """Return the headers that ``config.configurable`` gets; those excluded go first."""
    includes = [pattern.lower() for pattern in wanted.includes or ()]
    excludes = [pattern.lower() for pattern in wanted.excludes or ()]
    found: dict[str, str] = {}
    for raw, value in headers.items():
        name = raw.decode("latin-1").lower()
        if any(fnmatchcase(name, pattern) for pattern in excludes):
            continue
        named = name in includes
        if named or (name not in _SECRET and any(fnmatchcase(name, one) for one in includes)):
            found[name] = value.decode("latin-1")
    return found
