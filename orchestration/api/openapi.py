"""The API document, OpenAPI 3.1, made from the declarations that validate the requests."""

import re
from collections.abc import Iterable, Mapping, Sequence
from http import HTTPStatus
from typing import Any

from pydantic import TypeAdapter
from pydantic.json_schema import JsonSchemaMode

from orchestration.api.endpoint import EVENTS, TEXT, Endpoint
from orchestration.api.fields import ANY_ASSISTANT
from orchestration.api.problems import PROBLEMS, Wording
from orchestration.graphs.sections import AuthSection

Schema = dict[str, Any]
_PARAMETER = re.compile(r"{(\w+)}")
_SCHEMAS = "#/components/schemas/{model}"
# Of a path: what would be taken for another path is refused (`api.guard`).
_TEXT: Schema = {
    "type": "string",
    "pattern": r"^\.?[^./\\\u0000]+(\.[^./\\\u0000]+)*\.?$",
}
_UUID: Schema = {"type": "string", "format": "uuid"}
_STRINGS: Schema = {"type": "array", "items": {"type": "string"}}
_SCHEMES: Schema = {
    "key": {"type": "apiKey", "in": "header", "name": "x-api-key"},
    "bearer": {"type": "http", "scheme": "bearer"},
}
_UNWELCOME = ("401", "403", "404", "429")
_LATER = {429, 503}  # statuses that say when to come back
_RETRY_AFTER: Schema = {
    "required": True,
    "description": "seconds until it is worth another try",
    "schema": {"type": "string", "pattern": "^[0-9]+$"},
}


def document(
    endpoints: Sequence[Endpoint],
    version: str,
    graphs: Iterable[str],
    configured: Mapping[str, Iterable[str]],
) -> Schema:
    """Return the API document of ``endpoints``; ``graphs`` are named where assistants can be.

    ``configured`` has the names that there are for parts of paths, as the configuration fixed them.
    """
    schemas, definitions = _schemas(endpoints)
    assistant: Schema = {"anyOf": [{"enum": list(graphs)}, _UUID]}
    parts = {"assistant_id": assistant, "checkpoint_id": _TEXT, "namespace": _TEXT}
    for part, names in configured.items():
        known = list(names)
        parts[part] = {"enum": known} if known else _TEXT
    paths: Schema = {}
    for endpoint in endpoints:
        operation = _operation(endpoint, schemas, parts)
        paths.setdefault(endpoint.path, {})[endpoint.method.lower()] = operation
    described = {
        "openapi": "3.1.0",
        "info": {
            "title": "Masterloop",
            "version": version,
            "summary": "The open run server for LangGraph agents.",
            "license": {"name": "Apache-2.0", "identifier": "Apache-2.0"},
        },
        "paths": paths,
        "components": {
            "schemas": definitions,
            "responses": _responses(PROBLEMS, *(endpoint.wording for endpoint in endpoints)),
        },
    }
    filled: Schema = _with_assistants(described, assistant)
    return filled


def _with_assistants(node: Any, assistant: Schema) -> Any:
    """Return ``node`` with what an assistant is called here wherever one can be named."""
    if isinstance(node, dict):
        if node.get("format") == ANY_ASSISTANT["format"]:
            return assistant
        return {key: _with_assistants(inner, assistant) for key, inner in node.items()}
    if isinstance(node, list):
        return [_with_assistants(inner, assistant) for inner in node]
    return node


def secured(document: Schema, auth: AuthSection | None) -> None:
    """Say in an API document what it takes to call; ``auth.openapi`` says it for handlers."""
    given = auth.openapi if auth is not None else {}
    schemes = given.get("securitySchemes") or _SCHEMES
    document["components"]["securitySchemes"] = schemes
    document["security"] = given.get("security") or [{name: []} for name in schemes]
    for operations in document["paths"].values():
        for operation in operations.values():
            if "security" not in operation:
                answers = operation["responses"]
                for status in _UNWELCOME:
                    answers.setdefault(status, answers["400"])


_Key = tuple[str, JsonSchemaMode]


def _schemas(endpoints: Sequence[Endpoint]) -> tuple[Mapping[_Key, Schema], Schema]:
    """Return the schemas of all bodies and answers, and what they refer to."""
    inputs: list[tuple[str, JsonSchemaMode, TypeAdapter[Any]]] = []
    for endpoint in endpoints:
        if endpoint.body is not None:
            inputs.append((endpoint.name, "validation", endpoint.body))
        for status, given in endpoint.gives.items():
            if given not in (None, EVENTS, TEXT):
                inputs.append((f"{endpoint.name} {status}", "serialization", TypeAdapter(given)))
    found, rest = TypeAdapter.json_schemas(inputs, ref_template=_SCHEMAS)
    schemas, definitions = dict(found), rest.get("$defs", {})
    for endpoint in endpoints:
        if "select" in endpoint.fields or "select" in getattr(endpoint.query, "model_fields", ()):
            for status in endpoint.gives:
                key: _Key = (f"{endpoint.name} {status}", "serialization")
                schemas[key] = _partial(schemas[key], definitions)
    return schemas, definitions


def _partial(schema: Schema, definitions: Schema) -> Schema:
    """Return a schema of which only some fields may have been asked for."""
    if "items" in schema:
        return {**schema, "items": _partial(schema["items"], definitions)}
    whole = definitions[schema["$ref"].rpartition("/")[2]] if "$ref" in schema else schema
    return {name: part for name, part in whole.items() if name != "required"}


def _operation(
    endpoint: Endpoint, schemas: Mapping[_Key, Schema], parts: Mapping[str, Schema]
) -> Schema:
    operation: Schema = {
        "operationId": endpoint.name,
        "summary": endpoint.summary,
        "parameters": [*_path_parameters(endpoint.path, parts), *_query_parameters(endpoint)],
        "responses": {
            **{str(status): _answer(endpoint, status, schemas) for status in endpoint.gives},
            **{str(status): _refusal(endpoint, status) for status in _refusals(endpoint)},
        },
    }
    if endpoint.access.public:
        operation["security"] = []
    if endpoint.body is not None:
        operation["requestBody"] = {
            "required": not endpoint.optional_body,
            "content": {"application/json": {"schema": schemas[endpoint.name, "validation"]}},
        }
    return operation


def _answer(endpoint: Endpoint, status: int, schemas: Mapping[_Key, Schema]) -> Schema:
    answer: Schema = {"description": HTTPStatus(status).phrase}
    match endpoint.gives[status]:
        case None:
            pass
        case given if given == EVENTS:
            answer["content"] = {EVENTS: {"schema": {}}}
        case given if given == TEXT:
            answer["content"] = {TEXT: {"schema": {"type": "string"}}}
        case _:
            schema = schemas[f"{endpoint.name} {status}", "serialization"]
            answer["content"] = {"application/json": {"schema": schema}}
    return answer


def _refusals(endpoint: Endpoint) -> list[int]:
    """Return the statuses of the problems that an operation can answer with."""
    statuses = {400, 431, *endpoint.refuses}
    if endpoint.body is not None:
        statuses |= {413, 415, 422}
    if endpoint.query is not None:
        statuses |= {422}
    if _PARAMETER.search(endpoint.path):
        statuses |= {404, 422}
    if endpoint.method != "GET":
        statuses |= {409, 503, 507}
    return sorted(statuses - endpoint.gives.keys())


def _responses(*wordings: Wording) -> Schema:
    responses: Schema = {}
    for wording in wordings:
        later = {**wording.described, "headers": {"Retry-After": _RETRY_AFTER}}
        responses |= {wording.name: wording.described, f"{wording.name}Later": later}
    return responses


def _refusal(endpoint: Endpoint, status: int) -> Schema:
    wording = PROBLEMS if status == HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE else endpoint.wording
    name = f"{wording.name}Later" if status in _LATER else wording.name
    return {"$ref": f"#/components/responses/{name}"}


def _path_parameters(path: str, parts: Mapping[str, Schema]) -> list[Schema]:
    return [
        {"name": name, "in": "path", "required": True, "schema": parts.get(name, _UUID)}
        for name in _PARAMETER.findall(path)
    ]


def _query_parameters(endpoint: Endpoint) -> list[Schema]:
    if endpoint.query is None:
        return []
    schema = endpoint.query.model_json_schema(ref_template=_SCHEMAS)
    required = schema.get("required", [])
    return [
        {"name": name, "in": "query", "required": name in required, "schema": _as_sent(part)}
        for name, part in schema["properties"].items()
    ]


def _as_sent(part: Schema) -> Schema:
    """Return the schema of a parameter; where it is a list, an empty text stands for none."""
    either: list[Schema] = part.get("anyOf", [part])
    if not any(one.get("type") == "array" for one in either):
        return part
    about: Schema = {key: part[key] for key in ("title", "description", "default") if part.get(key)}
    # Nothing in a URL is null; and one text is a list of texts, whatever it is.
    either = [one for one in either if one.get("type") != "null"]
    if either == [_STRINGS]:
        return {**about, **_STRINGS}
    return {**about, "anyOf": [*map(_or_empty, either), {"const": ""}]}


def _or_empty(one: Schema) -> Schema:
    """Return the schema of a list such that an empty text stands for no member, too."""
    if one.get("type") != "array":
        return one
    members = one["items"]
    if members == {"type": "string"}:
        return one
    if "enum" in members:
        return {**one, "items": {**members, "enum": [*members["enum"], ""]}}
    return {**one, "items": {"anyOf": [members, {"const": ""}]}}
