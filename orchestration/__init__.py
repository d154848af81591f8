"""The master loop and its faces (CLI, HTTP, MCP, A2A): accepts, queues, schedules, runs, streams."""
