"""The API document, OpenAPI 3.1, made from the declarations that validate the requests."""

import re
from collections.abc import Sequence
from typing import Any

from orchestration.api.endpoint import Endpoint, Query

_PARAMETER = re.compile(r"{(\w+)}")
_PROBLEM = {
    "description": "a problem (RFC 9457); `detail` says what is wrong and how to mend it",
    "content": {
        "application/problem+json": {
            "schema": {
                "type": "object",
                "required": ["status", "title", "detail"],
                "properties": {
                    "type": {"type": "string"},
                    "title": {"type": "string"},
                    "status": {"type": "integer"},
                    "detail": {"type": "string"},
                    "request_id": {"type": "string"},
                    "errors": {"type": "array", "items": {"type": "object"}},
                },
            }
        }
    },
}


def document(endpoints: Sequence[Endpoint], version: str) -> dict[str, Any]:
    """Return the API document of ``endpoints``."""
    definitions: dict[str, Any] = {}
    paths: dict[str, Any] = {}
    for endpoint in endpoints:
        operation = _operation(endpoint, definitions)
        paths.setdefault(endpoint.path, {})[endpoint.method.lower()] = operation
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "Masterloop",
            "version": version,
            "summary": "The open run server for LangGraph agents.",
            "license": {"name": "Apache-2.0", "identifier": "Apache-2.0"},
        },
        "paths": paths,
        "components": {"schemas": definitions},
    }


def _operation(endpoint: Endpoint, definitions: dict[str, Any]) -> dict[str, Any]:
    operation: dict[str, Any] = {
        "operationId": endpoint.name,
        "summary": endpoint.summary,
        "parameters": _path_parameters(endpoint.path) + _query_parameters(endpoint.query),
        "responses": {"2XX": {"description": "done"}, "4XX": _PROBLEM, "5XX": _PROBLEM},
    }
    if endpoint.body is not None:
        schema = endpoint.body.json_schema(ref_template="#/components/schemas/{model}")
        definitions.update(schema.pop("$defs", {}))
        operation["requestBody"] = {
            "required": not endpoint.optional_body,
            "content": {"application/json": {"schema": schema}},
        }
    return operation


def _path_parameters(path: str) -> list[dict[str, Any]]:
    return [
        {"name": name, "in": "path", "required": True, "schema": {"type": "string"}}
        for name in _PARAMETER.findall(path)
    ]


def _query_parameters(query: type[Query] | None) -> list[dict[str, Any]]:
    if query is None:
        return []
    schema = query.model_json_schema()
    return [
        {"name": name, "in": "query", "required": False, "schema": part}
        for name, part in schema["properties"].items()
    ]
