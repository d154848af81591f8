"""What has to be so before any test module imports LangGraph."""

import os

# As in production, where `orchestration` sets it: LangGraph reads it once, on import.
os.environ["LANGGRAPH_STRICT_MSGPACK"] = "true"
