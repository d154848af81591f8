"""How often something happened in the last minute, hour and day, and how long it took.

Nothing is computed again: what happened is counted in a bucket of ten seconds; one that is over is
added to that of its five minutes, and that to the one of its hour.
"""

from base64 import b64decode, b64encode
from bisect import bisect_left
from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, cast

from ddsketch import DDSketch
from ddsketch.ddsketch import BaseDDSketch
from ddsketch.mapping import LogarithmicMapping
from ddsketch.pb import ddsketch_pb2
from ddsketch.pb.proto import DDSketchProto

ACCURACY = 0.02  # relative error of a percentile
_LEAST, _MOST = 1e-4, 1e6  # seconds that are told apart; so a bucket has 600 numbers at most
STRETCH = 10  # seconds of the finest bucket
# Of each window its name, the seconds of a bucket, and how many buckets.
_LEVELS = (("1m", STRETCH, 6), ("1h", 300, 12), ("1d", 3_600, 24))
_PROTO = cast("Any", DDSketchProto)  # it has no types
_QUANTILES = (("p50", 0.5), ("p95", 0.95), ("p99", 0.99))
_BINS: Any = LogarithmicMapping(ACCURACY)  # as each sketch has it
_FIRST, _LAST = _BINS.key(_LEAST), _BINS.key(_MOST)
# Where each bin ends: to look there takes a quarter of computing a logarithm, of each run.
_ENDS: Sequence[float] = [_BINS.gamma**key for key in range(_FIRST, _LAST)]


def bin_of(took: float) -> int:
    """Return the number of the bin of a duration in seconds: what is in one is not told apart."""
    return bisect_left(_ENDS, took)


def middle_of(number: int) -> float:
    """Return the duration that stands for those of a bin, in seconds."""
    return cast("float", _BINS.value(_FIRST + number))


@dataclass(slots=True)
class Bucket:
    """What happened in one stretch of time."""

    number: int
    count: int = 0
    success: int = 0
    took: BaseDDSketch = field(default_factory=lambda: DDSketch(ACCURACY))

    def add(self, took: float, *, success: bool, times: int) -> None:
        """Count ``times`` of the same."""
        self.count += times
        self.success += success * times
        self.took.add(min(max(took, _LEAST), _MOST), times)

    def merge(self, other: "Bucket") -> None:
        """Add what happened in another one."""
        if other.count:
            self.count += other.count
            self.success += other.success
            self.took.merge(other.took)

    def summary(self) -> dict[str, Any]:
        """Return the figures; a percentile is None if there was nothing."""
        return {
            "count": self.count,
            "success": self.success,
            **{name: _rounded(self.took.get_quantile_value(at)) for name, at in _QUANTILES},
        }


class _Level:
    """The buckets of one window: those that are over, and the one that is being filled."""

    def __init__(self, seconds: int, buckets: int) -> None:
        self.seconds = seconds
        self.over: deque[Bucket] = deque(maxlen=buckets)
        self.open = Bucket(0)

    def turn(self, at: float) -> list[Bucket]:
        """Begin the bucket of ``at`` if it has not begun; return the one that is over then."""
        number = int(at // self.seconds)
        if number <= self.open.number:
            if number < self.open.number:  # the clock was set back: all of it is over by now
                for bucket in (*self.over, self.open):
                    bucket.number = min(bucket.number, number)
            return []
        over, self.open = self.open, Bucket(number)
        if not over.count:
            return []
        self.over.append(over)
        return [over]

    def within(self, at: float) -> Iterator[Bucket]:
        """Yield the buckets of the window that ends at ``at`` but for the open one.

        The first begins before the window, by less than its own length.
        """
        first = int(at // self.seconds) - (self.over.maxlen or 0)
        return (bucket for bucket in self.over if bucket.number >= first)


class Rolling:
    """The figures of three windows. Not for several threads at a time."""

    def __init__(self) -> None:
        self._levels = [_Level(seconds, buckets) for _, seconds, buckets in _LEVELS]

    def add(self, at: float, took: float, *, success: bool, times: int = 1) -> None:
        """Count what ended ``at``, in seconds since 1970, so many ``times`` after so many seconds.

        What ended within the same ``STRETCH`` may be counted at once.
        """
        finest = self._levels[0]
        if int(at // finest.seconds) != finest.open.number:  # no other turns without it
            self._turn(at)
        finest.open.add(took, success=success, times=times)

    def summary(self, now: float) -> dict[str, dict[str, Any]]:
        """Return the figures of each window that ends now."""
        self._turn(now)
        found: dict[str, dict[str, Any]] = {}
        still_open = Bucket(0)
        for (name, _, _), level in zip(_LEVELS, self._levels, strict=True):
            still_open.merge(level.open)  # those of the finer levels are not in this one yet
            total = Bucket(0)
            for bucket in (*level.within(now), still_open):
                total.merge(bucket)
            found[name] = total.summary()
        return found

    def dump(self) -> list[Any]:
        """Return all of it as JSON has it."""
        return [
            [_dump(level.open), [_dump(bucket) for bucket in level.over]] for level in self._levels
        ]

    @classmethod
    def load(cls, dumped: Sequence[Any]) -> "Rolling":
        """Return what was dumped.

        Raises:
            ValueError, KeyError, TypeError: it is not such a dump.
        """
        rolling = cls()
        for level, (still_open, over) in zip(rolling._levels, dumped, strict=True):
            level.open = _load(still_open)
            level.over.extend(_load(one) for one in over)
        return rolling

    def _turn(self, at: float) -> None:
        over: list[Bucket] = []
        finer = 0  # seconds
        for level in self._levels:
            fed, over = over, []
            for bucket in fed:  # belongs to the bucket of its own time, not to that of now
                over += level.turn(bucket.number * finer)
                level.open.merge(bucket)
            over += level.turn(at)
            finer = level.seconds


def _dump(bucket: Bucket) -> Mapping[str, Any]:
    sketch = _PROTO.to_proto(bucket.took).SerializeToString()
    return {
        "number": bucket.number,
        "count": bucket.count,
        "success": bucket.success,
        "took": b64encode(sketch).decode(),
    }


def _load(dumped: Mapping[str, Any]) -> Bucket:
    sketch: Any = cast("Any", ddsketch_pb2).DDSketch()
    sketch.ParseFromString(b64decode(dumped["took"]))
    bucket = Bucket(int(dumped["number"]), int(dumped["count"]), int(dumped["success"]))
    if bucket.count:
        bucket.took.merge(_PROTO.from_proto(sketch))
    return bucket


def _rounded(value: float | None) -> float | None:
    return None if value is None else round(value, 6)
