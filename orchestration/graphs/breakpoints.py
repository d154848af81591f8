"""Breakpoints that are compiled into graphs, and into those within."""

from langgraph.pregel import Pregel

from orchestration.graphs.arguments import Graph


def has_breakpoints(graph: Graph) -> bool:
    """Whether some were compiled into the graph, or into a subgraph that LangGraph finds in it."""
    return bool(
        graph.interrupt_before_nodes
        or graph.interrupt_after_nodes
        or any(has_breakpoints(inner) for inner in subgraphs(graph).values())
    )


def subgraphs(graph: Graph) -> dict[str, Graph]:
    """Return the graphs that are nodes of this one, or are called in them; not remote ones."""
    return {name: inner for name, inner in graph.get_subgraphs() if isinstance(inner, Pregel)}
