"""References: they keep types, name what is missing, and cannot be made to cost much."""

import tracemalloc
from functools import reduce
from typing import Any

import pytest

from coordinator.expressions import (
    ExpressionFailed,
    ExpressionRefused,
    Reference,
    fill_in,
    holds,
    references,
)
from coordinator.sandbox import MOST_EFFORT, MOST_RESULT

NAMES: dict[str, Any] = {
    "input": {"n": 2, "list": [1, 2, 3], "items": "a key", "text": "hey", "null": None},
    "steps": {"a": {"output": {"rows": [{"k": 1}, {"k": 2}]}}},
}


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ("plain {% text %} {# too #}", "plain {% text %} {# too #}"),
        ("{{ input.list }}", [1, 2, 3]),
        ("{{ input.null }}", None),
        ("{{ input.items }}", "a key"),
        ("{{ input['list'][1] }}", 2),
        ("{{ input.list.0 }}", 1),
        ("n={{ input.n }}\n", "n=2\n"),
        ("{{ input.n }}{{ input.n }}", "22"),
        ("{{ input.n + 1 }}", 3),
        ("{{ input.list + [4] }}", [1, 2, 3, 4]),
        ("{{ input.n > 1 and 'y' or 'n' }}", "y"),
        ("{{ 'a' if input.n == 2 else 'b' }}", "a"),
        ("{{ steps.a.output.rows | map(attribute='k') }}", [1, 2]),
        ("{{ steps.a.output.rows | map(attribute='k') | sum }}", 3),
        ("{{ input.list | map('string') | join('-') }}", "1-2-3"),
        ("{{ {'x': input.text} }}", {"x": "hey"}),
        ("{{ input.nope | default('d') }}", "d"),
        ("{{ input.list | tojson }}!", "[1, 2, 3]!"),
        ("{{ 2.345 | round(1) }}", 2.3),
        ("{{- input.n -}}", 2),
        ("{{ '}}' }}", "}}"),
        ("{# why #}{{ input.n + 1 }}", 3),
        ("  {{- input.n + 1 -}}  ", 3),
        ("{{ input.text[1:] ~ input.list[-1] }}", "ey3"),
        ("{{ '12' | int + 'x' | int(7) }}", 19),
        ("{{ 1 < input.n < 3 and not 1 > input.n > input.nope }}", True),
        ("{{ input.n in [1, 2] and 'e' in input.text and 'n' in input and 7 not in [1] }}", True),
        ("{{ input.list | select('>', 1) | list == [2, 3] }}", True),
        ("{{ 3 in input.list | map('int') and input.n is eq(2) }}", True),
        ("{{ ['b', 'C', 'a'] | sort + (['b', 'B'] | unique | list) }}", ["a", "b", "C", "b"]),
        ("{{ [2, 1] | max - (steps.a.output.rows | min(attribute='k')).k }}", 1),
        ("{{ ['b', 'B'] | unique(case_sensitive=true) | sort(reverse=true) }}", ["b", "B"]),
        ("{{ [] | max | default('none') }}", "none"),
        ("{{ ' hey ' | trim ~ 'xyhx' | trim('xy') }}", "heyh"),
        (
            "{{ input.list | reject('odd') | list + [3 is divisibleby 3, 3 is even] }}",
            [2, True, False],
        ),
        ({"a": ["{{ input.n }}", 1]}, {"a": [2, 1]}),
    ],
)
def test_an_expression_stands_for_its_value(value: Any, expected: Any) -> None:
    assert fill_in(value, NAMES) == expected


def test_what_is_given_is_a_copy_that_may_be_changed() -> None:
    given = fill_in("{{ steps.a.output }}", NAMES)
    given["rows"][0]["k"] = "changed"
    assert fill_in("{{ steps.a.output.rows[0].k }}", NAMES) == 1


@pytest.mark.parametrize(
    ("template", "complaint"),
    [
        ("{{ input.nope }}", "has no attribute 'nope'"),
        ("{{ input.nope.x }}", "has no attribute 'nope'"),
        ("{{ nope }}", "'nope' is undefined"),
        ("a {{ input.list.7 }}", "has no element 7"),
        ("{{ [input.nope] }}", "has no attribute 'nope'"),
        ("{{ input.list | map(attribute='k') }}", "has no attribute 'k'"),
        ("{{ input.text.upper }}", "has no attribute 'upper'"),
        ("{{ input.text['__class__'] }}", "has no attribute '__class__'"),
        ("{{ input.__class__.__mro__ }}", "has no attribute '__class__'"),
        ("{{ 1 / 0 }}", "division by zero"),
        ("{{ input.n + 'x' }}", "'+' is for numbers"),
        ("{{ input.text * 9 }}", "'*' is for numbers"),
        ("{{ '%999999999d' % 1 }}", "'%' is for numbers"),
        ("{{ '%999999d' is odd }}", "'odd' is for numbers"),
        ("{{ '%999999d' is divisibleby 2 }}", "'divisibleby' is for numbers"),
        ("{{ input.nope is even }}", "has no attribute 'nope'"),
        ("{{ input.text | trim(input.big) }}", "trims at most 64 characters"),
        ("{{ input.list | join(input.big) }}", f"longer than {MOST_RESULT} characters"),
        ("{{ input.big }}{{ input.big }}{{ input.big }}", f"longer than {MOST_RESULT} characters"),
        ("{{ input.list | map }}", "map requires a filter argument"),
        ("{{ input.list | dictsort }}", "has no attribute 'items'"),
        ("{{ input.deep | tojson }}", "while encoding a JSON object"),
    ],
)
def test_what_cannot_be_filled_in_is_told(template: str, complaint: str) -> None:
    deep = reduce(lambda within, _: [within], range(200_000), list[Any]())
    more = {"big": "x" * (MOST_RESULT // 2), "deep": deep}
    names = {**NAMES, "input": {**NAMES["input"], **more}}
    with pytest.raises(ExpressionFailed) as failed:
        fill_in(template, names)
    assert complaint in str(failed.value)


@pytest.mark.parametrize(
    "template",
    [
        "{{ range(99999999) }}",
        "{{ input.text.ljust(999999999) }}",
        "{{ 9 ** 9 ** 9 }}",
        "{{ lipsum(n=9999999) }}",
        "{% for a in b %}{{ a }}{% endfor %}",
        "{% set x = 1 %}{{ x }}",
        "{{ input.text | attr('upper') }}",
        "{{ input.text | center(999999999) }}",
        "{{ input.text | replace('', input.text) }}",
        "{{ input.n is nope }}",
        "{{ input.list | map('upper')",
        "{{ " + "x" * 9_000 + " }}",
        "{{ " + "+".join(["1"] * 300) + " }}",
        "{{ " + "(" * 3_000 + "1" + ")" * 3_000 + " }}",
    ],
)
def test_what_could_cost_much_is_refused_before_it_is_tried(template: str) -> None:
    with pytest.raises(ExpressionRefused):
        references(template)


@pytest.mark.timeout(180)  # an expression may take a second, and its coverage ten times that
@pytest.mark.parametrize(
    "template",
    [
        "{{ input.many | select('in', input.many) | list }}",
        "{{ input.many | map('join', input.big) }}",
        "{{ input.many | map(attribute=input.path) }}",
        "{{ input.many | map('round', -99999999) }}",
        "{{ [" + "input.many | sort," * 40 + "] | length }}",
        "{{ [" + "input.many[1:]," * 40 + "] | length }}",
        "{{ [" + "input.many," * 80 + "] }}",
        "{{ " + "+".join(["input.many"] * 80) + " }}",
        "{{ " + "~".join(["input.big"] * 80) + " }}",
        "{{ " + "+".join(["input.big"] * 80) + " }}",
        "{{ [" + "input.many | string," * 80 + "] | length }}",
        "{{ (input.digits | int) // (input.digits | int) }}",
        "{{ input.hex | int(0, 16) }}",
        "{{ 9999999999 * 9999999999 }}",
        "{{ " + " or ".join(["'c' in input.many"] * 40) + " }}",
        "{{ " + " or ".join(["'c' is in(input.many)"] * 40) + " }}",
        "{{ " + " and ".join(["[input.many] == [input.same]"] * 25) + " }}",
        "{{ " + " and ".join(["[input.many] is eq([input.same])"] * 25) + " }}",
        "{{ " + " or ".join(["'y' in input.big"] * 40) + " }}",
        "{{ input.numbers" + " | unique" * 100 + " | list | length }}",
        "{{ input.many" + " | select" * 100 + " | list | length }}",
        "{{ [" + "input.big, " * 80 + "] }}",
        "{{ [" + "input.keyed, " * 80 + "] }}",
        "{{ [" + "input.keyed, " * 80 + "] is upper }}",
        "{{ [" + "input.big, " * 80 + "] | sort | length }}",
        "{{ [input.keyed] | map('first') | sort(attribute='" + "0," * 40 + "0') }}",
        "{{ input.nested.k | map(attribute=1, default=[input.big]) | map(attribute=0) | unique }}",
        ["{{ input.many | sort | first }}"] * 40,
        ["a {{ input.big }}"] * 40,
        ["{{ input.big }}"] * 40,
        ["{{ input.many }}"] * 40,
        {"a": ["{{ input.nested }}"] * 800},
    ],
)
def test_what_would_take_too_long_is_broken_off(template: Any) -> None:
    given = {
        "many": list("ab" * (MOST_EFFORT // 40)),
        "same": list("ab" * (MOST_EFFORT // 40)),
        "numbers": list(range(MOST_EFFORT // 40)),
        "big": "x" * (MOST_RESULT // 2),
        "path": "0." * (MOST_EFFORT // 10) + "0",
        "digits": "9" * 4_000,
        "nested": {"k": [{"n": "x" * 16, "m": [1, 2]}] * 200},
        "hex": "f" * MOST_RESULT,
        "keyed": {"k" * MOST_RESULT: 1},
    }
    with pytest.raises(ExpressionFailed):
        fill_in(template, {"input": given})


@pytest.mark.parametrize(
    "text",
    ["{{ %s | tojson }}", "{{ %s | string }}", "{{ %s ~ 1 }}", "a {{ %s }}", "{{ [%s] | join }}"],
)
def test_no_text_is_made_that_is_too_long_to_be_used(text: str) -> None:
    many = "[" + "input.big, " * 80 + "]"
    tracemalloc.start()
    try:
        with pytest.raises(ExpressionFailed):
            fill_in(text % many, {"input": {"big": "x" * MOST_RESULT}})
        _, most = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert most < 10 * MOST_RESULT


@pytest.mark.parametrize(
    "template",
    [
        "{{ [" + "input.huge == [], " * 35 + "] | length }}",
        "{{ [" + "input.huge != 'x', " * 35 + "] | length }}",
        "{{ [" + "'x' in input.keys, " * 35 + "] | length }}",
        "{{ [" + "input.n in [1, 2], " * 35 + "] | length }}",
    ],
)
def test_what_is_compared_costs_no_more_than_the_smaller_of_both(template: str) -> None:
    keys = dict.fromkeys(map(str, range(MOST_EFFORT)))
    given = {"huge": [0] * 2 * MOST_EFFORT, "keys": keys, "n": 2}
    assert fill_in(template, {"input": given}) == 35


def test_what_is_referred_to_is_known_without_filling_it_in() -> None:
    assert references("{{ steps.a.output[0].b }} {{ input['x'] | join(item) }}") == {
        Reference("steps", ("a", "output", "0", "b")),
        Reference("input", ("x",)),
        Reference("item", ()),
    }


def test_a_condition_needs_no_braces() -> None:
    assert holds("input.n == 2", NAMES)
    assert holds("{{ input.n == 2 }}", NAMES)
    assert not holds("input.null", NAMES)
    assert holds(True, NAMES)
