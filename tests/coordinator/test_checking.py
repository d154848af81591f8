"""Mistakes in a workflow: each is named with its place and its remedy, all of them at once."""

from typing import Any

import pytest

from coordinator.checking import Known, WorkflowRefused, checked
from coordinator.spec import MOST_STEPS

KNOWN = Known(agents={"summarize", "fast"}, tools={"fetch"}, graphs={"digest"})

SAME = (
    "/steps/0/cache/key: every item would be given what the first one gave. Refer to 'item' or "
    "'index', or leave the key out: it is then who does it and the input."
)
NOBODY = "no agent can do 'summarise', and no pool has this name. Did you mean summarize?"
ASIDE = (
    "the step is unreachable: 'undo' is done only when another step has failed, "
    "and the workflow fails then. Need another step."
)


def step(name: str, **more: Any) -> dict[str, Any]:
    return {"id": name, "tool": "fetch", **more}


def mistakes(*steps: dict[str, Any], known: Known = KNOWN, **more: Any) -> list[str]:
    document = {"name": "w", "steps": list(steps), **more}
    with pytest.raises(WorkflowRefused) as refused:
        checked(document, known)
    return [str(one) for one in refused.value.mistakes]


def test_a_workflow_without_mistakes_becomes_a_plan() -> None:
    plan = checked(
        {
            "name": "w",
            "steps": [
                step("b", input={"text": "{{ steps.a.output.text }} of {{ input.url }}"}),
                step("a", input="{{ input['url'] }}", on_error={"compensate": "undo"}),
                step("c", agent="fast", tool=None, needs=["b"]),
                step("undo"),
            ],
        },
        KNOWN,
    )
    assert list(plan.order) == ["a", "b", "c"]
    assert plan.needs == {"a": set(), "b": {"a"}, "c": {"b"}, "undo": set()}
    assert list(plan.inputs) == ["url"]


def test_what_differs_in_the_order_of_its_keys_is_the_same_workflow() -> None:
    one = checked({"name": "w", "steps": [{"id": "a", "tool": "fetch"}]}, KNOWN)
    other = checked({"steps": [{"tool": "fetch", "id": "a"}], "name": "w"}, KNOWN)
    assert one.digest == other.digest


@pytest.mark.parametrize(
    ("steps", "expected"),
    [
        ([step("a", needs=["c"]), step("b", needs=["a"]), step("c", needs=["b"])],
         ["/steps/0/needs: steps wait for each other: a needs c needs b needs a. Cut one off."]),
        ([step("a", input="{{ steps.a.output }}")],
         ["/steps/0/needs: steps wait for each other: a needs a. Cut one off."]),
        ([step("a", needs=["a"]), step("b", needs=["a"]), step("c", needs=["b"])],
         ["/steps/0/needs: steps wait for each other: a needs a. Cut one off.",
          "/steps/1/needs: the step is unreachable: it is behind steps that wait for each other.",
          "/steps/2/needs: the step is unreachable: it is behind steps that wait for each other."]),
        ([step("a"), step("a")],
         ["/steps/1/id: /steps/0 has this id too. Ids are for one step."]),
        ([step("load"), step("b", needs=["laod"])],
         ["/steps/1/needs/0: there is no step 'laod'. Did you mean load?"]),
        ([step("load"), step("b", input={"x": ["{{ steps.laod.output }}"]})],
         ["/steps/1/input/x/0: 'steps.laod.output': there is no such step. Did you mean load?"]),
        ([step("a"), step("b", when="steps.a.outptu")],
         ["/steps/1/when: 'steps.a.outptu': a step has no such thing. Did you mean output?"]),
        ([step("a", input="{{ inptu.x }}")],
         ["/steps/0/input: there is no 'inptu.x'. Did you mean input?"]),
        ([step("a", input="{{ item }}")],
         ["/steps/0/input: there is no 'item'. Known are: input, steps."]),
        ([step("a", cache={"key": "{{ item }}"})],
         ["/steps/0/cache/key: there is no 'item'. Known are: input, steps."]),
        ([step("a", map={"over": [1, 2]}, cache={"key": ["k", "{{ input.v }}"]})],
         [SAME]),
        ([step("a", map={"over": [1, 2]}, cache={"key": "k"}, input="{{ item }}")],
         [SAME]),
        ([step("a", input="{{ steps }}")],
         ["/steps/0/input: 'steps' alone refers to nothing. Name one, as in steps.a.output."]),
        ([step("a", when="{{ input.x }} > 3")],
         ["/steps/0/when: this is a text, which is always true. Put all of it in braces."]),
        ([step("a", input="{{ input[input.x] }}")],
         ["/steps/0/input: 'input' alone refers to nothing. Name one, as in input.x."]),
        ([step("a", input="{{ 1 + }}")],
         ["/steps/0/input: {{ 1 + }}: unexpected 'end of print statement'"]),
        ([{"id": "a", "agent": "summarise"}],
         ["/steps/0/agent: " + NOBODY]),
        ([step("a", fallbacks=[{"graph": "digets"}])],
         ["/steps/0/fallbacks/0/graph: there is no graph 'digets'. Did you mean digest?"]),
        ([step("a", when=False)],
         ["/steps/0/when: the step is unreachable: this is never true. Leave the step out."]),
        ([step("a", on_error={"compensate": "undo"}), step("undo"), step("b", needs=["undo"])],
         ["/steps/2/needs/0: " + ASIDE]),
        ([step("a", on_error={"compensate": "undo"}), step("undo"),
          step("b", input=["{{ steps.undo.output | default(1) }}"])],
         ["/steps/2/input/0: " + ASIDE]),
        ([step("a", on_error={"compensate": "a"})],
         ["/steps/0/on_error/compensate: a step cannot put itself right. Name another one."]),
        ([step("a", on_error={"compensate": "b"})],
         ["/steps/0/on_error/compensate: there is no step 'b'. Known are: a."]),
        ([step("a", on_error={"compensate": "b"}), step("b", approval=True)],
         ["/steps/0/on_error/compensate: 'b' has a map or an approval. Leave those out there."]),
        ([step("a", on_error={"compensate": "b"}),
          step("b", on_error={"compensate": "c"}), step("c")],
         ["/steps/0/on_error/compensate: 'b' has a compensation itself. One is all there can be."]),
        ([step("title", input="{{ input.title }}")],
         ["/steps/0/id: 'input.title' has this name too. Give the step or the input another one."]),
        ([step("a", input="{{ input.steps }}")],
         ["/steps: an input cannot be called 'steps'. Give it another name."]),
    ],
)  # fmt: skip
def test_a_mistake_between_steps_is_told(steps: list[dict[str, Any]], expected: list[str]) -> None:
    assert mistakes(*steps) == expected


@pytest.mark.parametrize(
    ("one", "expected"),
    [
        ({"id": "a"}, "/steps/0: nobody or several would do it. Give one of agent, tool and graph"),
        ({"id": "a", "tool": "fetch", "graph": "digest"}, "/steps/0: nobody or several"),
        ({"id": "a", "tool": "fetch", "mpa": 1}, "/steps/0/mpa: there is no such key. Did you mea"),
        ({"id": "a-b", "tool": "fetch"}, "/steps/0/id: 'a-b' cannot be an id"),
        ({"tool": "fetch"}, "/steps/0/id: the key is missing. Add it."),
        (step("a", on_error="nope"), "/steps/0/on_error: input should be 'fail' or 'continue'"),
        (step("a", on_error={"compensat": "b"}), "/steps/0/on_error/compensat: there is no such"),
        (step("a", retry={"attempts": 0}), "/steps/0/retry/attempts: input should be greater"),
        (step("a", map={"over": "input.x", "concurrency": "2"}),
         "/steps/0/map/concurrency: it has to be a whole number."),
        (step("a", variants=[{"id": "v", "tool": "fetch"}]), "/steps/0: nobody or several would"),
        (step("a", fallbacks=[{"input": 1}]), "/steps/0/fallbacks/0: nobody or several"),
    ],
)  # fmt: skip
def test_a_malformed_step_is_told(one: dict[str, Any], expected: str) -> None:
    (found,) = mistakes(one)
    assert found.startswith(expected)


def test_all_mistakes_are_told_at_once() -> None:
    found = mistakes(step("a", needs=["x", "y"], input="{{ z }}"), {"id": "b", "graph": "q"})
    assert [one.partition(":")[0] for one in found] == [
        "/steps/0/input", "/steps/0/needs/0", "/steps/0/needs/1", "/steps/1/graph",
    ]  # fmt: skip


def test_a_workflow_has_its_bounds() -> None:
    assert mistakes()[0].startswith("/steps: list should have at least 1 item")
    many = [step(f"s{number}") for number in range(MOST_STEPS + 1)]
    assert mistakes(*many)[0].startswith(f"/steps: list should have at most {MOST_STEPS} items")
    assert len(mistakes(step("a", needs=[f"s{number}" for number in range(1_000)]))) == 100
    assert len(mistakes(step("a", needs=[0] * 1_000))) == 100
    deep: Any = "{{ input.x }}"
    for _ in range(40):
        deep = [deep]
    assert mistakes(step("a", input=deep)) == ["/steps/0: it is more than 32 levels deep"]


@pytest.mark.parametrize("within", ["steps", "fallbacks", "variants"])
def test_where_there_are_too_many_none_is_looked_at(within: str) -> None:
    wrong = [{"nonsense": 1}] * 1_000
    document = {"steps": wrong} if within == "steps" else {"steps": [step("a", **{within: wrong})]}
    with pytest.raises(WorkflowRefused) as refused:
        checked({"name": "w", **document}, KNOWN)
    [found] = refused.value.mistakes
    assert "at most" in found.problem


def test_of_a_flood_of_mistakes_only_their_number_is_told() -> None:
    [found] = mistakes(step("a", needs=[1] * 20_000))
    assert found.startswith("/: there are 2000")


@pytest.mark.parametrize("texts", [["{{ input.x }}"] * 190, ["{{ " + "x" * 8_000] * 40])
def test_what_would_take_long_to_read_is_not_read(texts: list[str]) -> None:
    found = mistakes(*(step(f"s{number}", input=texts) for number in range(11)))
    assert len(found) == 1
    assert ": a workflow has at most 2000 expressions" in found[0]


def test_what_would_take_long_to_begin_is_refused() -> None:
    texts = [f"{{{{ input.x + {number} }}}}" for number in range(201)]
    checked({"name": "w", "steps": [step("a", input=texts[:200])]}, Known())
    (found,) = mistakes(step("a"), step("b", input=texts))
    assert found == "/steps/1: a step has at most 200 expressions. Make two of it."


@pytest.mark.parametrize(
    ("more", "pointer"),
    [
        ({"input": {"n": [0, 2**64]}}, "/steps/0/input/n/1"),
        ({"fallbacks": [{"tool": "fetch", "input": -(2**63) - 1}]}, "/steps/0/fallbacks/0/input"),
        ({"budget": {"steps": 2**64}}, "/steps/0/budget/steps"),
    ],
)
def test_a_number_that_cannot_be_kept_is_told(more: Any, pointer: str) -> None:
    expected = f"{pointer}: a whole number has at most 64 bits. Use a smaller one, or a text."
    assert mistakes(step("a", **more)) == [expected]


def test_what_is_not_known_is_not_missed() -> None:
    checked({"name": "w", "steps": [{"id": "a", "agent": "whoever"}]}, Known())
    assert mistakes({"id": "a", "agent": "b"}, known=Known(agents=()))[0].endswith(
        "There are none."
    )


@pytest.mark.parametrize(
    ("document", "expected"),
    [
        ([], "/: it has to be an object."),
        ({"name": "w", "steps": {}}, "/steps: it has to be a list."),
        ({"name": 3, "steps": [step("a")]}, "/name: it has to be a string."),
        ({"name": "w", "steps": ["a"]}, "/steps/0: it has to be an object."),
        ({"name": "w", "steps": [step("a", retry=3)]}, "/steps/0/retry: it has to be an object."),
        (
            {"name": "w", "steps": [step("a", timeout="3")]},
            "/steps/0/timeout: it has to be a number.",
        ),
    ],
)
def test_what_a_value_has_to_be_is_said_in_the_words_of_json(document: Any, expected: str) -> None:
    with pytest.raises(WorkflowRefused) as caught:
        checked(document, KNOWN)
    assert [str(one) for one in caught.value.mistakes] == [expected]


@pytest.mark.parametrize("document", [None, 3, "x", [], {"name": "w", "steps": {}}])
def test_what_is_no_workflow_at_all_is_told(document: Any) -> None:
    with pytest.raises(WorkflowRefused):
        checked(document, KNOWN)
