"""The server, as a worker process sees it."""

import asyncio
from collections.abc import Callable
from itertools import count
from typing import Any

from operations.wire import Wire
from orchestration.processes.errors import unpacked

OnNews = Callable[[Any], None]


class Server:
    """Who is told things, and asked for what only the server has."""

    def __init__(self, wire: Wire) -> None:
        self.wire = wire
        self._numbers = count(1)
        self._asked: dict[int, asyncio.Future[Any]] = {}
        self._news: dict[int, OnNews] = {}
        self._raised: dict[int, BaseException] = {}  # by what gets the news

    def tell(self, kind: str, *about: Any) -> None:
        """Send a message that has no answer."""
        self.wire.send(kind, *about)

    async def ask(self, what: str, *about: Any, on_news: OnNews | None = None) -> Any:
        """Ask for something and return the answer; ``on_news`` gets what is told before it.

        Cancelled, the question is taken back; what was written by then stands.

        Raises:
            Exception: as the server says; else what ``on_news`` raised, which got no more then.
        """
        return (await self.asking(what, *about, on_news=on_news))[1]

    async def asking(
        self, what: str, *about: Any, on_news: OnNews | None = None
    ) -> tuple[int, Any]:
        """As `ask`; return the number of the question, too, by which others can refer to it."""
        number = next(self._numbers)
        answer = self._asked[number] = asyncio.get_running_loop().create_future()
        if on_news is not None:
            self._news[number] = on_news
        try:
            self.tell("ask", number, what, *about)
            answered = await answer
        except asyncio.CancelledError:
            self.tell("withdraw", number)
            raise
        finally:
            del self._asked[number]
            self._news.pop(number, None)
            raised = self._raised.pop(number, None)
        if raised is not None:
            raise raised
        return number, answered

    # What the server says.

    def answered(self, number: int, answer: Any) -> None:
        """Take an answer."""
        if (asked := self._asked.get(number)) is not None and not asked.done():
            asked.set_result(answer)

    def refused(self, number: int, *error: Any) -> None:
        """Take an error in place of an answer."""
        if (asked := self._asked.get(number)) is not None and not asked.done():
            asked.set_exception(unpacked(*error))

    def heard(self, number: int, news: Any) -> None:
        """Take what is told before an answer."""
        if (take := self._news.get(number)) is None:
            return
        try:
            take(news)
        except BaseException as error:  # noqa: BLE001 - it is user code; whoever asks fails with it
            del self._news[number]
            self._raised[number] = error
