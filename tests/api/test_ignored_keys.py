"""Keys of ``langgraph.json`` that LangGraph's own server acts on, and this one does not."""

from pathlib import Path

from structlog.testing import capture_logs

from tests.api.client import open_client


async def test_what_is_not_acted_on_is_warned_of_at_the_start(tmp_path: Path) -> None:
    manifest = {"encryption": {"path": "./e.py:e"}, "checkpointer": {"path": "./own.py:saver"}}
    with capture_logs() as logs:
        async with open_client(tmp_path, "echo", manifest=manifest):
            pass
        async with open_client(tmp_path, "echo", manifest={"python_version": "3.11"}):
            pass
    warned = [entry["keys"] for entry in logs if "keys" in entry]
    assert warned == [("checkpointer.path", "encryption")]
