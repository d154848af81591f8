"""How a declared workflow is done: spec, compile to StateGraph, strategies, experience, tool chains."""
