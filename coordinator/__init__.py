"""How a declared workflow is done: spec, compilation, strategies, experience, tool chains."""
