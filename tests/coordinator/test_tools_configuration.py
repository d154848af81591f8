"""What is refused of ``masterloop.tools``, and what is said of it."""

import json
from pathlib import Path
from typing import Any

import pytest

from operations.errors import ConfigurationError
from orchestration.graphs.manifest import load_manifest

FUNCTION = {"kind": "function", "function": "math:floor"}
LOOKUP = {"kind": "lookup", "table": {}}
VIEW = {"kind": "view", "view": "{{ input }}"}


@pytest.mark.parametrize(
    ("tools", "said"),
    [
        ({"a b": LOOKUP}, "masterloop.tools.a b: this cannot be the name of a tool"),
        ({"a": {**LOOKUP, "needs": ["bb"]}, "b": LOOKUP}, "a.needs: there is no tool 'bb'. Did"),
        ({"a": {**LOOKUP, "fallback": "c"}, "b": LOOKUP}, "a.fallback: there is no tool 'c'"),
        ({"a": {"kind": "choice", "variants": ["c"]}}, "a.variants: there is no tool 'c'"),
        ({"a": {"kind": "choice", "variants": []}}, "variants: there is nothing to choose from"),
        ({"a": {**LOOKUP, "fallback": "a"}}, "a: there is a cycle: a -> a"),
        (
            {
                "a": {**LOOKUP, "needs": ["b"]},
                "b": {**LOOKUP, "fallback": "c"},
                "c": {"kind": "choice", "variants": ["a"]},
            },
            "there is a cycle: ",
        ),
        ({"a": {**LOOKUP, "needs": ["b"]}, "b": VIEW}, "'b' is of the dashboard layer, above"),
        ({"a": {**FUNCTION, "function": "math"}}, 'a.function: found "math"'),
        ({"a": {**LOOKUP, "input": "{{ needs.b }}"}}, "a.input: 'b' is not needed. Name it in"),
        ({"a": {**LOOKUP, "input": "{{ steps.b }}"}}, "a.input: there is no 'steps'"),
        ({"a": {**LOOKUP, "input": "{{ input() }}"}}, "a.input: functions, methods and powers"),
        ({"a": {**LOOKUP, "cache": {"key": "{{ needs.b }}"}}}, "a.cache.key: there is no 'needs'"),
        ({"a": {**VIEW, "view": "{{ needs.b }}"}}, "a.view: there is no 'needs'"),
        ({"a": {"kind": "choice", "variants": ["b"], "input": 1}, "b": LOOKUP}, "no such key"),
    ],
)
def test_a_mistake_is_named_with_its_key(tmp_path: Path, tools: Any, said: str) -> None:
    file = tmp_path / "langgraph.json"
    manifest = {"graphs": {"g": "./g.py:g"}, "masterloop": {"tools": tools}}
    file.write_text(json.dumps(manifest))
    with pytest.raises(ConfigurationError) as caught:
        load_manifest(file)
    assert said in str(caught.value)
    assert "masterloop.tools" in str(caught.value)
