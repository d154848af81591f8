"""The W3C trace context of a run: taken from who asked for it, handed to who works for it.

Its ids follow from the run, so that whoever needs them can know them: nobody has to keep them.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from hashlib import blake2b
from typing import Self

LONG_AGO = 60.0  # seconds of waiting after which a run is only linked to who asked for it
_STATE_LIMIT = 512  # characters of a tracestate
_FORM = re.compile(r"([0-9a-f]{2})-([0-9a-f]{32})-([0-9a-f]{16})-([0-9a-f]{2})(-.*)?")


@dataclass(frozen=True, slots=True)
class Span:
    """One span of a trace, as others refer to it."""

    trace_id: int
    span_id: int
    sampled: bool = True
    state: str = ""

    @classmethod
    def parse(cls, trace: Mapping[str, str] | None) -> Self | None:
        """Return the span that a ``traceparent`` names; None if it names none."""
        found = _FORM.fullmatch((trace or {}).get("traceparent", ""))
        if found is None or found[1] == "ff" or (found[1] == "00" and found[5]):
            return None
        trace_id, span_id = int(found[2], 16), int(found[3], 16)
        if not trace_id or not span_id:
            return None
        state = (trace or {}).get("tracestate", "")
        if not (state.isascii() and state.isprintable()):
            state = ""  # it could not be handed on in a header
        return cls(trace_id, span_id, bool(int(found[4], 16) & 1), state[:_STATE_LIMIT])

    def part(self, name: str) -> "Span":
        """Return a span within this one, whose id follows from ``name``."""
        return replace(self, span_id=digest(f"{self.span_id}/{name}"))

    def named(self) -> dict[str, str]:
        """Return how the log names it."""
        return {"trace_id": f"{self.trace_id:032x}", "span_id": f"{self.span_id:016x}"}

    def headers(self) -> dict[str, str]:
        """Return how it is handed on."""
        flags = "01" if self.sampled else "00"
        headers = {"traceparent": f"00-{self.trace_id:032x}-{self.span_id:016x}-{flags}"}
        return {**headers, "tracestate": self.state} if self.state else headers


def trace_of(headers: Mapping[bytes, bytes]) -> dict[str, dict[str, str]]:
    """Return the context of a request as ``trace``, to be kept; nothing if it has none."""
    given = headers.get(b"traceparent")
    if given is None:
        return {}
    trace = {"traceparent": given.decode("latin-1")}
    if state := headers.get(b"tracestate"):
        trace["tracestate"] = state.decode("latin-1")
    span = Span.parse(trace)
    return {} if span is None else {"trace": span.headers()}


def span_of_run(
    run_id: str, attempt: int, waited: float, trace: Mapping[str, str] | None
) -> tuple[Span, Span | None, Span | None]:
    """Return the span of an attempt at a run, its parent, and what it is linked to instead.

    It goes on with the trace of who asked for it, unless that is long ago or was tried before.
    """
    ids = _ids(run_id, attempt).digest()
    span_id = int.from_bytes(ids[:8]) or 1
    asked = Span.parse(trace) if trace else None
    if asked is not None and attempt == 1 and waited <= LONG_AGO:
        return Span(asked.trace_id, span_id, asked.sampled, asked.state), asked, None
    trace_id = int.from_bytes(ids[8:]) or 1
    return Span(trace_id, span_id, asked is None or asked.sampled), None, asked


def named_span_of_run(
    run_id: str, attempt: int, waited: float, trace: Mapping[str, str] | None
) -> dict[str, str]:
    """Return how the log names the span of an attempt at a run."""
    if trace:
        return span_of_run(run_id, attempt, waited, trace)[0].named()
    ids = _ids(run_id, attempt).hexdigest()  # a third of the time: there is a line of every run
    return {"trace_id": ids[16:], "span_id": ids[:16]}


def _ids(run_id: str, attempt: int) -> blake2b:
    """Return the hash that has an attempt's ids: eight bytes for its span, then its trace's."""
    return blake2b(f"{run_id}/{attempt}".encode(), digest_size=24)


def digest(text: str) -> int:
    """Return the id of a span that follows from ``text``; never zero."""
    return int.from_bytes(blake2b(text.encode(), digest_size=8).digest()) or 1
