"""Which events are more than details."""

from collections.abc import Mapping

from agents import events as agents
from operations.telemetry.record import Importance
from orchestration.loop import events as loop

IMPORTANCE: Mapping[type, Importance] = dict.fromkeys(
    (
        loop.RunAccepted,
        loop.RunRejected,
        loop.RunStarted,
        loop.RunEnded,
        loop.RunRequeued,
        loop.StopRequested,
        loop.ZombieLeft,
        loop.WriteFailed,
        agents.StartMissed,
        agents.SeatLost,
        agents.PoolDegraded,
        agents.MessageDead,
    ),
    Importance.LIFECYCLE,
)
