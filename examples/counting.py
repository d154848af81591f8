"""An agent of the kind ``process`` that counts the words of a text: for the workflow ``shelf``.

``python counting.py quick`` does it at once, ``slow`` takes its time, ``broken`` fails each time.
It reads and writes JSON-RPC, a message a line: see docs/agents.md.
"""

import json
import re
import sys
import time
from collections import Counter
from typing import Any

SLOW = 0.5  # seconds
TOP = 3

manner = sys.argv[1]


def count(given: dict[str, Any]) -> dict[str, Any]:
    """Return how many words a text has, and which are the most frequent."""
    if manner == "broken":
        raise RuntimeError("this one is broken")
    if manner == "slow":
        time.sleep(SLOW)
    words = Counter(re.findall(r"[^\W\d_]{4,}", given["text"].lower()))
    return {"words": words.total(), "top": [word for word, _ in words.most_common(TOP)]}


def answer(request: dict[str, Any]) -> dict[str, Any]:
    """Return the answer to one message."""
    head = {"jsonrpc": "2.0", "id": request["id"]}
    match request["method"]:
        case "initialize":
            return {**head, "result": {"capabilities": ["count_words"]}}
        case "invoke":
            try:
                return {**head, "result": count(request["params"]["input"])}
            except Exception as error:  # noqa: BLE001 - whatever it is, the task failed with it
                return {**head, "error": {"code": -32000, "message": str(error)}}
        case _:
            return {**head, "result": {}}  # ping


for line in sys.stdin:
    message = json.loads(line)
    if "id" in message:  # what has none is a notification, such as a cancel
        sys.stdout.write(json.dumps(answer(message)) + "\n")
        sys.stdout.flush()
