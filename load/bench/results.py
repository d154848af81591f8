"""What was measured, line by line in a file that outlives the run."""

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any


@dataclass(frozen=True, slots=True, kw_only=True)
class Record:
    """One measurement: of a peer, with a workload, in one round of a session.

    ``session`` is when it began (UTC); ``facts`` are of the machine and the program; ``failed``
    says why there are no measures.
    """

    session: str
    round: int
    peer: str
    workload: str
    measures: Mapping[str, float] = field(default_factory=dict)
    errors: int = 0
    samples: Sequence[str] = field(default_factory=list)
    others: float = 0.0  # processors that others kept busy meanwhile
    versions: Mapping[str, str] = field(default_factory=dict)
    facts: Mapping[str, Any] = field(default_factory=dict)
    failed: str = ""


class Results:
    """Records of one or more sessions."""

    def __init__(self, records: Iterable[Record]) -> None:
        self.records = list(records)

    def of(self, peer: str, workload: str, session: str) -> list[Record]:
        """Return the measurements that did not fail, by round."""
        found = [record for record in self._of(peer, workload) if record.session == session]
        return sorted(found, key=lambda record: record.round)

    def latest(self, workload: str, *peers: str) -> str | None:
        """Return the newest session that measured all of these; None if there is none."""
        sessions = [{record.session for record in self._of(peer, workload)} for peer in peers]
        return max(set.intersection(*sessions), default=None)

    def newest(self) -> list[Record]:
        """Return the last record of each peer and workload."""
        last = {(record.peer, record.workload): record for record in self.records}
        return list(last.values())

    def _of(self, peer: str, workload: str) -> list[Record]:
        return [
            record
            for record in self.records
            if (record.peer, record.workload) == (peer, workload) and not record.failed
        ]


def load(file: Path) -> Results:
    """Return what a file has; nothing, if there is none."""
    lines = file.read_text().splitlines() if file.exists() else []
    return Results(Record(**json.loads(line)) for line in lines)


def append(file: Path, record: Record) -> None:
    """Write a record behind the others."""
    with file.open("a") as stream:
        stream.write(json.dumps(asdict(record)) + "\n")
