"""The API reference as one page, made from the API document. It loads nothing from elsewhere."""

from collections.abc import Iterator
from html import escape
from typing import Any

import orjson

_PAGE = """<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>{title} API</title>
<style>
:root {{ color-scheme: light dark; }}
body {{ font: 16px/1.5 system-ui, sans-serif; }}
main {{ max-width: 60rem; margin: 2rem auto; padding: 0 1rem; }}
article {{ border-top: 1px solid light-dark(#ccc, #444); padding: .75rem 0; }}
h2 {{ font-size: 1rem; margin: 0; }}
h2 code {{ font-size: 1rem; overflow-wrap: anywhere; }}
.method {{ display: inline-block; min-width: 4.5rem; font-weight: 700; }}
p {{ margin: .25rem 0; }}
summary {{ min-height: 24px; cursor: pointer; }}
pre {{ overflow-x: auto; padding: .75rem; background: light-dark(#f4f4f4, #222); }}
</style>
</head>
<body>
<main>
<h1>{title} {version}</h1>
<p>{summary} The same as a document: <a href="/openapi.json">openapi.json</a>.</p>
{operations}
</main>
</body>
</html>
"""


def page(document: dict[str, Any]) -> bytes:
    """Return the reference page of an API document."""
    info = document["info"]
    return _PAGE.format(
        title=escape(info["title"]),
        version=escape(info["version"]),
        summary=escape(info["summary"]),
        operations="\n".join(_operations(document)),
    ).encode()


def _operations(document: dict[str, Any]) -> Iterator[str]:
    for path, operations in document["paths"].items():
        for method, operation in operations.items():
            yield (
                f'<article id="{escape(operation["operationId"])}">'
                f'<h2><span class="method">{method.upper()}</span><code>{escape(path)}</code></h2>'
                f"<p>{escape(operation['summary'])}</p>{''.join(_parts(operation))}</article>"
            )


def _parts(operation: dict[str, Any]) -> Iterator[str]:
    queries = [one["name"] for one in operation["parameters"] if one["in"] == "query"]
    if queries:
        yield f"<p>Query: {', '.join(f'<code>{escape(name)}</code>' for name in queries)}</p>"
    if "requestBody" in operation:
        schema = operation["requestBody"]["content"]["application/json"]["schema"]
        text = orjson.dumps(schema, option=orjson.OPT_INDENT_2).decode()
        yield f"<details><summary>Body</summary><pre>{escape(text)}</pre></details>"
