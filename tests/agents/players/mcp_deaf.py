"""An MCP server that asks without end while a tool is called, and reads no answers.

With an argument, that is its list of tools.
"""

import json
import os
import sys
from typing import Any

TOOL = {"name": "play", "inputSchema": {"type": "object"}}


def say(**message: Any) -> None:
    sys.stdout.write(json.dumps({"jsonrpc": "2.0", **message}) + "\n")
    sys.stdout.flush()


def hello(params: dict[str, Any]) -> dict[str, Any]:
    return {
        "protocolVersion": params["protocolVersion"],
        "capabilities": {"tools": {}},
        "serverInfo": {"name": "deaf", "version": "1"},
    }


for line in sys.stdin:
    asked = json.loads(line)
    if "id" not in asked:
        continue
    match asked["method"]:
        case "initialize":
            say(id=asked["id"], result=hello(asked["params"]))
        case "tools/list":
            say(id=asked["id"], result={"tools": sys.argv[1] if sys.argv[1:] else [TOOL]})
        case "tools/call" if asked["params"]["arguments"]["do"] == "close_stdin":
            os.dup2(os.pipe()[0], 0)  # where nothing ever comes
        case "tools/call":
            while True:
                say(id="x" * 100_000, method="ping")
        case _:
            say(id=asked["id"], error={"code": -32601, "message": "it knows no such method"})
