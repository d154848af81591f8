"""LangGraph behind the executor port."""
