"""Made-up events of each importance, and an aggregator that is told of them."""

from collections.abc import Mapping
from dataclasses import dataclass
from random import Random
from typing import Any

from operations.telemetry.aggregator import Aggregator
from operations.telemetry.record import Importance, Sink


@dataclass(frozen=True, slots=True)
class Detail:
    number: int


@dataclass(frozen=True, slots=True)
class Life:
    number: int


@dataclass(frozen=True, slots=True)
class Deed:
    number: int


IMPORTANCE: Mapping[type, Importance] = {Life: Importance.LIFECYCLE, Deed: Importance.AUDIT}


def aggregator(*sinks: Sink, **given: Any) -> Aggregator:
    given.setdefault("cadence", 0.01)
    return Aggregator(
        sinks, importance=IMPORTANCE, common={"service.name": "test"}, rng=Random(1), **given
    )
