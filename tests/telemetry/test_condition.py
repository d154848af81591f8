"""How telemetry is, as the health of the service has it."""

from collections import Counter

from operations.health import State
from operations.telemetry.lane import LaneState
from operations.telemetry.record import Importance
from orchestration.conditions import LATE, telemetry_condition


def lane(name: str, oldest_at: float | None) -> LaneState:
    return LaneState(
        name=name,
        waiting=0 if oldest_at is None else 7,
        dropped=Counter({Importance.DETAIL: 2, Importance.AUDIT: 1}),
        failures=4,
        delivered_at=None,
        oldest_at=oldest_at,
        busy=0.0,
    )


def test_sinks_that_do_not_take_what_was_told_are_named() -> None:
    sinks = [lane("traces", 100.0), lane("log", 101.0), lane("metrics", None)]
    found = telemetry_condition(sinks, failing=False, now=100.5 + LATE)
    assert (found.state, found.reason) == (State.DEGRADED, "not taken for more than 30 s: traces")
    assert found.figures["traces"] == {"waiting": 7, "dropped": 3, "failures": 4}
    assert telemetry_condition(sinks, failing=False, now=100.0).state is State.OK


def test_an_audit_trail_that_cannot_be_written_comes_first() -> None:
    found = telemetry_condition([lane("traces", 0.0)], failing=True, now=100.0)
    assert found.state is State.DEGRADED
    assert "the disk does not take the audit trail" in str(found.reason)
