r"""The regular expressions of schemas, by an engine that takes no longer than a text is long.

Python's own goes back and forth: of ``^(\w+\s?)+$`` and thirty letters it makes a minute.
"""

from functools import lru_cache

from pydantic_core import SchemaError, SchemaValidator, core_schema

_COMPILED = 64  # patterns; one may take megabytes


def occurs(pattern: str, text: str) -> bool | None:
    """Return whether ``pattern`` is found in ``text``.

    None if that cannot be told: it looks ahead, behind, or for what it has found before.
    """
    compiled = _compiled(pattern)
    return None if compiled is None else compiled.isinstance_python(text)


@lru_cache(maxsize=_COMPILED)
def _compiled(pattern: str) -> SchemaValidator | None:
    try:
        return SchemaValidator(core_schema.str_schema(pattern=pattern, regex_engine="rust-regex"))
    except SchemaError:
        return None
