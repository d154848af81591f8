"""What is kept of a stream, however much it carries."""


class Captured:
    """The beginning and the end of a stream, within ``limit`` bytes."""

    def __init__(self, limit: int) -> None:
        self._most_tail = limit // 2
        self._most_head = limit - self._most_tail
        self._head = bytearray()
        self._tail = bytearray()
        self._total = 0

    def append(self, data: bytes) -> None:
        """Take the next bytes; what lies between beginning and end is only counted."""
        self._total += len(data)
        room = self._most_head - len(self._head)
        if room:
            self._head += data[:room]
            data = data[room:]
        self._tail += data[-self._most_tail :] if self._most_tail else b""
        if len(self._tail) > 2 * self._most_tail:  # seldom, so that appending stays cheap
            self._trim()

    @property
    def cut(self) -> int:
        """How many bytes are missing in the middle."""
        self._trim()
        return self._total - len(self._head) - len(self._tail)

    def text(self) -> str:
        """Return what was kept, saying where something is missing."""
        cut = self.cut
        if not cut:
            return (self._head + self._tail).decode("utf-8", "replace")
        head, tail = (part.decode("utf-8", "replace") for part in (self._head, self._tail))
        return f"{head}\n… {cut} bytes cut …\n{tail}"

    def _trim(self) -> None:
        del self._tail[: max(0, len(self._tail) - self._most_tail)]
