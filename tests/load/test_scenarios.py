from pathlib import Path

import pytest

from load.scenario import Bound, load_scenario, names
from operations.errors import ConfigurationError

GOOD = """
title = "One"
duration = 10
[shape]
kind = "steady"
users = 1
[users]
Waiting = 1
[bounds]
error_rate = {at_most = 0}
"""


def refusal(folder: Path, text: str) -> str:
    (folder / "one.toml").write_text(text)
    with pytest.raises(ConfigurationError) as refused:
        load_scenario("one", folder=folder)
    return str(refused.value)


@pytest.mark.parametrize("name", names())
def test_every_scenario_of_ours_can_be_read(name: str) -> None:
    assert load_scenario(name).bounds


@pytest.mark.parametrize("name", names())
def test_every_scenario_of_ours_fails_where_the_service_does_not_end_in_order(name: str) -> None:
    bound = load_scenario(name).bounds["exit_code"]
    assert [code for code in (0, 1, 137, 143) if bound.holds(code)] == [143]


def test_a_duration_that_is_given_goes_first_and_shortens_the_warm_up() -> None:
    whole, short = load_scenario("soak"), load_scenario("soak", 60)
    assert (short.duration, short.warm_up) == (60, 60 * whole.warm_up / whole.duration)


def test_a_scenario_that_is_not_there_is_refused_with_the_nearest() -> None:
    with pytest.raises(ConfigurationError, match="Did you mean burst"):
        load_scenario("brust")


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ('"steady"', '"stedy"', "shape"),
        ("Waiting", "Waitnig", "Did you mean Waiting?"),
        ("error_rate", "eror_rate", "Did you mean error_rate?"),
        ("{at_most = 0}", "{}", "give at_most or at_least"),
        ("[users]\nWaiting = 1", "", "shape and users need each other"),
        ("[shape]", "[service]\nmax_runs = 3\n[shape]", "no such setting"),
        ("duration = 10", "duration = 10\nwarm_up = 10", "shorter than duration"),
        ("duration = 10", "duration = ten", "not TOML"),
        ("duration = 10", "duration = -1", "duration"),
        ('title = "One"', "", "title"),
    ],
)
def test_a_file_with_a_mistake_is_refused_with_where_it_is(
    tmp_path: Path, old: str, new: str, said: str
) -> None:
    assert GOOD.count(old) >= 1
    sentence = refusal(tmp_path, GOOD.replace(old, new))
    assert said in sentence
    assert "one.toml" in sentence


@pytest.mark.parametrize(
    ("bound", "value", "holds"),
    [
        (Bound(at_most=1), 1, True),
        (Bound(at_most=1), 1.01, False),
        (Bound(at_least=0.9), 0.9, True),
        (Bound(at_least=0.9), 0.89, False),
        (Bound(at_most=1), None, False),
    ],
)
def test_a_bound_holds_only_what_was_measured_and_is_within_it(
    bound: Bound, value: float | None, holds: bool
) -> None:
    assert bound.holds(value) is holds
