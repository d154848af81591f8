"""Made-up measurements."""

from typing import Any

from load.bench.results import Record

FACTS = {
    "processor": "a processor",
    "processors": 2,
    "system": "Linux 6.1",
    "python": "3.11",
    "sqlite": "3.40",
    "priority": "usual",
    "commit": "abc",
    "command": "make bench",
}


def record(peer: str, workload: str, measures: dict[str, float], **rest: Any) -> Record:
    given = {"session": "2026-11-28 09:00:00", "round": 0, "facts": FACTS, **rest}
    return Record(peer=peer, workload=workload, measures=measures, **given)


def waits(peer: str, *rates: float, session: str = "2026-11-28 09:00:00") -> list[Record]:
    return [
        record(peer, "W1", {"10 at once, runs/s": rate}, round=number, session=session)
        for number, rate in enumerate(rates)
    ]
