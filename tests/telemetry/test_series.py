"""Series of our own say what those of Prometheus's client would, whatever their labels hold."""

from random import Random

from prometheus_client import CollectorRegistry, Counter, Histogram, generate_latest
from prometheus_client.parser import text_string_to_metric_families

from orchestration.telemetry.instruments import Instrument
from orchestration.telemetry.series import Family

STRANGE = ["plain", 'a "quoted" one', "back\\slash", "two\nlines", "ünï", "", '\\"\n\\n']
BOUNDS = (0.001, 0.1, 2.5, 10.0)


def read(text: str) -> set[tuple[str, frozenset[tuple[str, str]], float]]:
    """Return the samples as Prometheus reads them, but for the times at which series were made."""
    return {
        (sample.name, frozenset(sample.labels.items()), round(sample.value, 9))
        for family in text_string_to_metric_families(text)
        for sample in family.samples
        if not sample.name.endswith("_created")
    }


def test_a_counter_and_a_histogram_say_what_those_of_the_client_say() -> None:
    rng, registry = Random(1), CollectorRegistry()
    counted = Family(Instrument("x_total", "counter", "It counts.", ("b", "a")))
    spread = Family(Instrument("y_seconds", "histogram", "It measures.", ("b", "a"), BOUNDS))
    counter = Counter("x", "It counts.", ("b", "a"), registry=registry)
    histogram = Histogram(
        "y_seconds", "It measures.", ("b", "a"), buckets=BOUNDS, registry=registry
    )
    for _ in range(300):
        labels = rng.choice(STRANGE), rng.choice(STRANGE)
        value = rng.choice([0.0, *BOUNDS, rng.uniform(0, 20)])
        counted.series(labels).add(value)
        counter.labels(*labels).inc(value)
        spread.series(labels).add(value)
        histogram.labels(*labels).observe(value)
    ours = "".join([*counted.lines(), *spread.lines()])
    assert read(ours) == read(generate_latest(registry).decode())
    assert len(read(ours)) > 100


def test_what_is_forgotten_begins_anew() -> None:
    family = Family(Instrument("x_total", "counter", "It counts.", ("b", "a")))
    for labels in (("1", "1"), ("1", "2"), ("2", "1")):
        family.series(labels).add(5)
    family.forget({"b": "1"})
    family.forget({"c": "1"})
    assert len(read("".join(family.lines()))) == 1
    family.series(("1", "2")).add(1)
    assert ("x_total", frozenset({("b", "1"), ("a", "2")}), 1) in read("".join(family.lines()))
