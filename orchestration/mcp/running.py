"""Runs for calls of tools: submitted as over HTTP, followed, given up with their client."""

import asyncio
import sqlite3
from collections.abc import Mapping
from dataclasses import dataclass
from http import HTTPStatus
from typing import Any, Final, Literal
from uuid import UUID

import anyio

from orchestration.api.backend import Backend
from orchestration.api.endpoint import Call
from orchestration.api.own_runs import cancel, live_run, unfinished
from orchestration.api.problems import Problem
from orchestration.api.run_models import RunCreate
from orchestration.api.submission import may_run, new_run
from orchestration.loop.errors import Draining
from orchestration.loop.run import Ending, Outcome, Run
from orchestration.loop.streams import Listener
from orchestration.mcp.client import client_of
from orchestration.mcp.progress import STREAM_MODES, Progress, outcome_of
from orchestration.mcp.views import GIVEN_UP, pending_questions
from orchestration.mcp.visit import Context, visit_of
from orchestration.store.assistants import Assistant

SOURCE: Final = "mcp"  # where the metadata and metrics of a run say that it came from


@dataclass(frozen=True, slots=True)
class Begun:
    """A run that was submitted, and where its progress is heard, if anybody wants to."""

    run: Run
    listener: Listener | None = None


class Overtaken(Problem):
    """A thread does not wait for the answers any more. No run goes on with them."""

    def __init__(self, thread_id: str) -> None:
        super().__init__(
            HTTPStatus.CONFLICT, f"thread {thread_id} does not wait for these answers any more"
        )


class Runs:
    """Submits runs of assistants, each on a thread of its own, and waits for them."""

    def __init__(self, backend: Backend, on_disconnect: Literal["cancel", "continue"]) -> None:
        self._backend = backend
        self._on_disconnect = on_disconnect

    async def start(self, call: Call, assistant: Assistant, given: Any, *, seen: bool) -> Begun:
        """Submit a run; ``seen`` says that its progress is going to be told.

        Raises:
            LoopError, StorageUnavailable, Problem: nothing was taken.
        """
        return await self._submit(call, assistant.assistant_id, None, seen=seen, input=given)

    async def resume(
        self,
        call: Call,
        assistant_id: str,
        thread_id: str,
        answers: Mapping[str, Any],
        *,
        seen: bool,
    ) -> Begun:
        """Submit the run that goes on with the answers to what a thread waits for.

        Raises:
            Overtaken: it waits for something else by now, or a run goes on with it.
            LoopError, StorageUnavailable, Problem: nothing was taken.
        """
        return await self._submit(
            call,
            assistant_id,
            thread_id,
            seen=seen,
            command={"resume": dict(answers)},
            strict_resume=True,  # or what is asked next may be given the answer
        )

    def working(self, thread_id: str) -> Run | None:
        """Return the run that goes on with a thread, or is about to."""
        runs = self._backend.loop.on_thread(thread_id)
        return next((run for run in runs if not run.delayed), None)

    async def outcome(
        self, ctx: Context, begun: Begun, within: float | None = None
    ) -> Outcome | None:
        """Return how a run ended, None if it has not ``within`` so many seconds.

        A client that goes away meanwhile, or cancels its call, cancels the run, unless the
        service is configured to let it go on.

        Raises:
            LoopError, StorageUnavailable: it will not be heard how it ends.
        """
        run, listener = begun.run, begun.listener
        with visit_of(ctx).leaving(lambda: self._give_up(run)):
            try:
                if listener is not None and within is None:
                    await Progress(ctx).follow(run, listener)
                return await outcome_of(run, within)
            except BaseException:
                self._give_up(run)
                raise
            finally:
                if listener is not None:
                    run.stream.leave(listener)

    async def watch(self, ctx: Context, begun: Begun, within: float | None) -> None:
        """Wait for a run to end, whoever began it; ``within`` so many seconds.

        Raises:
            LoopError, StorageUnavailable: it will not be heard how it ends.
        """
        run = begun.run
        listener = begun.listener
        if listener is None and client_of(ctx).progress:
            listener = run.stream.listen()
        try:
            with anyio.move_on_after(within):
                if listener is not None:
                    await Progress(ctx).follow(run, listener)
                await outcome_of(run)
        finally:
            if listener is not None:
                run.stream.leave(listener)

    async def hand_over(self, ctx: Context, run: Run) -> None:
        """Have a run durable that its client is told of, and then waits for no more.

        Who goes away meanwhile never hears of it: as while it waited.

        Raises:
            StorageUnavailable: it could not be made so.
        """
        with visit_of(ctx).leaving(lambda: self._give_up(run)):
            try:
                await self.announce(run)
            except asyncio.CancelledError:
                self._give_up(run)
                raise

    async def announce(self, run: Run) -> None:
        """Have ``run`` so durable that a client may be told of it.

        Raises:
            StorageUnavailable: it could not be made so.
        """
        if not run.announced:
            await self._backend.runs.announce(run)

    async def cancel(self, call: Call, row: sqlite3.Row) -> Run | None:
        """Have a run stop, and return it; None if it has ended.

        Raises:
            Draining: it need not: it goes on after the next start, as the service is stopping.
        """
        run = live_run(call, row["run_id"])
        if run is not None:
            await cancel(call, run, Ending.INTERRUPT)
        elif unfinished(row):
            raise Draining
        return run

    async def abandon(self, call: Call, thread_id: str) -> None:
        """Have nobody answer what a thread asks.

        Raises:
            Problem: the caller may not.
            StorageUnavailable: nothing was changed.
        """
        thread = self._backend.threads.get(thread_id)
        since = None if thread is None else thread["state_updated_at"]
        granted = await call.may("threads", "update", {"thread_id": UUID(thread_id)})
        await self._backend.threads.patch(thread_id, {GIVEN_UP: since}, granted.visible)

    def _give_up(self, run: Run) -> None:
        loop = self._backend.loop
        if self._on_disconnect == "cancel" and loop.live(run.run_id) is run:
            loop.cancel(run, Ending.INTERRUPT)

    async def _submit(
        self, call: Call, assistant_id: str, thread_id: str | None, *, seen: bool, **given: Any
    ) -> Begun:
        body = RunCreate(
            assistant_id=assistant_id,
            on_completion="keep",
            stream_mode=STREAM_MODES if seen else ["values"],
            metadata={"source": SOURCE},
            **given,
        )
        granted, body = await may_run(call, body, thread_id)
        run = await new_run(granted, body, thread_id)
        # Nothing comes between this look and the submission.
        if thread_id is not None and not self._waits_for(thread_id, given["command"]["resume"]):
            raise Overtaken(thread_id)
        run.source = SOURCE
        run.announced = False  # a client is told of the run when it has ended, or by `announce`
        listener = run.stream.listen() if seen else None
        try:
            await self._backend.loop.submit(run)
        except asyncio.CancelledError:  # the client went while the run was being accepted
            self._give_up(run)
            raise
        return Begun(run, listener)

    def _waits_for(self, thread_id: str, answers: Mapping[str, Any]) -> bool:
        asked = {one.key for one in pending_questions(self._backend, thread_id)}
        return self.working(thread_id) is None and answers.keys() <= asked
