"""What a load test came to: totals, series and measures, from the lines that were recorded."""

import math
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from statistics import StatisticsError, linear_regression, median
from typing import Any

from hdrh.histogram import HdrHistogram

from load.recorder import FIRST_EVENT, MOMENTS, new_histogram, percentile
from load.scenario import Scenario

Lines = Sequence[Mapping[str, Any]]
PERCENTS = (50.0, 95.0, 99.0)
WAIT = "wait"
_MINUTE = 60.0  # seconds
_GROWING = ("rss", "descriptors", "threads", "tasks")


def summarise(
    scenario: Scenario,
    requests: Lines,
    service: Lines,
    found: Mapping[str, float],
    span: tuple[float, float] | None = None,
) -> dict[str, Any]:
    """Return the whole of it as JSON can hold it; ``found`` are measures of the driver's own.

    What the service says is measured in the ``span`` of Unix seconds, or else after the warm-up.
    """
    begun = requests[0]["at"] if requests else 0.0
    first, last = span or (begun + scenario.warm_up, math.inf)
    totals = _totals(requests)
    measures: dict[str, float] = {
        **_of_requests(totals),
        **_of_the_service([line for line in service if first <= line["at"] <= last]),
        **found,
    }
    problems: Counter[str] = Counter()
    for line in requests:
        problems.update(line["problems"])
    took = max(1.0, requests[-1]["at"] - begun) if requests else 1.0
    return {
        "scenario": scenario.model_dump(mode="json", exclude_none=True),
        "begun": begun,
        "took": took,
        "measures": measures,
        "verdict": [
            {
                "measure": measure,
                "bound": str(bound),
                "found": measures.get(measure),
                "holds": bound.holds(measures.get(measure)),
            }
            for measure, bound in scenario.bounds.items()
        ],
        "requests": {name: _row(outcomes, took) for name, outcomes in sorted(totals.items())},
        "problems": dict(problems.most_common()),
        "series": {
            "requests": [_second(line, begun) for line in requests],
            "service": [{**line, "at": line["at"] - begun} for line in service],
        },
    }


def holds(summary: Mapping[str, Any]) -> bool:
    """Return whether every bound held."""
    return all(one["holds"] for one in summary["verdict"])


def _decoded(text: str) -> Any:
    return HdrHistogram.decode(text.encode())


def _totals(requests: Lines) -> dict[str, dict[str, Any]]:
    """Return the histograms of all lines together, by name and outcome."""
    named: dict[str, list[Mapping[str, str]]] = defaultdict(list)
    for line in requests:
        for name, outcomes in line["requests"].items():
            named[name].append(outcomes)
    return {name: _added(outcomes) for name, outcomes in named.items()}


def _row(outcomes: Mapping[str, Any], took: float) -> dict[str, Any]:
    counts = {name: _count(outcomes.get(name)) for name in ("done", "refused", "failed")}
    done = outcomes.get("done")
    return {**counts, "per_second": counts["done"] / took, **_percentiles(done)}


def _count(histogram: Any) -> int:
    return 0 if histogram is None else int(histogram.get_total_count())


def _percentiles(histogram: Any) -> dict[str, float | None]:
    """Return p50, p95 and p99 in seconds."""
    return {
        f"p{percent:g}": percentile(histogram, percent) if _count(histogram) else None
        for percent in PERCENTS
    }


def _second(line: Mapping[str, Any], begun: float) -> dict[str, Any]:
    """Return the figures of a line, of all its requests together."""
    named = line["requests"]
    together = _added(named[name] for name in named.keys() - MOMENTS)
    counts = {name: _count(together.get(name)) for name in ("done", "refused", "failed")}
    first = named.get(FIRST_EVENT, {}).get("done")
    return {
        "at": line["at"] - begun,
        "users": line.get("users"),
        "offered": line.get("offered"),
        **counts,
        **_percentiles(together.get("done")),
        "refused_p99": _percentiles(together.get("refused"))["p99"],
        "first_event_p95": _percentiles(_decoded(first))["p95"] if first else None,
    }


def _added(named: Iterable[Mapping[str, str]]) -> dict[str, Any]:
    together: dict[str, Any] = defaultdict(new_histogram)
    for outcomes in named:
        for outcome, text in outcomes.items():
            together[outcome].add(_decoded(text))
    return together


def _of_requests(totals: Mapping[str, Mapping[str, Any]]) -> dict[str, float]:
    measures: dict[str, float] = {}
    every = sum(_count(one) for outcomes in totals.values() for one in outcomes.values())
    failed = sum(_count(outcomes.get("failed")) for outcomes in totals.values())
    if every:
        measures["error_rate"] = failed / every
    for measure, name in (("wait_p99", WAIT), ("first_event_p99", FIRST_EVENT)):
        if done := totals.get(name, {}).get("done"):
            measures[measure] = percentile(done, 99)
    refused = [one["refused"] for one in totals.values() if "refused" in one]
    if refused:
        together = new_histogram()
        for one in refused:
            together.add(one)
        measures["refused_p99"] = percentile(together, 99)
    return measures


def _of_the_service(samples: Lines) -> dict[str, float]:
    """Return the measures of what the service and the system said after the warm-up."""
    measures: dict[str, float] = {}
    for name in ("zombies", "lag_p99"):
        if values := [line[name] for line in samples if line.get(name) is not None]:
            measures[name] = max(values)
    for name in _GROWING:
        points = [(line["at"], line[name]) for line in samples if line.get(name) is not None]
        quarter = len(points) // 4
        if quarter:
            values = [value for _, value in points]
            measures[f"{name}_growth"] = median(values[-quarter:]) - median(values[:quarter])
        if name == "rss" and points:
            try:
                line = linear_regression(*zip(*points, strict=True))
            except StatisticsError:  # one point, or all at once
                continue
            measures["rss_slope"] = line.slope * _MINUTE
    return measures
