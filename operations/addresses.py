"""What the configuration may say of where something is."""

from urllib.parse import urlsplit


def is_server(url: str) -> bool:
    """Return whether ``url`` is one of a server that speaks HTTP."""
    try:
        parts = urlsplit(url)
        found = parts.scheme in {"http", "https"} and parts.hostname and parts.port != 0
    except ValueError:  # no port, no address
        return False
    return bool(found) and is_one_word(url)


def is_one_word(text: str) -> bool:
    """Return whether there is something, and no white space or control character in it."""
    return bool(text) and text.isprintable() and " " not in text
