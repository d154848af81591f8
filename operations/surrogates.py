"""Halves of surrogate pairs, which a text of Python's can have and UTF-8 cannot."""


def without_surrogates(text: str) -> str:
    """Return a text that every encoder takes: with ``?`` in place of each such half."""
    return text.encode("utf-8", "replace").decode("utf-8")
