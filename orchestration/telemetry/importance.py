"""Which events are more than details."""

from collections.abc import Mapping

from agents import events as agents
from operations.telemetry import events as process
from operations.telemetry.record import Importance
from orchestration.api import events as api
from orchestration.loop import events as loop

IMPORTANCE: Mapping[type, Importance] = dict.fromkeys(
    (
        loop.RunRejected,
        loop.RunStarted,
        loop.RunEnded,
        loop.RunRequeued,
        loop.RunCrashed,
        loop.ZombieLeft,
        loop.RunsRecovered,
        loop.LeaseLost,
        loop.WriteFailed,
        agents.StartMissed,
        agents.SeatLost,
        agents.PoolDegraded,
        agents.MessageDead,
    ),
    Importance.LIFECYCLE,
) | dict.fromkeys(
    (
        loop.RunAccepted,
        loop.StopRequested,
        api.Audited,
        process.ServiceStarted,
        process.ServiceStopped,
    ),
    Importance.AUDIT,
)
