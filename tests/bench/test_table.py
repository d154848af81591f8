from pathlib import Path

from load.bench.results import Record, Results, append, load
from load.bench.rows import GOALS, Goal
from load.bench.summary import Spread
from load.bench.table import figures, goals, notes, ratio, shown
from tests.bench.records import record, waits

TEN = next(goal for goal in GOALS if goal.measure == "10 at once, runs/s")


def test_a_ratio_is_that_of_the_same_round() -> None:
    results = Results([*waits("masterloop", 80, 50, 90), *waits("limit", 100, 100, 300)])
    assert ratio(results, TEN) == Spread(0.5, 0.3, 0.8)


def test_a_round_that_only_one_of_them_has_gives_no_ratio() -> None:
    results = Results([*waits("masterloop", 80, 10), *waits("limit", 100)])
    assert ratio(results, TEN) == Spread(0.8, 0.8, 0.8)


def test_a_ratio_is_never_of_two_sessions() -> None:
    older, newer = "2026-11-28 09:00:00", "2026-11-28 10:00:00"
    both = [*waits("masterloop", 80, session=older), *waits("limit", 100, session=older)]
    results = Results([*both, *waits("masterloop", 500, session=newer)])
    assert ratio(results, TEN) == Spread(0.8, 0.8, 0.8)
    assert ratio(Results(waits("masterloop", 80)), TEN) is None


def test_the_table_says_what_is_reached() -> None:
    reached = goals(Results([*waits("masterloop", 80), *waits("limit", 100)]))
    assert "| 80 runs/s | 100 (bare limit) | **0.80** | at least 0.75 | reached |" in reached
    missed = goals(Results([*waits("masterloop", 70, 72, 74), *waits("limit", 100, 100, 100)]))
    assert "**0.72 [0.70..0.74]** | at least 0.75 | **not reached** |" in missed


def test_a_ratio_within_one_record_is_of_its_two_measures() -> None:
    results = Results(
        [record("masterloop", "checkpoints", {"ours, runs/s": 60, "memory, runs/s": 100})]
    )
    assert "| 60 runs/s | 100 | **0.60** | at least 0.6 | reached |" in goals(results)


def test_a_bound_without_a_ratio_is_held_against_the_figure() -> None:
    slow = Results([record("masterloop", "W8", {"recovery begins after s": 2.2})])
    assert "| 2.20 s | — | — | at most 2 s | **not reached** |" in goals(slow)


def test_servers_that_were_not_measured_have_no_column() -> None:
    results = Results([*waits("masterloop", 80), *waits("dbos", 20)])
    head, _, first = figures(results).splitlines()
    assert head == "|  | Masterloop | DBOS |"
    assert first == "| W1 run, waited for, 10 at once, runs/s | 80 | 20 |"


def test_what_failed_is_named_with_its_reason() -> None:
    failed = Record(
        session="s", round=0, peer="aegra", workload="W1", failed="cannot be installed: no Python"
    )
    assert "Aegra, W1: cannot be installed: no Python" in notes(Results([failed]))


def test_what_failed_once_and_was_measured_later_is_not_told_as_failed() -> None:
    failed = record("limit", "W1", {}, failed="failed")
    results = Results([failed, *waits("limit", 100)])
    assert not [note for note in notes(results) if "failed" in note]


def test_errors_are_told_with_the_first_of_them() -> None:
    results = Results([record("limit", "W1", {}, errors=3, samples=["500 b''", "other"])])
    assert "bare limit, W1: errors (3), the first: `500 b''`" in notes(results)


def test_numbers_are_shown_with_their_digits() -> None:
    assert shown(1234.56, 0) == "1,235"
    assert shown(0.126, 2) == "0.13"


def test_every_goal_against_a_bound_says_which() -> None:
    assert TEN.wanted == "at least 0.75"
    bound = Goal(workload="W5", what="", label="", measure="", unit="ms", at_most=3)
    assert (bound.wanted, bound.holds(3), bound.holds(3.1)) == ("at most 3 ms", True, False)


def test_a_bound_of_time_goes_with_what_the_peer_takes() -> None:
    bound = Goal(
        workload="W5", what="", label="", measure="", unit="ms",
        against="limit", at_most=3, set_beside=1.5,
    )  # fmt: skip
    assert bound.wanted == "at most 3 ms beside 1.5, so 2.0 times"
    assert (bound.holds(2), bound.holds(2.1)) == (True, False)


def test_results_outlive_the_run_that_wrote_them(tmp_path: Path) -> None:
    file = tmp_path / "results.jsonl"
    written = waits("limit", 100, 110)
    for one in written:
        append(file, one)
    assert load(file).records == written
    assert load(tmp_path / "none").records == []
