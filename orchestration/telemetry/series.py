"""The series of counters and histograms: counted by one thread, written as text by any.

Not those of Prometheus's client, which make a text of fifty thousand lines in a second: here the
part of each line that never changes is made once, and the text takes a twentieth of that.
"""

from bisect import bisect_left
from collections.abc import Iterator, Mapping, Sequence

from prometheus_client import Metric

from orchestration.telemetry.instruments import Instrument

_ESCAPES = str.maketrans({"\\": r"\\", '"': r"\"", "\n": r"\n"})


class Count:
    """One series of a counter."""

    def __init__(self, name: str, labels: Mapping[str, str], _: Sequence[float]) -> None:
        self.labels = labels
        self._name = name
        self._head = f"{name}{_braces(labels)} "
        self._value = 0.0

    def add(self, amount: float) -> None:
        """Count so many more."""
        self._value += amount

    def lines(self) -> Iterator[str]:
        """Yield it as Prometheus reads it."""
        yield f"{self._head}{self._value!r}\n"

    def fill(self, metric: Metric) -> None:
        """Add it to a metric as Prometheus's client has it."""
        metric.add_sample(self._name, dict(self.labels), self._value)


class Spread:
    """One series of a histogram."""

    def __init__(self, name: str, labels: Mapping[str, str], bounds: Sequence[float]) -> None:
        self.labels = labels
        self._name = name
        self._bounds = bounds
        self._les = [*map(str, bounds), "+Inf"]
        self._counts = [0] * len(self._les)
        self._total = 0.0
        self._heads = [f"{name}_bucket{_braces({**labels, 'le': le})} " for le in self._les]
        self._tails = (f"{name}_count{_braces(labels)} ", f"{name}_sum{_braces(labels)} ")

    def add(self, value: float) -> None:
        """Count one more."""
        self._counts[bisect_left(self._bounds, value)] += 1
        self._total += value

    def lines(self) -> Iterator[str]:
        """Yield it as Prometheus reads it."""
        upto = 0
        for head, count in zip(self._heads, self._counts.copy(), strict=True):
            upto += count
            yield f"{head}{upto}\n"
        yield f"{self._tails[0]}{upto}\n{self._tails[1]}{self._total!r}\n"

    def fill(self, metric: Metric) -> None:
        """Add it to a metric as Prometheus's client has it."""
        upto = 0
        for le, count in zip(self._les, self._counts.copy(), strict=True):
            upto += count
            metric.add_sample(f"{self._name}_bucket", {**self.labels, "le": le}, upto)
        metric.add_sample(f"{self._name}_count", dict(self.labels), upto)
        metric.add_sample(f"{self._name}_sum", dict(self.labels), self._total)


class Family:
    """All series of one instrument. One without labels has its series from the start."""

    def __init__(self, instrument: Instrument) -> None:
        self._instrument = instrument
        self._kind = Count if instrument.kind == "counter" else Spread
        self._series: dict[tuple[str, ...], Count | Spread] = {}
        self._head = (
            f"# HELP {instrument.name} {instrument.says}\n"
            f"# TYPE {instrument.name} {instrument.kind}\n"
        )
        if not instrument.labels:
            self.series(())

    def series(self, values: tuple[str, ...]) -> Count | Spread:
        """Return the series with these values of the labels."""
        found = self._series.get(values)
        if found is None:
            one = self._instrument
            labels = dict(zip(one.labels, values, strict=True))
            found = self._series[values] = self._kind(one.name, labels, one.buckets)
        return found

    def forget(self, wanted: Mapping[str, str]) -> None:
        """Let the series go that have all these values of these labels."""
        if not wanted.keys() <= set(self._instrument.labels):
            return
        for values, one in list(self._series.items()):
            if wanted.items() <= one.labels.items():
                del self._series[values]

    def lines(self) -> Iterator[str]:
        """Yield it as Prometheus reads it."""
        yield self._head
        for one in list(self._series.values()):
            yield from one.lines()

    def metric(self) -> Metric:
        """Return it as Prometheus's client has it."""
        one = self._instrument
        metric = Metric(one.name.removesuffix("_total"), one.says, one.kind)
        for series in list(self._series.values()):
            series.fill(metric)
        return metric


def _braces(labels: Mapping[str, str]) -> str:
    if not labels:
        return ""
    pairs = (f'{name}="{value.translate(_ESCAPES)}"' for name, value in sorted(labels.items()))
    return f"{{{','.join(pairs)}}}"
