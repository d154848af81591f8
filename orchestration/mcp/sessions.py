"""The sessions of the older wires: so many, of which no caller takes those of all others."""

from collections.abc import Callable
from typing import Any

from mcp.server.auth.middleware.bearer_auth import AuthorizationContext
from mcp.server.lowlevel import Server
from mcp.server.streamable_http import StreamableHTTPServerTransport
from mcp.server.streamable_http_manager import StreamableHTTPSessionManager

from orchestration.mcp.shares import has_share


class Sessions(StreamableHTTPSessionManager):
    """Refuses a session to who has their share, as it does where there is no room at all.

    Where nobody is asked who they are, there is nobody's share. ``ended`` is told of each that
    ends, by its id; maybe twice.
    """

    def __init__(self, server: Server[Any], ended: Callable[[str], None], **options: Any) -> None:
        super().__init__(server, **options)
        self._ended = ended

    def _admit_session(
        self, requestor: AuthorizationContext | None
    ) -> StreamableHTTPServerTransport | None:
        if requestor is not None and self.max_sessions is not None:
            own = sum(owner == requestor for owner in self._session_owners.values())
            if has_share(own, len(self._server_instances), self.max_sessions):
                return None
        return super()._admit_session(requestor)

    async def _discard_session(
        self, session_id: str, transport: StreamableHTTPServerTransport
    ) -> None:
        self._ended(session_id)
        await super()._discard_session(session_id, transport)
