"""How often a sink has failed; told in the log, once a minute."""

import time

import structlog

_REPORTED = 60.0  # seconds for which a sink that fails is not reported again

_log = structlog.get_logger("masterloop")


class Failures:
    """Counts the failures of one sink."""

    def __init__(self, sink: str) -> None:
        self.count = 0
        self._sink = sink
        self._told = 0
        self._told_at = -_REPORTED

    def add(self, error: Exception, *, waiting: int, dropped: int) -> None:
        """Count one, and tell of it and those before, unless that was done a moment ago.

        ``waiting`` are the records that the sink has not taken yet, ``dropped`` those that it never
        will.
        """
        self.count += 1
        if time.monotonic() - self._told_at < _REPORTED:
            return
        self._told_at = time.monotonic()
        since, self._told = self.count - self._told, self.count
        _log.warning(
            "telemetry is not taken",
            sink=self._sink,
            error=f"{type(error).__name__}: {error}"[:500],
            failures=since,
            waiting=waiting,
            dropped=dropped,
        )
