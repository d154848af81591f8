"""Where the tests log by default."""

import sys

import structlog


def log_to_stderr() -> None:
    """Log as the service does, and not where commands answer.

    A thread that a test has left behind may log while another test looks at what a command said.
    """
    structlog.reset_defaults()
    structlog.configure(logger_factory=lambda *_: structlog.PrintLogger(sys.stderr))
