"""How many connections there may be at once."""

import sys
from random import uniform

import structlog

from orchestration.api.problems import Dice

_FILES = 256  # that are left for what is no connection

_log = structlog.get_logger("masterloop")


class Places:
    """How many connections there may be at once, of as many files as the process may have open.

    Some are left for the others: a graph that can open none fails, and with it what it has done.
    """

    def __init__(self, files: int, dice: Dice = uniform) -> None:
        self.dice = dice  # for when those come back who found none
        # No limit at all is given as a negative number on some systems.
        self._most = sys.maxsize if files < 0 else files - min(_FILES, files // 2)
        self._full = False

    def exceeded(self, connections: int) -> bool:
        """Return whether there are too many; said in the log when it begins.

        It ends where half of them have gone: who leaves and comes back fills no log.
        """
        full = connections > self._most
        if full and not self._full:
            _log.warning("no room for another connection", connections=self._most)
        self._full = full or (self._full and connections > self._most // 2)
        return full
