"""What the table shows, and what is wanted of Masterloop."""

from dataclasses import dataclass

OURS = "masterloop"
WORKERS = "masterloop-workers-2"


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """A figure of a workload; ``digits`` are those shown after the point."""

    workload: str
    what: str
    measure: str
    unit: str
    digits: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Goal(Row):
    """A figure of ours and its bound: of the ratio to ``against``, or of itself without one.

    ``against`` is a peer, ``basis`` the measure to divide by where it is another one; ``label`` is
    its name in a chart. ``set_beside`` is what the peer took where a bound of time was set: the
    bound is then as many times what the peer takes here, on a slower machine or a faster one.
    """

    against: str = ""
    basis: str = ""
    at_least: float | None = None
    at_most: float | None = None
    set_beside: float | None = None
    peer: str = OURS
    label: str

    @property
    def wanted(self) -> str:
        """How the bound reads."""
        if self.set_beside is not None:
            given = f"{self.at_most:g} {self.unit} beside {self.set_beside:g}"
            return f"at most {given}, so {self.most:.1f} times"
        unit = "" if self.against else f" {self.unit}"
        if self.at_least is not None:
            return f"at least {self.at_least:g}{unit}"
        if self.at_most is not None:
            return f"at most {self.at_most:g}{unit}"
        return ""

    @property
    def most(self) -> float | None:
        """The upper bound of the ratio, or of the value where there is none."""
        if self.at_most is None or self.set_beside is None:
            return self.at_most
        return self.at_most / self.set_beside

    def holds(self, value: float) -> bool | None:
        """Whether a ratio, or a value where there is none, is within the bound; None without."""
        if self.at_least is not None:
            return value >= self.at_least
        if self.most is not None:
            return value <= self.most
        return None


AT_ONCE = (1, 10, 50, 200)
GOALS = (
    *(
        Goal(
            workload="W1",
            what=f"run, waited for, {at_once} at once",
            label=f"W1, {at_once} at once",
            measure=f"{at_once} at once, runs/s",
            unit="runs/s",
            against="limit",
            at_least=0.75,
        )
        for at_once in AT_ONCE
    ),
    Goal(
        workload="W1",
        what="run, waited for, 1 at once: p50",
        label="W1, 1 at once, p50",
        measure="1 at once, p50 ms",
        unit="ms",
        digits=2,
        against="limit",
        at_most=1.6,
    ),
    *(
        Goal(
            workload="W2",
            what="burst of 2,000 on fresh threads, to the end of the last",
            label=f"W2, beside {against}",
            measure="runs/s",
            unit="runs/s",
            against=against,
            at_least=at_least,
        )
        for against, at_least in (("limit-sqlite", 0.6), ("langgraph-dev", 4), ("aegra", 12))
    ),
    *(
        Goal(
            workload=workload,
            what=f"500 sleeps of 1 s, {how}: p95 beyond the second",
            label=f"{workload}, sleeps {how}",
            measure="over p95 ms",
            unit="ms",
            against="limit",
            at_most=1.3,
        )
        for workload, how in (("W3", "all at once"), ("W3s", "staggered"))
    ),
    Goal(
        workload="W4",
        what="stream, 1 at once: p50 to the first event",
        label="W4, first event at rest",
        measure="1 at once, first event p50 ms",
        unit="ms",
        digits=2,
        against="limit",
        at_most=1,
        set_beside=0.14,
    ),
    Goal(
        workload="W4",
        what="stream, 50 at once: p50 to the first event",
        label="W4, first event, 50 at once",
        measure="50 at once, first event p50 ms",
        unit="ms",
        digits=1,
        against="limit",
        at_most=2,
    ),
    Goal(
        workload="W5",
        what="cancel: p95 until the run has ended",
        label="W5, cancel, p95",
        measure="ended p95 ms",
        unit="ms",
        digits=1,
        against="limit",
        at_most=3,
        set_beside=1.6,
    ),
    *(
        Goal(
            workload="W6",
            what=f"memory, from 200 to 10,000 runs {kind}",
            label=f"W6, memory {kind}",
            measure=f"{kind}, MB more",
            unit="MB",
            digits=1,
            at_most=10,
        )
        for kind in ("stateless", "on threads")
    ),
    *(
        Goal(
            workload="W6",
            what=f"memory, slope from 2,000 to 10,000 runs {kind}",
            label=f"W6, slope {kind}",
            measure=f"{kind}, bytes/run at the end",
            unit="bytes/run",
        )
        for kind in ("stateless", "on threads")
    ),
    Goal(
        workload="W7",
        what="start of the process to the first finished run",
        label="W7, cold start",
        measure="first run after s",
        unit="s",
        digits=2,
        against="limit",
        at_most=1,
        set_beside=0.46,
    ),
    Goal(
        workload="W8",
        what="kill -9 with 100 in flight: finished after the restart",
        label="W8, finished",
        measure="finished %",
        unit="%",
        at_least=100,
    ),
    Goal(
        workload="W8",
        what="kill -9: finished twice",
        label="W8, finished twice",
        measure="finished twice",
        unit="runs",
        at_most=0,
    ),
    Goal(
        workload="W8",
        what="kill -9: recovery begins after",
        label="W8, recovery",
        measure="recovery begins after s",
        unit="s",
        digits=2,
        at_most=2,
    ),
    Goal(
        workload="checkpoints",
        what="five steps with checkpoints, 50 at once; of LangGraph's saver in memory",
        label="checkpoints",
        measure="ours, runs/s",
        unit="runs/s",
        against=OURS,
        basis="memory, runs/s",
        at_least=0.6,
    ),
    Goal(
        workload="checkpoints",
        what="the same with the library's saver for SQLite",
        label="checkpoints, library",
        measure="library, runs/s",
        unit="runs/s",
        against=OURS,
        basis="memory, runs/s",
    ),
    *(
        goal
        for peer, name in ((WORKERS, "two workers"), (OURS, "one process"))
        for goal in (
            Goal(
                workload="blocking",
                what=f"beside a graph that blocks, {name}: `/livez` p99",
                label=f"blocking, /livez, {name}",
                measure="beside, /livez p99 ms",
                unit="ms",
                digits=1,
                at_most=20 if peer == WORKERS else None,
                peer=peer,
            ),
            Goal(
                workload="blocking",
                what=f"beside a graph that blocks, {name}: light runs' p95, of that without it",
                label=f"blocking, light runs, {name}",
                measure="beside, light run p95 ms",
                unit="ms",
                digits=1,
                against=peer,
                basis="alone, light run p95 ms",
                at_most=2 if peer == WORKERS else None,
                peer=peer,
            ),
        )
    ),
)
FIGURES = (
    *(
        Row(
            workload="W1",
            what=f"run, waited for, {at_once} at once",
            measure=f"{at_once} at once, runs/s",
            unit="runs/s",
        )
        for at_once in AT_ONCE
    ),
    Row(workload="W1", what="1 at once, p50", measure="1 at once, p50 ms", unit="ms", digits=2),
    Row(
        workload="W1",
        what="10 at once, server's processor time",
        measure="10 at once, processor ms/run",
        unit="ms/run",
        digits=2,
    ),
    Row(
        workload="W2", what="burst on fresh threads, accepted", measure="accepted/s", unit="runs/s"
    ),
    Row(workload="W2", what="burst on fresh threads, ended", measure="runs/s", unit="runs/s"),
    Row(workload="W3", what="500 sleeps at once, over, p95", measure="over p95 ms", unit="ms"),
    Row(workload="W3s", what="500 sleeps staggered, over, p95", measure="over p95 ms", unit="ms"),
    Row(workload="W3s", what="500 sleeps staggered", measure="runs/s", unit="runs/s"),
    *(
        Row(
            workload="W4",
            what=f"stream, {at_once} at once, first event p50",
            measure=f"{at_once} at once, first event p50 ms",
            unit="ms",
            digits=2,
        )
        for at_once in (1, 50)
    ),
    Row(workload="W4", what="50 at once", measure="50 at once, streams/s", unit="streams/s"),
    Row(workload="W5", what="cancel to the end, p95", measure="ended p95 ms", unit="ms", digits=1),
    Row(workload="W6", what="memory, runs on threads", measure="on threads, MB more", unit="MB"),
    Row(workload="W7", what="first run", measure="first run after s", unit="s", digits=2),
    Row(workload="W7", what="memory then", measure="MB", unit="MB"),
    Row(workload="W8", what="kill -9: finished after all", measure="finished %", unit="%"),
    Row(
        workload="W8",
        what="kill -9: recovered after",
        measure="recovered after s",
        unit="s",
        digits=1,
    ),
)
