"""The store that graphs share: items under namespaces."""

from collections.abc import Generator
from contextlib import contextmanager
from http import HTTPStatus
from typing import Annotated, Any, ClassVar

from langgraph.store.base import Item
from pydantic import BeforeValidator, Field
from starlette.responses import Response

from orchestration.api import answers
from orchestration.api.access import Access
from orchestration.api.endpoint import Body, Call, Endpoints, Query, json_response, no_content
from orchestration.api.models import Json, Limit, Offset
from orchestration.api.problems import Problem

endpoint = Endpoints()

Label = Annotated[str, Field(min_length=1, max_length=255, pattern=r"^[^.\x00]+$")]
Namespace = Annotated[list[Label], Field(max_length=16)]


def _parts(given: list[str]) -> list[str]:
    """Return the parts of a namespace that came as one text."""
    return [part for text in given[-1:] if text for part in text.split(".")]


Key = Annotated[str, Field(min_length=1, max_length=255)]


class ItemPut(Body):
    """An item to keep."""

    place: ClassVar[str] = "namespace"

    namespace: Annotated[Namespace, Field(min_length=1)]
    key: Key
    value: Json
    index: bool | list[str] | None = None
    ttl: Annotated[float, Field(gt=0)] | None = None


class ItemDelete(Body):
    """An item to forget."""

    place: ClassVar[str] = "namespace"

    namespace: Namespace
    key: Key


class ItemGet(Query):
    """An item to read; the parts of its namespace are separated by dots."""

    place: ClassVar[str] = "namespace"

    namespace: Annotated[list[str], BeforeValidator(_parts)] = []  # noqa: RUF012 - pydantic copies it
    key: str
    refresh_ttl: bool | None = None


class ItemSearch(Body):
    """Which items."""

    place: ClassVar[str] = "namespace_prefix"

    namespace_prefix: Namespace = []  # noqa: RUF012 - pydantic copies it
    filter: Json | None = None
    query: str | None = None
    limit: Limit = 10
    offset: Offset = 0
    refresh_ttl: bool | None = None


class NamespaceSearch(Body):
    """Which namespaces."""

    place: ClassVar[str] = "prefix"

    prefix: Namespace | None = None
    suffix: Namespace | None = None
    max_depth: Annotated[int, Field(ge=1, le=16)] | None = None
    limit: Limit = 100
    offset: Offset = 0


@endpoint("PUT", "/store/items", access=Access("store", "put"), body=ItemPut, gives=None)
async def put_item(call: Call, body: ItemPut) -> Response:
    """Keep an item."""
    index = None if body.index is True else body.index
    options: dict[str, Any] = {} if body.ttl is None else {"ttl": body.ttl}
    with _refusals():
        await call.items.aput(tuple(body.namespace), body.key, body.value, index, **options)
    return no_content()


@endpoint("GET", "/store/items", access=Access("store", "get"), query=ItemGet, gives=answers.Item)
async def get_item(call: Call, query: ItemGet) -> Response:
    """Return an item."""
    with _refusals():
        item = await call.items.aget(
            tuple(query.namespace), query.key, refresh_ttl=query.refresh_ttl
        )
    if item is None:
        raise Problem(HTTPStatus.NOT_FOUND, f"there is no item {query.key!r} there")
    return json_response(_document(item))


@endpoint("DELETE", "/store/items", access=Access("store", "delete"), body=ItemDelete, gives=None)
async def delete_item(call: Call, body: ItemDelete) -> Response:
    """Forget an item."""
    with _refusals():
        await call.items.adelete(tuple(body.namespace), body.key)
    return no_content()


@endpoint(
    "POST",
    "/store/items/search",
    access=Access("store", "search"),
    body=ItemSearch,
    optional_body=True,
    gives=answers.FoundItems,
)
async def search_items(call: Call, body: ItemSearch) -> Response:
    """Find items."""
    with _refusals():
        found = await call.items.asearch(
            tuple(body.namespace_prefix),
            query=body.query,
            filter=body.filter,
            limit=body.limit,
            offset=body.offset,
            refresh_ttl=body.refresh_ttl,
        )
    items = [{**_document(item), "score": item.score} for item in found]
    return json_response({"items": items})


@endpoint(
    "POST",
    "/store/namespaces",
    access=Access("store", "list_namespaces"),
    body=NamespaceSearch,
    optional_body=True,
    gives=answers.Namespaces,
)
async def list_namespaces(call: Call, body: NamespaceSearch) -> Response:
    """List namespaces."""
    with _refusals():
        found = await call.items.alist_namespaces(
            prefix=None if body.prefix is None else tuple(body.prefix),
            suffix=None if body.suffix is None else tuple(body.suffix),
            max_depth=body.max_depth,
            limit=body.limit,
            offset=body.offset,
        )
    return json_response({"namespaces": found})


@contextmanager
def _refusals() -> Generator[None]:
    """Answer 422 to what the store does not take: a namespace, an operator of a filter, a ttl."""
    try:
        yield
    except (ValueError, NotImplementedError) as error:
        raise Problem(HTTPStatus.UNPROCESSABLE_ENTITY, str(error)) from error


def _document(item: Item) -> dict[str, Any]:
    return {
        "namespace": list(item.namespace),
        "key": item.key,
        "value": item.value,
        "created_at": item.created_at.isoformat(),
        "updated_at": item.updated_at.isoformat(),
    }
