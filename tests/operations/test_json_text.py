"""JSON text that others read."""

import json
from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from operations.json_text import has_large_integer

LEAST, MOST = -(2**63), 2**64 - 1


@pytest.mark.parametrize(
    ("text", "large"),
    [
        ("18446744073709551615", False),
        ("18446744073709551616", True),
        ("-9223372036854775808", False),
        ("-9223372036854775809", True),
        ('{"a":[1, 18446744073709551616]}', True),
        ("1" * 5_000, True),
        ("0.18446744073709551616", False),
        ("18446744073709551616.5", False),
        ("18446744073709551616e2", False),
        ("1e-00000000000000000000000001", False),
        ("1E+00000000000000000000000001", False),
        ('"18446744073709551616"', False),
        (r'"\" 18446744073709551616"', False),
        (r'"\\", 18446744073709551616', True),
        ('{"18446744073709551616": 1}', False),
    ],
)
def test_an_integer_of_more_than_64_bits_is_seen(text: str, large: bool) -> None:
    assert has_large_integer(text.encode()) is large


numbers = st.integers(-(2**70), 2**70) | st.floats(allow_nan=False, allow_infinity=False)
texts = st.text(alphabet='0123456789\\"-.e ') | st.integers(2**64, 2**70).map(str)


@given(st.recursive(numbers | texts, lambda inner: st.lists(inner) | st.dictionaries(texts, inner)))
def test_what_has_none_is_read_as_it_was_written(value: Any) -> None:
    text = json.dumps(value).encode()
    same = repr(orjson.loads(text)) == repr(json.loads(text))
    assert same is not has_large_integer(text)
