"""JSON Schema, 2020-12: whether a value is as a schema says. Nothing is fetched for it."""

import json
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from itertools import islice
from typing import Any

import jsonschema  # type: ignore[import-untyped]
from jsonschema import validators
from referencing import Registry
from referencing.exceptions import Unresolvable

from orchestration.mcp.patterns import occurs

Schema = dict[str, Any]

_MOST = 100  # mistakes that are looked for
_TEXT = 500  # characters of one: it repeats the value that is wrong
_NOTHING: Registry[Any] = Registry()  # that could be fetched; of itself the library would


@dataclass(frozen=True, slots=True)
class Mistake:
    """What is wrong with a value: where in it, why, and the key of the schema that says so."""

    path: tuple[str | int, ...]
    message: str
    rule: str

    def __str__(self) -> str:
        where = "/".join(map(str, self.path))
        return f"{where}: {self.message}" if where else self.message


class Validator:
    """Validates by one schema. What cannot be told lets everything pass.

    That is so of one that is none itself, of one that refers to what is not in it, or to itself for
    ever, and of a pattern that looks around itself.
    """

    def __init__(self, schema: Mapping[str, Any]) -> None:
        schema = schema if is_schema(schema) else {}
        kind = _OfPatterns if "patternProperties" in repr(schema) else _Quick
        self._validator = kind(schema, registry=_NOTHING)

    def passes(self, value: Any) -> bool:
        """Return whether ``value`` is as the schema says."""
        return not self._errors(value, 1)

    def mistakes(self, value: Any) -> list[Mistake]:
        """Return what is wrong with ``value``, in the order of its parts."""
        errors = self._errors(value, _MOST)
        found = [Mistake(tuple(one.path), _short(one.message), one.validator) for one in errors]
        return sorted(found, key=lambda one: tuple(map(str, one.path)))

    def _errors(self, value: Any, most: int) -> list[Any]:
        try:
            return list(islice(self._validator.iter_errors(value), most))
        except (Unresolvable, RecursionError):
            return []


def _short(text: str) -> str:
    """Return the beginning and the end of a text, where what is wrong is said."""
    return text if len(text) <= _TEXT else f"{text[: _TEXT // 2]} … {text[-_TEXT // 2 :]}"


def is_schema(schema: Any) -> bool:
    """Return whether something is a JSON Schema."""
    try:
        jsonschema.Draft202012Validator.check_schema(schema)
    except jsonschema.SchemaError:
        return False
    return True


# The library collects all mistakes by each of the schemas before it says that there are some,
# compares items that it cannot sort each with each, and has Python look for patterns.


def _any_of(
    validator: Any, schemas: Iterable[Any], value: Any, _: Mapping[str, Any]
) -> Iterator[Any]:
    if not any(_fits(validator, value, one) for one in schemas):
        yield _none_fits(value)


def _one_of(
    validator: Any, schemas: Iterable[Any], value: Any, _: Mapping[str, Any]
) -> Iterator[Any]:
    fitting = sum(_fits(validator, value, one) for one in schemas)
    if not fitting:
        yield _none_fits(value)
    elif fitting > 1:
        yield jsonschema.ValidationError(f"{value!r} is valid under {fitting} of the given schemas")


def _unique(validator: Any, wanted: object, value: Any, _: Mapping[str, Any]) -> Iterator[Any]:
    if wanted and validator.is_type(value, "array"):
        different = {json.dumps(one, sort_keys=True) for one in value}
        if len(different) < len(value):
            yield jsonschema.ValidationError(f"{value!r} has non-unique elements")


def _pattern(validator: Any, pattern: str, value: Any, _: Mapping[str, Any]) -> Iterator[Any]:
    if validator.is_type(value, "string") and occurs(pattern, value) is False:
        yield jsonschema.ValidationError(f"{value!r} does not match {pattern!r}")


def _pattern_properties(
    validator: Any, schemas: Mapping[str, Any], value: Any, _: Mapping[str, Any]
) -> Iterator[Any]:
    if not validator.is_type(value, "object"):
        return
    for pattern, schema in schemas.items():
        for key, item in value.items():
            if occurs(pattern, key):
                yield from validator.descend(item, schema, path=key, schema_path=pattern)


def _additional_properties(
    validator: Any, wanted: Any, value: Any, schema: Mapping[str, Any]
) -> Iterator[Any]:
    patterns = schema.get("patternProperties")
    if patterns and validator.is_type(value, "object"):
        schema = {name: part for name, part in schema.items() if name != "patternProperties"}
        value = {
            key: item
            for key, item in value.items()
            if all(occurs(pattern, key) is False for pattern in patterns)
        }
    yield from _BY_LIBRARY["additionalProperties"](validator, wanted, value, schema)


def _passes(*_: Any) -> Iterator[Any]:
    return iter(())


def _fits(validator: Any, value: Any, schema: Any) -> bool:
    return next(validator.descend(value, schema), None) is None


def _none_fits(value: Any) -> Any:
    return jsonschema.ValidationError(f"{value!r} is not valid under any of the given schemas")


_BY_LIBRARY = jsonschema.Draft202012Validator.VALIDATORS
_Quick = validators.extend(
    jsonschema.Draft202012Validator,
    {
        "anyOf": _any_of,
        "oneOf": _one_of,
        "uniqueItems": _unique,
        "pattern": _pattern,
        "patternProperties": _pattern_properties,
        "additionalProperties": _additional_properties,
    },
)
# Which keys nobody has evaluated, the library finds out by Python's engine: no part of that can be
# replaced.
_OfPatterns = validators.extend(_Quick, {"unevaluatedProperties": _passes})
