"""A stream of bytes, cut into lines of bounded length."""

from collections.abc import Iterator

SHOWN = 80  # bytes of a line that makes no sense


class LineTooLong(Exception):
    """A line exceeded the limit. What follows in the stream cannot be understood."""

    def __init__(self, limit: int) -> None:
        super().__init__(f"a line is longer than {limit} bytes")
        self.limit = limit


class Lines:
    """Cuts what it is fed into lines, none longer than ``limit`` bytes."""

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._rest = bytearray()

    def feed(self, data: bytes) -> Iterator[bytes]:
        """Yield the lines that ``data`` completes, without their ends; blank ones are left out.

        Raises:
            LineTooLong: one is, be it complete or not.
        """
        *complete, rest = data.split(b"\n")
        for part in complete:
            line = bytes(self._rest) + part if self._rest else part
            self._rest.clear()
            if len(line) > self._limit:
                raise LineTooLong(self._limit)
            if line.strip():
                yield line
        self._rest += rest
        if len(self._rest) > self._limit:
            self._rest.clear()
            raise LineTooLong(self._limit)
