"""What changes, told to clients: lists of tools, prompts and resources, and runs that end."""

import asyncio
from collections import OrderedDict
from collections.abc import Callable, Coroutine
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any
from uuid import UUID

import anyio
import mcp_types as wire
from mcp.server.session import ServerSession
from mcp.server.subscriptions import (
    InMemorySubscriptionBus,
    ListenHandler,
    PromptsListChanged,
    ResourcesListChanged,
    ResourceUpdated,
    ServerEvent,
    ToolsListChanged,
)
from mcp.shared.exceptions import MCPError
from mcp_types import INVALID_PARAMS

from orchestration.api.endpoint import Call
from orchestration.api.own_runs import live_run
from orchestration.api.problems import Problem
from orchestration.loop.run import Outcome, Run
from orchestration.mcp.shares import Shares
from orchestration.mcp.visit import Context, visit_of

_SESSIONS = 1_000  # that are told, the most recent ones
_PATIENCE = 10.0  # seconds in which a session takes what it is told, or it is told no more
_STREAMS = 1_024  # of the newest wire, at once
_RESOURCES = 1_000  # that one stream tells of: for each, somebody is asked whose it is
_RUN = "run://"
_GONE = (anyio.ClosedResourceError, anyio.BrokenResourceError, MCPError)


class Changes:
    """Tells clients of both wires of changes; those who have gone are forgotten."""

    def __init__(self) -> None:
        self._bus = InMemorySubscriptionBus()
        self._listening = ListenHandler(self._bus, max_subscriptions=_STREAMS)
        self._streams = Shares(_STREAMS)
        self._sessions: OrderedDict[str, ServerSession] = OrderedDict()
        self._subscribed: dict[str, dict[_Told, asyncio.Future[Outcome]]] = {}
        self._telling: set[asyncio.Task[None]] = set()
        self._changed = self._going_round = False

    async def listen(
        self, ctx: Context, params: wire.SubscriptionsListenRequestParams
    ) -> wire.SubscriptionsListenResult:
        """Answer ``subscriptions/listen``, of the newest wire.

        Raises:
            MCPError: it is to tell of too many resources, or the caller has too many streams.
        """
        call = visit_of(ctx).call
        with self._streams.counted(call):
            return await self._listen(ctx, call, params)

    async def _listen(
        self, ctx: Context, call: Call, params: wire.SubscriptionsListenRequestParams
    ) -> wire.SubscriptionsListenResult:
        asked = dict.fromkeys(params.notifications.resource_subscriptions or ())
        if len(asked) > _RESOURCES:
            reason = f"a stream tells of {_RESOURCES:,} resources at most, not of {len(asked):,}"
            raise MCPError(INVALID_PARAMS, reason)
        runs = {uri: run for uri in asked if (run := await _run_at(call, uri)) is not None}
        for uri, run in runs.items():
            if run.done is not None:
                ended = _Ended(ResourceUpdated(uri), self._tell)
                run.done.remove_done_callback(ended)  # all who listen are told by one
                run.done.add_done_callback(ended)
        # What is told of a run, all are told who listen to its URI.
        own = params.notifications.model_copy(update={"resource_subscriptions": list(runs)})
        return await self._listening(ctx, params.model_copy(update={"notifications": own}))

    async def initialized(self, ctx: Context, params: wire.NotificationParams | None) -> None:
        """Remember a session of an older wire."""
        del params
        key = visit_of(ctx).call.header(b"mcp-session-id")
        if key is not None:
            self._sessions[key] = ctx.session
            if len(self._sessions) > _SESSIONS:
                self._sessions.popitem(last=False)

    async def subscribe(
        self, ctx: Context, params: wire.SubscribeRequestParams
    ) -> wire.EmptyResult:
        """Answer ``resources/subscribe``: tell the session when a run ends."""
        ended = self._subscription(ctx, str(params.uri))
        run = await _run_at(visit_of(ctx).call, ended.uri)
        if ended.key is not None and run is not None and run.done is not None:
            self._unsubscribe(ended)  # who asks twice is told once
            self._subscribed.setdefault(ended.key, {})[ended] = run.done
            run.done.add_done_callback(ended)
        return wire.EmptyResult()

    async def unsubscribe(
        self, ctx: Context, params: wire.UnsubscribeRequestParams
    ) -> wire.EmptyResult:
        """Answer ``resources/unsubscribe``."""
        self._unsubscribe(self._subscription(ctx, str(params.uri)))
        return wire.EmptyResult()

    def forget(self, key: str) -> None:
        """Keep nothing of a session that has ended."""
        self._sessions.pop(key, None)
        for ended in tuple(self._subscribed.get(key, ())):
            self._unsubscribe(ended)

    def _subscription(self, ctx: Context, uri: str) -> "_Told":
        """Return what tells the session of the end of the run at ``uri``."""
        key = visit_of(ctx).call.header(b"mcp-session-id")
        return _Told(key, uri, ctx.session, self._told_of)

    def _told_of(self, ended: "_Told") -> None:
        self._unsubscribe(ended)
        self._spawn(ended.session.send_resource_updated(ended.uri))

    def _unsubscribe(self, ended: "_Told") -> None:
        of_session = self._subscribed.get(ended.key or "", {})
        done = of_session.pop(ended, None)
        if done is not None:
            done.remove_done_callback(ended)
            if not of_session:
                self._subscribed.pop(ended.key or "")

    def assistants_changed(self) -> None:
        """Tell everybody that there are other tools, prompts and graphs.

        One after the other: of what changes meanwhile all are told in one more round.
        """
        self._changed = True
        if not self._going_round:
            self._going_round = True
            self._spawn(self._go_round())

    def close(self) -> None:
        """End all streams of those who listen."""
        self._listening.close()
        for task in self._telling:
            task.cancel()

    def _tell(self, event: ServerEvent) -> None:
        self._spawn(self._bus.publish(event))

    async def _go_round(self) -> None:
        try:
            while self._changed:
                self._changed = False
                for event in (ToolsListChanged(), PromptsListChanged(), ResourcesListChanged()):
                    await self._bus.publish(event)
                for key, session in tuple(self._sessions.items()):
                    if not await _told(session):
                        self._sessions.pop(key, None)
        finally:
            self._going_round = False

    def _spawn(self, work: Coroutine[Any, Any, None]) -> None:
        async def told() -> None:
            with suppress(*_GONE):
                await work

        task = asyncio.create_task(told())
        self._telling.add(task)
        task.add_done_callback(self._telling.discard)


async def _told(session: ServerSession) -> bool:
    """Return whether a session was told that all lists have changed."""
    with anyio.move_on_after(_PATIENCE), suppress(*_GONE):
        await session.send_tool_list_changed()
        await session.send_prompt_list_changed()
        await session.send_resource_list_changed()
        return True
    return False


@dataclass(frozen=True, slots=True)
class _Ended:
    """Tells those who listen of the end of a run; equal to others for the same run."""

    event: ResourceUpdated
    tell: Callable[[ServerEvent], None] = field(compare=False)

    def __call__(self, _: object) -> None:
        self.tell(self.event)


@dataclass(frozen=True, slots=True)
class _Told:
    """Tells a session of the end of a run; equal to others for the same session and run."""

    key: str | None
    uri: str
    session: ServerSession = field(compare=False)
    tell: Callable[["_Told"], None] = field(compare=False)

    def __call__(self, _: object) -> None:
        self.tell(self)


async def _run_at(call: Call, uri: str) -> Run | None:
    """Return the run that a URI names, if it goes on and is the caller's.

    Its id is in lower or in upper case: each spelling is kept until the run ends.
    """
    text = uri.removeprefix(_RUN)
    try:
        run_id = UUID(text)
        if text == uri or text not in (str(run_id), str(run_id).upper()):
            return None
        granted = await call.may("threads", "read", {"run_id": run_id})
    except (ValueError, Problem):
        return None
    return live_run(granted, str(run_id))
