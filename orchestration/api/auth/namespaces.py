"""Whose items are whose: namespaces with their owner before them, which nobody sees."""

from urllib.parse import quote

OWNERS = "masterloop-owner"


def namespace_of(identity: str) -> tuple[str, ...]:
    """Return what stands before every namespace of somebody; a label has no dots."""
    return (OWNERS, quote(identity, safe="@").replace(".", "%2E"))
