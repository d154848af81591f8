"""What all those who send something to a collector say when it does not take it."""


class NotSent(Exception):
    """The collector did not take what was sent; the reason is in the exporter's own log."""
