import json
from io import StringIO
from typing import Any
from xml.etree import ElementTree as ET

import pytest

from load.charts import Line, chart
from load.recorder import Recorder
from load.report import render
from load.scenario import Scenario
from load.summary import holds, summarise

SCENARIO = Scenario.model_validate(
    {
        "name": "made-up",
        "title": "A <made up> scenario",
        "duration": 4,
        "warm_up": 1,
        "shape": {"kind": "steady", "users": 1},
        "users": {"Waiting": 1},
        "bounds": {
            "error_rate": {"at_most": 0.5},
            "wait_p99": {"at_most": 0.1},
            "zombies": {"at_most": 0},
        },
    }
)


def recorded() -> list[dict[str, Any]]:
    """Four seconds: a hundred requests of 1 to 100 ms in each, three refused and one failed."""
    file = StringIO()
    recorder = Recorder(file)
    for second in range(4):
        for number in range(1, 101):
            recorder.record("wait", "done", number / 1_000)
        for _ in range(3):
            recorder.record("wait", "refused", 0.002)
        recorder.record("other", "failed", 1.0, "status 500 <&>")
        recorder.turn(1_000.0 + second, users=5)
    return [json.loads(line) for line in file.getvalue().splitlines()]


def sampled(**changes: Any) -> list[dict[str, Any]]:
    usual = {"rss": 100.0, "waiting": 3, "working": 2, "zombies": 0, "probe": 0.001, "lag_p99": 0.1}
    return [{"at": 1_000.0 + second, **usual, **changes} for second in range(4)]


def summary(**changes: Any) -> dict[str, Any]:
    found = summarise(SCENARIO, recorded(), sampled(**changes), {})
    return {**found, "machine": {"cores": "2"}}


def test_totals_are_those_of_all_seconds_together() -> None:
    row = summary()["requests"]["wait"]
    assert (row["done"], row["refused"], row["failed"]) == (400, 12, 0)
    assert row["p50"] == pytest.approx(0.050, rel=0.02)
    assert row["p99"] == pytest.approx(0.099, rel=0.02)


def test_a_refusal_is_no_error_and_a_failure_is_one() -> None:
    found = summary()
    assert found["measures"]["error_rate"] == 4 / (400 + 12 + 4)
    assert found["problems"] == {"status 500 <&>": 4}


def test_all_bounds_hold_or_the_whole_does_not() -> None:
    assert holds(summary())
    assert not holds(summary(zombies=1))


def test_memory_that_grows_by_a_megabyte_a_second_is_found_to() -> None:
    samples = [{**one, "rss": 100.0 + number} for number, one in enumerate(sampled())]
    measures = summarise(SCENARIO, recorded(), samples, {})["measures"]
    assert measures["rss_slope"] == pytest.approx(60.0)


def test_a_service_that_never_answers_how_it_is_holds_no_bound_on_that() -> None:
    samples = [{"at": 1_000.0 + second, "rss": 1.0, "probe": None} for second in range(4)]
    assert not holds(summarise(SCENARIO, recorded(), samples, {}))


def test_nothing_recorded_still_makes_a_page_that_says_so() -> None:
    found = {**summarise(SCENARIO, [], [], {}), "machine": {}}
    assert "not measured" in render(found)


def test_the_page_stands_alone_and_shows_every_request_and_verdict() -> None:
    page = render(summary())
    assert page.count("<svg") >= 6
    assert "A &lt;made up&gt; scenario" in page
    assert "status 500 &lt;&amp;&gt;" in page
    assert "all bounds held" in page
    for outward in ("http:", "https:", "<script", "src=", "@import", "url("):
        assert outward not in page


def test_a_chart_is_well_formed_and_breaks_its_line_where_there_is_no_value() -> None:
    points = [(0.0, 1.0), (1.0, 2.0), (2.0, None), (3.0, 3.0), (4.0, 4.0)]
    drawn = ET.fromstring(chart("A & B", "ms", [Line("x < y", points)]))  # noqa: S314 - our own
    path = drawn.findall("path")[-1].get("d", "")
    assert (path.count("M"), path.count("L")) == (2, 2)


@pytest.mark.parametrize("logarithmic", [False, True])
@pytest.mark.parametrize("values", [[0.0, 0.0], [5.0, 5.0], [1e-6, 1e6], [-3.0, 2.0]])
def test_a_chart_takes_any_values_and_keeps_them_in_the_picture(
    values: list[float], logarithmic: bool
) -> None:
    drawn = chart("t", "", [Line("l", list(enumerate(values)))], logarithmic=logarithmic)
    line = ET.fromstring(drawn).findall("path")[-1].get("d", "")  # noqa: S314 - our own
    heights = [float(part.split()[1]) for part in line.replace("L", "M").split("M")[1:]]
    assert all(0 <= height <= 240 for height in heights)


def test_nothing_to_draw_is_no_chart() -> None:
    assert chart("t", "", [Line("l", [(0.0, None)])]) == ""
