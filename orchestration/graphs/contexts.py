"""The static context of a run, fitted to what its graph declares."""

import dataclasses
from collections.abc import Mapping
from functools import lru_cache
from typing import Any

from pydantic import AliasChoices, AliasPath, BaseModel
from typing_extensions import is_typeddict


@dataclasses.dataclass(frozen=True, slots=True)
class _Shape:
    """The names a context schema knows (None: it takes any), and whether it can do without all."""

    known: frozenset[str] | None
    has_defaults: bool = False


def fitted(schema: Any, given: Mapping[str, Any] | None) -> dict[str, Any] | None:
    """Return of ``given`` what the context schema knows; None if the graph gets no context.

    A schema that is a class whose fields all have defaults is built even from nothing.
    """
    shape = _shape(schema)
    if not given:
        return {} if shape.has_defaults else None
    if shape.known is None:
        return dict(given)
    return {name: value for name, value in given.items() if name in shape.known}


@lru_cache(maxsize=1_024)
def _shape(schema: Any) -> _Shape:
    if is_typeddict(schema):
        return _Shape(schema.__required_keys__ | schema.__optional_keys__)
    if isinstance(schema, type) and issubclass(schema, BaseModel):
        return _model_shape(schema)
    if dataclasses.is_dataclass(schema):
        fields = [field for field in dataclasses.fields(schema) if field.init]
        missing = dataclasses.MISSING
        defaults = all(f.default is not missing or f.default_factory is not missing for f in fields)
        return _Shape(frozenset(field.name for field in fields), defaults)
    return _Shape(None)


def _model_shape(schema: type[BaseModel]) -> _Shape:
    defaults = not any(field.is_required() for field in schema.model_fields.values())
    if schema.model_config.get("extra") == "allow":
        return _Shape(None, defaults)
    aliases = (_aliases(field.validation_alias) for field in schema.model_fields.values())
    return _Shape(frozenset(schema.model_fields).union(*aliases), defaults)


def _aliases(alias: str | AliasPath | AliasChoices | None) -> set[str]:
    """Return the keys in which a field is looked for beside its name."""
    match alias:
        case None:
            return set()
        case str():
            return {alias}
        case AliasPath():
            return {str(alias.path[0])}
        case AliasChoices():
            return set[str]().union(*map(_aliases, alias.choices))
