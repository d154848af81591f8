"""The store that graphs share: items under namespaces."""

from collections.abc import Generator, Iterable
from contextlib import contextmanager
from http import HTTPStatus
from typing import Annotated, Any, ClassVar

import anyio.to_thread
import orjson
from langgraph.store.base import Item, SearchItem
from orjson import Fragment
from pydantic import BeforeValidator, Field, StrictBool, WithJsonSchema
from starlette.responses import Response

from orchestration.api import answers
from orchestration.api.access import Access
from orchestration.api.asked import Body, Query
from orchestration.api.endpoint import Call, Endpoints, json_response, no_content
from orchestration.api.fields import WHOLE, Json, Limit, Offset
from orchestration.api.problems import Problem
from orchestration.store.bounded import TooMuchFound
from orchestration.store.item_filters import FilterRefused
from orchestration.store.item_vectors import EmbeddingFailed, TooManyTexts
from orchestration.store.items import ItemStore

endpoint = Endpoints()

_RESERVED = "langgraph"  # the first label of what LangGraph keeps for itself

Text = Annotated[str, Field(min_length=1, max_length=255)]
Label = Annotated[Text, Field(pattern=r"^[^.\x00]+$")]
Labels = Annotated[list[Label], Field(max_length=16)]
OneNamespace = Annotated[Labels, Field(min_length=1)]
_JOINED = {"type": "string", "pattern": r"^[^.\u0000]{1,255}(\.[^.\u0000]{1,255}){0,15}$"}
_SCALAR = {"type": ["null", "boolean", "number", "string"]}
_ORDERED = {"type": ["number", "string"]}
_OPERATORS = {
    "type": "object",
    "properties": {
        "$eq": {},
        "$ne": {},
        **dict.fromkeys(("$gt", "$gte", "$lt", "$lte"), _ORDERED),
    },
    "additionalProperties": False,
}
_FIELDS = {
    "type": "object",
    "maxProperties": 16,
    "propertyNames": {"pattern": "^[A-Za-z0-9_-]{1,64}$"},
}
# Objects and lists within are compared field by field, however deep; their fields are spelt alike.
_FILTER = {
    **_FIELDS,
    "additionalProperties": {"anyOf": [_SCALAR, {"type": "array"}, _OPERATORS, _FIELDS]},
}


def _labels(given: str) -> list[str]:
    """Return the labels of a namespace that came as one text."""
    return given.split(".") if given else []


class ItemPut(Body):
    """An item to keep."""

    place: ClassVar[str] = "namespace"

    namespace: OneNamespace
    key: Text
    value: Json
    index: StrictBool | Annotated[list[Text], Field(max_length=64)] | None = None
    ttl: Annotated[float, Field(gt=0)] | None = None


class ItemDelete(Body):
    """An item to forget."""

    place: ClassVar[str] = "namespace"

    namespace: OneNamespace
    key: Text


class ItemGet(Query):
    """An item to read; the parts of its namespace are separated by dots."""

    place: ClassVar[str] = "namespace"

    namespace: Annotated[
        tuple[Label, ...],
        Field(min_length=1, max_length=16),
        BeforeValidator(_labels),
        WithJsonSchema(_JOINED),
    ]
    key: Text
    refresh_ttl: bool | None = None


class ItemSearch(Body):
    """Which items."""

    place: ClassVar[str] = "namespace_prefix"

    namespace_prefix: Labels = []  # noqa: RUF012 - pydantic copies it
    filter: Annotated[Json, WithJsonSchema(_FILTER)] | None = None
    query: str | None = None
    limit: Limit = 10
    offset: Offset = 0
    refresh_ttl: bool | None = None


class NamespaceSearch(Body):
    """Which namespaces."""

    place: ClassVar[str] = "prefix"

    prefix: Labels | None = None
    suffix: Labels | None = None
    max_depth: Annotated[int, Field(ge=1, le=16), WHOLE] | None = None
    limit: Limit = 100
    offset: Offset = 0


@endpoint(
    "PUT",
    "/store/items",
    access=Access("store", "put"),
    body=ItemPut,
    gives=None,
    refuses=(HTTPStatus.FAILED_DEPENDENCY,),
)
async def put_item(call: Call, body: ItemPut) -> Response:
    """Keep an item."""
    if body.namespace[:1] == [_RESERVED]:
        raise _refused("/namespace/0", f"{_RESERVED!r} cannot be the first label of a namespace")
    index = None if body.index is True else body.index
    ttl = {"ttl": body.ttl} if "ttl" in body.model_fields_set else {}
    with _refusals():
        await call.items.aput(tuple(body.namespace), body.key, body.value, index, **ttl)
    return no_content()


@endpoint(
    "GET",
    "/store/items",
    access=Access("store", "get"),
    query=ItemGet,
    gives=answers.Item | None,
)
async def get_item(call: Call, query: ItemGet) -> Response:
    """Return an item; null if there is none."""
    item = await call.items.aget(tuple(query.namespace), query.key, refresh_ttl=query.refresh_ttl)
    return json_response(None if item is None else _document(item))


@endpoint(
    "DELETE",
    "/store/items",
    access=Access("store", "delete"),
    body=ItemDelete,
    gives=None,
    audited=True,
)
async def delete_item(call: Call, body: ItemDelete) -> Response:
    """Forget an item."""
    await call.items.adelete(tuple(body.namespace), body.key)
    return no_content()


@endpoint(
    "POST",
    "/store/items/search",
    access=Access("store", "search"),
    body=ItemSearch,
    optional_body=True,
    gives=answers.FoundItems,
    refuses=(HTTPStatus.FAILED_DEPENDENCY,),
)
async def search_items(call: Call, body: ItemSearch) -> Response:
    """Find items: those that were put last first, or the nearest in meaning to a query."""
    ours = call.backend.items
    if body.query and isinstance(ours, ItemStore) and not ours.searches_by_meaning:
        raise _refused(
            "/query",
            "there is no search by meaning here: store.index of langgraph.json names no function "
            "that makes vectors of texts",
        )
    with _refusals():
        found = await call.items.asearch(
            tuple(body.namespace_prefix),
            query=body.query,
            filter=body.filter,
            limit=body.limit,
            offset=body.offset,
            refresh_ttl=body.refresh_ttl,
        )
    # Not on the event loop: many values may be large.
    return json_response(await anyio.to_thread.run_sync(_found, found))


@endpoint(
    "POST",
    "/store/namespaces",
    access=Access("store", "list_namespaces"),
    body=NamespaceSearch,
    optional_body=True,
    gives=answers.Namespaces,
)
async def list_namespaces(call: Call, body: NamespaceSearch) -> Response:
    """List namespaces; ``*`` stands for any one label of a prefix or a suffix."""
    found = await call.items.alist_namespaces(
        prefix=tuple(body.prefix or ()),
        suffix=tuple(body.suffix or ()),
        max_depth=body.max_depth,
        limit=body.limit,
        offset=body.offset,
    )
    return json_response({"namespaces": found})


def _document(item: Item) -> dict[str, Any]:
    return {
        "namespace": list(item.namespace),
        "key": item.key,
        "value": item.value,
        "created_at": item.created_at.isoformat(),
        "updated_at": item.updated_at.isoformat(),
    }


def _found(items: Iterable[SearchItem]) -> bytes:
    # Each alone, as other threads have no turn while one is written.
    documents = [orjson.dumps({**_document(item), "score": item.score}) for item in items]
    return orjson.dumps({"items": list(map(Fragment, documents))})


@contextmanager
def _refusals() -> Generator[None]:
    """Answer what the store does not take, and what the user's embedding function did not make."""
    try:
        yield
    except NotImplementedError as error:  # by a store of the project's own: it has no ttl, perhaps
        raise Problem(HTTPStatus.UNPROCESSABLE_ENTITY, str(error)) from error
    except FilterRefused as error:
        raise _refused(f"/filter{error.pointer}", str(error)) from error
    except TooMuchFound as error:
        raise _refused("/limit", str(error)) from error
    except TooManyTexts as error:
        raise _refused("/index", str(error)) from error
    except EmbeddingFailed as error:
        detail = f"the function that store.index names for vectors failed: {error}"
        raise Problem(HTTPStatus.FAILED_DEPENDENCY, detail) from error


def _refused(pointer: str, reason: str) -> Problem:
    detail = f"{pointer[1:]}: {reason}"
    return Problem(
        HTTPStatus.UNPROCESSABLE_ENTITY, detail, errors=[{"pointer": pointer, "detail": reason}]
    )
