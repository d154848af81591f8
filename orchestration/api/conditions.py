"""How the service is, as it is written down for those who ask."""

from collections.abc import Mapping
from typing import Any

from operations.health import Component
from operations.shutdown import Shutdown

# The parts of a service. It has no workers unless graphs run in processes of their own.
PARTS = ("loop", "database", "queue", "threads", "agents", "event_loop", "telemetry", "workers")


def components_document(found: Mapping[str, Component], *, details: bool) -> dict[str, Any]:
    """Return how the parts are; ``details`` are the reasons and the figures."""
    return {
        name: {
            "state": one.state,
            **({"reason": one.reason} if details and one.reason else {}),
            **({"figures": dict(one.figures)} if details and one.figures else {}),
        }
        for name, one in found.items()
    }


def shutdown_document(shutdown: Shutdown) -> dict[str, Any]:
    """Return how far the stop has come."""
    return {
        "phase": "begun" if shutdown.phase is None else shutdown.phase.name.lower(),
        "steps": [
            {"step": one.name, "result": one.result, "seconds": one.seconds, "error": one.error}
            for one in shutdown.ended
        ],
    }
