"""An MCP server for the tests of the kind `mcp`; with an argument, it serves HTTP on that port."""

import asyncio
import os
import sys

from mcp.server.mcpserver import Context, MCPServer
from mcp.server.mcpserver.exceptions import ToolError

server = MCPServer("play", log_level="ERROR")


async def play(ctx: Context, do: str, text: str = "", count: int = 0) -> str:
    """Do what is said."""
    match do:
        case "fail":
            raise ToolError("it failed on purpose")
        case "hang":
            await ctx.report_progress(0, 1, "begun")
            await asyncio.Event().wait()
        case "events":
            for step in range(count):
                await ctx.report_progress(step, count)
        case "die":
            sys.stderr.write("these are my last words\n")
            sys.stderr.flush()
            os._exit(7)
        case "trace":
            text = str(dict(ctx.request_context.meta or {})["traceparent"])
        case _:
            pass
    return text


server.add_tool(play)

if len(sys.argv) > 1:
    server.run("streamable-http", host="127.0.0.1", port=int(sys.argv[1]))
else:
    server.run()
