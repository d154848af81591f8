from xml.etree import ElementTree as ET

from load.bench.charts import COLOURS, LEFT, Bar, Group, chart
from load.bench.peers import PEERS
from load.bench.pictures import pictures
from load.bench.results import Results
from tests.bench.records import record, waits

SVG = "{http://www.w3.org/2000/svg}"


def bar(value: float, *, low: float | None = None, wanted: float | None = None) -> Bar:
    least = value if low is None else low
    return Bar("one <&>", "limit", value, least, value, f"{value:g}", wanted)


def drawn(svg: str) -> ET.Element:
    return ET.fromstring(svg)  # noqa: S314 - our own


def lengths(svg: str) -> list[float]:
    """Return how long the bars are, in pixels."""
    paths = [path.attrib for path in drawn(svg).iter(f"{SVG}path")]
    ends = [path["d"].split("H")[1].split("v")[0] for path in paths if "fill" in path]
    return [float(end) - LEFT for end in ends]


def test_bars_are_as_long_as_their_values() -> None:
    short, long = lengths(chart("title", "note", [Group("", [bar(1), bar(4)])]))
    assert abs(long / short - 4) < 0.01


def test_on_a_logarithmic_scale_ten_times_as_much_is_one_step_more() -> None:
    groups = [Group("", [bar(10), bar(100), bar(1_000)])]
    none, one, two = lengths(chart("title", "note", groups, logarithmic=True))
    assert none <= 1
    assert abs(two - 2 * one) < 1


def test_a_bar_of_nothing_can_be_drawn() -> None:
    assert lengths(chart("title", "note", [Group("", [bar(0)])])) == [1.0]


def test_ranges_and_what_is_wanted_are_marked() -> None:
    svg = chart("title", "note", [Group("", [bar(2, low=1, wanted=4), bar(3)])])
    kinds = [path.get("class") for path in drawn(svg).iter(f"{SVG}path")]
    assert kinds.count("range") == 1
    assert kinds.count("wanted") == 1


def test_names_are_text_and_never_markup() -> None:
    svg = chart("a < b", "note", [Group("", [bar(1)])])
    assert "one <&>" in [text.text for text in drawn(svg).iter(f"{SVG}text")]


def test_there_is_no_chart_without_bars() -> None:
    assert chart("title", "note", [Group("empty", [])]) == ""
    assert pictures(Results([])) == {}


def test_every_server_has_a_colour() -> None:
    assert set(COLOURS) == set(PEERS)


def test_goals_are_drawn_as_shares_of_what_is_wanted() -> None:
    sleeps = [
        record("masterloop", "W3", {"over p95 ms": 65}),
        record("limit", "W3", {"over p95 ms": 100}),
    ]
    fast = record("masterloop", "W8", {"recovery begins after s": 0.1})
    results = Results([*waits("masterloop", 60), *waits("limit", 100), *sleeps, fast])
    svg = pictures(results)["goals"]
    wait, sleep, start = lengths(svg)
    assert sleep == start  # both are at least twice as good as wanted
    assert abs(wait / sleep - (0.6 / 0.75) / 2) < 0.01
    texts = {text.text for text in drawn(svg).iter(f"{SVG}text")}
    assert {"W1, 10 at once", "0.60, at least 0.75", "0.10 s, at most 2 s"} <= texts
