"""What requests ask for: the bases of all bodies and query strings."""

from collections.abc import Mapping
from typing import Any, ClassVar, Self
from urllib.parse import parse_qs
from uuid import UUID

from pydantic import BaseModel, ConfigDict
from uuid_utils import uuid7

from orchestration.api.ingress import parse_json


class Asked(BaseModel):
    """What a request asks for, as an authorisation sees it and may change it.

    ``place`` is the field that an authorisation is shown as the ``namespace``, ``named`` the id
    that is made up where none is given, before it is asked.
    """

    place: ClassVar[str] = ""
    named: ClassVar[str] = ""

    def shown(self) -> dict[str, Any]:
        """Return what an authorisation is shown: every field, and metadata to write into."""
        fields = type(self).model_fields
        value = {name: getattr(self, name) for name in fields}
        if "metadata" in fields:
            value["metadata"] = dict(value["metadata"] or {})
        if self.named and value[self.named] is None:
            value[self.named] = UUID(int=uuid7().int)
        if self.place:
            value.pop(self.place, None)
            given = getattr(self, self.place)
            value["namespace"] = None if given is None else tuple(given)
        return value

    def changed(self, value: Mapping[str, Any]) -> Self:
        """Return the request as an authorisation left it."""
        if self.place:
            namespace = value["namespace"]
            value = {**value, self.place: None if namespace is None else list(namespace)}
        new = {
            name: value[name]
            for name in type(self).model_fields
            if name in value and value[name] is not getattr(self, name)
        }
        return self.model_copy(update=new) if new else self


class Body(Asked):
    """The base of request bodies: what is not declared is refused, never dropped or converted."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)


class Query(Asked):
    """The base of query strings."""

    model_config = ConfigDict(extra="ignore", frozen=True)

    @classmethod
    def parse(cls, given: Mapping[str, list[str]]) -> Self:
        """Return the query that these parameters are; of one that is no list, the last counts.

        Raises:
            pydantic.ValidationError: a parameter is not what it has to be.
        """
        values: dict[str, Any] = {}
        for name, info in cls.model_fields.items():
            if name in given:
                many = "list" in str(info.annotation)
                values[name] = _listed(given[name]) if many else given[name][-1]
        return cls.model_validate(values)


def parameters(query_string: bytes) -> dict[str, list[str]]:
    """Return the parameters of a query string, each with its values."""
    return parse_qs(query_string.decode("latin-1"), keep_blank_values=True)


def _listed(given: list[str]) -> list[Any] | None:
    """Return the members of a list: the parameter repeated, or JSON as LangGraph's JS client sends.

    Its Python client sends an empty text where there is no list.
    """
    if len(given) == 1 and given[0].startswith("["):
        parsed = parse_json(given[0].encode())
        return parsed if isinstance(parsed, list) else given
    return [text for text in given if text] or None
