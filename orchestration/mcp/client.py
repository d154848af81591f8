"""What the client at the other end can do."""

from dataclasses import dataclass

from mcp.shared.exceptions import MCPError
from mcp_types import MISSING_REQUIRED_CLIENT_CAPABILITY

from orchestration.mcp.visit import Context

TASKS = "io.modelcontextprotocol/tasks"
NEWEST = "2026-07-28"


@dataclass(frozen=True, slots=True)
class Client:
    """Its abilities, as far as they matter here.

    ``tasks``: it takes a task for an answer. ``retries``: it asks its user what it is told to ask,
    and calls again with the answers. ``pushed``: it asks its user while a call is under way.
    """

    tasks: bool
    retries: bool
    pushed: bool
    progress: bool


def client_of(ctx: Context) -> Client:
    """Return what the sender of a message can do."""
    modern = ctx.protocol_version >= NEWEST
    able = ctx.session.client_capabilities
    elicitation = None if able is None else able.elicitation
    # To name no mode means forms, as there was nothing else at first.
    elicits = elicitation is not None and (elicitation.form is not None or elicitation.url is None)
    # Some clients declare the extension on older wires, too, where it means nothing.
    tasks = modern and able is not None and TASKS in (able.extensions or {})
    return Client(
        tasks=tasks,
        retries=modern and elicits,
        pushed=not modern and elicits and ctx.session.can_send_request,
        progress="progressToken" in ((ctx.params or {}).get("_meta") or {}),
    )


def lacks_tasks() -> MCPError:
    """Return the refusal of a client that does not know tasks where it has to."""
    return MCPError(
        MISSING_REQUIRED_CLIENT_CAPABILITY,
        "Missing required client capability",
        {"requiredCapabilities": {"extensions": {TASKS: {}}}},
    )
