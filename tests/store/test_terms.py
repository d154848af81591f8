"""Terms of metadata: they say what a document contains."""

from random import Random
from typing import Any

import pytest

from orchestration.store.contains import contains
from orchestration.store.terms import MOST, TooMuchMetadata, check_size, sayable, terms

LEAVES: tuple[Any, ...] = (None, True, 1, 1.0, "0", "b" * 300)


def _document(rng: Random, depth: int = 0) -> Any:
    kind = (
        rng.choice(("dict", "list", "leaf")) if 0 < depth < 3 else "dict" if not depth else "leaf"
    )
    if kind == "dict":
        return {rng.choice("ab0"): _document(rng, depth + 1) for _ in range(rng.randrange(4))}
    if kind == "list":
        return [_document(rng, depth + 1) for _ in range(rng.randrange(3))]
    return rng.choice(LEAVES)


def _part(rng: Random, whole: Any) -> Any:
    """Return some of a document, now and then with something else in it."""
    if rng.random() < 0.05:
        return _document(rng, 1)
    if isinstance(whole, dict):
        return {key: _part(rng, value) for key, value in whole.items() if rng.random() < 0.7}
    if isinstance(whole, list):
        return [_part(rng, value) for value in whole if rng.random() < 0.7]
    return whole


def test_terms_say_what_is_contained() -> None:
    rng = Random(3)
    pairs = [(whole, _part(rng, whole)) for whole in (_document(rng) for _ in range(5_000))]
    pairs = [(whole, part) for whole, part in pairs if isinstance(part, dict)]
    held = [(whole, part) for whole, part in pairs if contains(whole, part)]
    assert all(terms(part) <= terms(whole) for whole, part in held)
    said = [(whole, part) for whole, part in pairs if sayable(part) and terms(part) <= terms(whole)]
    assert all(contains(whole, part) for whole, part in said)
    assert 1_000 < len(said) < len(held) < len(pairs)


@pytest.mark.parametrize(
    ("first", "second"),
    [
        ({"a": "1"}, {"a": 1}),
        ({"a": 1}, {"a": True}),
        ({"a": None}, {"a": "null"}),
        ({"a": {"b": "c"}}, {"a": ["b", "c"]}),
        ({"a": ["b"]}, {"a": "b"}),
        ({"a": {"0": "b"}}, {"a": ["b"]}),
    ],
)
def test_what_is_different_has_different_terms(first: Any, second: Any) -> None:
    assert not terms(first) & terms(second)


def test_more_values_than_can_be_looked_up_are_refused() -> None:
    check_size({"a": list(range(MOST))})
    with pytest.raises(TooMuchMetadata, match="1,000 values, and these hold 1,001"):
        check_size({"a": {"b": list(range(MOST))}, "c": 0})
