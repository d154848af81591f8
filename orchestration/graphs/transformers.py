"""The stream transformers that a graph was compiled with, at work on what goes into a log."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from langgraph.stream._convert import convert_to_protocol_event
from langgraph.stream._mux import StreamMux

Factory = Callable[[tuple[str, ...]], Any]
Tell = Callable[[str, Any], None]


class Transformers(StreamMux):
    """Shows a graph's transformers every part of its stream, which they may change or keep back.

    What they push into a channel of theirs that has a name is told by ``tell``, with that name.
    """

    def __init__(self, factories: Sequence[Factory], tell: Tell) -> None:
        self._tell = tell
        super().__init__(factories=list(factories), is_async=True)

    @property
    def modes(self) -> set[str]:
        """The stream modes that they need."""
        return {mode for each in self._transformers for mode in each.required_stream_modes}

    async def show(self, part: Any) -> tuple[Mapping[str, Any], bool]:
        """Return a part as they left it, and whether it is for others to see."""
        event = convert_to_protocol_event(part)
        await self.apush(event)
        # Only what passes all of them is numbered.
        return {**part, "data": event["params"]["data"]}, "seq" in event

    def _forward(self, method: str, item: Any) -> None:
        self._tell(method.removeprefix("custom:"), item)
