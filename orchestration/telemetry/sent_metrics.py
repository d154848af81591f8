"""Metrics for a collector: those that Prometheus is shown, sent every so often."""

import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import groupby, pairwise
from operator import attrgetter

from opentelemetry.sdk.metrics.export import (
    AggregationTemporality,
    Gauge,
    Histogram,
    HistogramDataPoint,
    Metric,
    MetricExporter,
    MetricExportResult,
    MetricsData,
    NumberDataPoint,
    ResourceMetrics,
    ScopeMetrics,
    Sum,
)
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.util.instrumentation import InstrumentationScope
from prometheus_client.metrics_core import Metric as Family
from prometheus_client.registry import Collector
from prometheus_client.samples import Sample

from operations.handover import handover
from operations.telemetry.events import LoopTurned
from operations.telemetry.record import Record
from orchestration.telemetry.gen_ai import GenAi, Series
from orchestration.telemetry.sending import NotSent

_CUMULATIVE = AggregationTemporality.CUMULATIVE
_SCOPE = InstrumentationScope("masterloop")
_UNITS = {"_seconds": "s", "_bytes": "By"}
_NEVER = float("nan")  # the least and the most of a histogram, which nobody keeps


class SentMetrics:
    """A sink that sends figures, and durations, every ``interval`` seconds.

    It takes no figures from events: turns of the event loop, told once a second, are its clock. So
    nothing is lost to a collector that is away, and nothing more is kept for it.
    """

    name = "sent metrics"
    kinds = frozenset({LoopTurned})

    def __init__(
        self,
        exporter: MetricExporter,
        resource: Resource,
        figures: Collector,
        durations: GenAi,
        interval: float,
    ) -> None:
        self._exporter = exporter
        self._resource = resource
        self._figures = figures
        self._durations = durations
        self._interval = interval
        self._began = time.time_ns()
        self._due = time.monotonic() + interval

    def take(self, batch: Sequence[Record]) -> None:  # noqa: ARG002 - it is only a clock
        """Send what there is, if it is time.

        Raises:
            NotSent: the collector does not take it.
        """
        if time.monotonic() >= self._due:
            self._send()
            self._due = time.monotonic() + self._interval

    def close(self, grace: float) -> None:  # noqa: ARG002 - it takes as long as it takes, in its thread
        """Send the last figures, and let go of the connection.

        Raises:
            NotSent: the collector does not take them.
        """
        try:
            with handover:
                self._send()
        finally:
            self._exporter.shutdown()

    def _send(self) -> None:
        times = _Times(self._began, time.time_ns())
        metrics = [
            *times.metrics(self._figures.collect()),
            *times.histograms(self._durations.series()),
        ]
        scope = ScopeMetrics(_SCOPE, metrics, "")
        data = MetricsData([ResourceMetrics(self._resource, [scope], "")])
        with handover.waiting():
            result = self._exporter.export(data)
        if result is not MetricExportResult.SUCCESS:
            raise NotSent("the collector did not take the metrics")


class _Times:
    """Puts figures into the SDK's words, as counted from one time to another."""

    def __init__(self, began: int, now: int) -> None:
        self._began = began
        self._now = now

    def metrics(self, families: Iterable[Family]) -> Iterator[Metric]:
        for family in families:
            unit = next((unit for end, unit in _UNITS.items() if family.name.endswith(end)), "")
            data: Sum | Gauge | Histogram
            match family.type:
                case "counter":
                    counted = [one for one in family.samples if one.name.endswith("_total")]
                    data = Sum(self._numbers(counted), _CUMULATIVE, is_monotonic=True)
                case "histogram":
                    data = Histogram(list(self._spread(family)), _CUMULATIVE)
                case _:
                    data = Gauge(self._numbers(family.samples))
            if data.data_points:
                yield Metric(family.name, family.documentation, unit, data)

    def histograms(self, series: Iterable[Series]) -> Iterator[Metric]:
        """Put durations into words, those of one name together."""
        by_name = attrgetter("name")
        for name, ones in groupby(sorted(series, key=by_name), key=by_name):
            points = [
                self._point(one.attributes, one.counted.upto, one.counted.seconds) for one in ones
            ]
            yield Metric(name, "", "s", Histogram(points, _CUMULATIVE))

    def _numbers(self, samples: Iterable[Sample]) -> list[NumberDataPoint]:
        return [
            NumberDataPoint(one.labels, self._began, self._now, float(one.value)) for one in samples
        ]

    def _spread(self, family: Family) -> Iterator[HistogramDataPoint]:
        """Yield a point for each set of labels; its buckets come first, then its sum."""
        upto: list[tuple[float, int]] = []
        for sample in family.samples:
            if sample.name.endswith("_bucket"):
                upto.append((float(sample.labels["le"]), int(sample.value)))
            elif sample.name.endswith("_sum"):
                yield self._point(sample.labels, upto, sample.value)
                upto = []

    def _point(
        self, labels: Mapping[str, str], upto: Sequence[tuple[float, int]], total: float
    ) -> HistogramDataPoint:
        counts = [upto[0][1], *(after - before for (_, before), (_, after) in pairwise(upto))]
        bounds = [bound for bound, _ in upto[:-1]]  # the last one is infinite
        return HistogramDataPoint(
            labels, self._began, self._now, upto[-1][1], total, counts, bounds, _NEVER, _NEVER
        )
