"""The names of tools: of those for runs, and of those that assistants are."""

import re

RUN_TOOLS = ("run_get", "run_wait", "run_resume", "run_cancel", "run_list")

_MOST = 40  # characters; some hosts put a prefix before a name, and take 64 in all
_MARK = 8  # hexadecimal digits
_WRONG = re.compile(r"[^A-Za-z0-9_-]+")


def tool_name(text: str, assistant_id: str, *, own: bool) -> str:
    """Return the name of the tool that an assistant is; it depends on nothing but the assistant.

    The assistant that a graph has by itself (``own``) is called like the graph, if a tool can be.
    All others have the end of their id in their name, so that no two are called alike.
    """
    plain = _WRONG.sub("_", text)
    if own and plain == text and len(text) <= _MOST and text not in RUN_TOOLS:
        return text
    return f"{plain[: _MOST - _MARK - 1].strip('_') or 'assistant'}_{assistant_id[-_MARK:]}"
