"""Names that a request has and its declaration has not: refused, or left out on request."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from difflib import get_close_matches
from functools import cache
from http import HTTPStatus
from typing import Any

from pydantic import TypeAdapter, ValidationError

from orchestration.api.problems import MANY, Problem, invalid

Place = Sequence[str | int]
_SHOWN = 64  # characters of a name


def validated(adapter: TypeAdapter[Any], value: Any, *, ignore: bool) -> Any:
    """Return ``value`` as its declaration has it, without unknown fields if they are ignored.

    Raises:
        Problem: 422, it does not fit, or has too much that is not known; an unknown field is told
            the nearest known one.
    """
    while True:
        try:
            return adapter.validate_python(value)
        except ValidationError as error:
            if not ignore or not _leave_out_unknown(value, error):
                raise invalid(
                    error, lambda place: _said(place[-1], known(adapter, place))
                ) from error


def refuse(names: Iterable[str], known: Iterable[str]) -> None:
    """Refuse the query parameters that are not known.

    Raises:
        Problem: 422, there is one.
    """
    for name in set(names).difference(known):
        said = _said(name, known)
        detail = f"query parameter {name[:_SHOWN]!r}: {said}"
        errors = [{"pointer": f"/{name[:_SHOWN]}", "detail": said}]
        raise Problem(HTTPStatus.UNPROCESSABLE_ENTITY, detail, errors=errors)


def _said(name: str | int, known: Iterable[str]) -> str:
    near = get_close_matches(str(name)[:_SHOWN], sorted(known), 1)
    return f"there is no such field{f'; did you mean {near[0]!r}?' if near else ''}"


def _leave_out_unknown(value: Any, error: ValidationError) -> bool:
    """Remove the fields that are not known, unless too much is wrong; return whether any was."""
    if error.error_count() > MANY:
        return False
    mistakes = error.errors(include_url=False, include_context=False, include_input=False)
    unknown = [entry["loc"] for entry in mistakes if entry["type"] == "extra_forbidden"]
    # A union names a field once for each of its members; one of them is enough.
    return sum(_leave_out(value, place) for place in unknown) > 0


def _leave_out(value: Any, place: Place) -> bool:
    """Remove the field at ``place``; return whether it was there."""
    *parents, name = place
    for part in parents:
        value = _inside(value, part)
    if isinstance(value, dict) and name in value:
        del value[name]
        return True
    return False


def _inside(value: Any, part: str | int) -> Any:
    """Return what ``part`` of a place leads to; some parts only name the member of a union."""
    if isinstance(value, dict):
        return value.get(part, value)
    if isinstance(value, list) and isinstance(part, int) and part < len(value):
        return value[part]
    return value


@cache
def _schema(adapter: TypeAdapter[Any]) -> Mapping[str, Any]:
    return adapter.json_schema()


def known(adapter: TypeAdapter[Any], place: Place) -> set[str]:
    """Return the names of the fields that are known where an unknown one was found."""
    whole = _schema(adapter)
    nodes = list(_members(whole, whole))
    for part in place[:-1]:
        key = "items" if isinstance(part, int) else "properties"
        found = [
            node[key] if isinstance(part, int) else node[key].get(part)
            for node in nodes
            if key in node
        ]
        inside = [one for node in found if node is not None for one in _members(whole, node)]
        nodes = inside or nodes
    return {name for node in nodes for name in node.get("properties", ())}


def _members(whole: Mapping[str, Any], node: Mapping[str, Any]) -> Iterator[Mapping[str, Any]]:
    """Yield the schemas that ``node`` stands for: where it refers to, the members of a union."""
    if "$ref" in node:
        name = node["$ref"].rpartition("/")[2]
        yield from _members(whole, whole["$defs"].get(name, {}))
    else:
        yield node
        for member in node.get("anyOf", ()):
            yield from _members(whole, member)
