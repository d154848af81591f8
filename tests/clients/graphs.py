"""The manifest of the graphs that LangGraph's clients play with."""

from typing import Any

GRAPHS = (
    "adding", "asking", "asking_aside", "asking_aside_within", "asking_later", "asking_twice",
    "asking_within", "chat", "failing", "handing", "holding", "opening", "redacting", "teaming",
    "waiting",
)  # fmt: skip
MANIFEST: dict[str, Any] = {"graphs": {name: f"tests.clients.plays:{name}" for name in GRAPHS}}
