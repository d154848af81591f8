"""The master loop and its faces: accepts, queues, schedules, runs, streams."""

import os

# LangGraph reads this once, when it is first imported; without it, loading a checkpoint may call
# whatever the checkpoint names. No import of this package can come before this line.
os.environ["LANGGRAPH_STRICT_MSGPACK"] = "true"
