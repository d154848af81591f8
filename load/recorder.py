"""How long requests took: a histogram for each kind and outcome, a line for each second.

A line is ``{"at": Unix seconds, "users": 20, "requests": {"wait": {"done": histogram}}}``, the
histograms as the HDR libraries of all languages encode them, so that any lines can be added up.
"""

import json
from collections import Counter, defaultdict
from typing import Any, Literal, TextIO

from hdrh.histogram import HdrHistogram

Outcome = Literal["done", "refused", "failed"]
FIRST_EVENT, LAST_EVENT = "stream, first event", "stream, last event"
MOMENTS = frozenset({FIRST_EVENT, LAST_EVENT})  # within an answer: not requests of their own
UNIT = 1e-5  # seconds
_LONGEST = 3_600  # seconds
_DIGITS = 2  # percentiles are right within 1 %
_PROBLEMS = 50  # different ones that are told of a second


def new_histogram() -> Any:
    """Return a histogram of times in units of 10 µs."""
    return HdrHistogram(1, round(_LONGEST / UNIT), _DIGITS)


def record(histogram: Any, seconds: float) -> None:
    """Count a time; one that is longer than an hour counts as an hour."""
    histogram.record_value(max(1, min(round(seconds / UNIT), round(_LONGEST / UNIT))))


def percentile(histogram: Any, percent: float) -> float:
    """Return the time that ``percent`` of those counted did not exceed, in seconds."""
    return float(histogram.get_value_at_percentile(percent)) * UNIT


class Recorder:
    """Counts what requests came to, and writes a line whenever it is told that a turn is over."""

    def __init__(self, file: TextIO) -> None:
        self._file = file
        self._begin()

    def _begin(self) -> None:
        self._times: dict[str, dict[Outcome, Any]] = defaultdict(lambda: defaultdict(new_histogram))
        self._problems: Counter[str] = Counter()

    def record(self, name: str, outcome: Outcome, seconds: float, problem: str = "") -> None:
        """Count a request, and what was wrong with it."""
        record(self._times[name][outcome], seconds)
        if problem and (problem in self._problems or len(self._problems) < _PROBLEMS):
            self._problems[problem] += 1

    def turn(self, at: float, **more: Any) -> None:
        """Write what there was since the last turn, with ``more`` beside it."""
        requests = {
            name: {outcome: times.encode().decode() for outcome, times in outcomes.items()}
            for name, outcomes in self._times.items()
        }
        line = {"at": at, **more, "requests": requests, "problems": dict(self._problems)}
        self._file.write(json.dumps(line) + "\n")
        self._file.flush()
        self._begin()
