"""Finding items by meaning: their texts as vectors that the user's function makes."""

import math
import sqlite3
from array import array
from collections.abc import Mapping, Sequence
from operator import mul
from typing import TypeAlias

import anyio
import anyio.to_thread
from langchain_core.embeddings import Embeddings
from langgraph.store.base import PutOp, get_text_at_path, tokenize_path

from orchestration.store.item_rows import Search, by_ids, snapshot

_TEXTS = 256  # that one item may be found by
_CHARACTERS = 16 * 1024**2  # that these may have together
_FLOAT = 4  # bytes

Name: TypeAlias = tuple[str, str]
Vector: TypeAlias = "array[float]"


class EmbeddingFailed(Exception):
    """The function that makes vectors of texts failed, or made something else."""


class TooManyTexts(ValueError):
    """An item is to be found by more texts than one may have, or by longer ones."""

    def __init__(self, found: str, most: int) -> None:
        super().__init__(f"{found} are to be indexed, and an item can have {most} at most")


class MeaningIndex:
    """Makes vectors of what is put and asked, and ranks items by them: cosine similarity."""

    def __init__(self, embeddings: Embeddings, *, dims: int, fields: Sequence[str]) -> None:
        """``dims`` is the length of a vector, ``fields`` the paths of the texts of an item."""
        self._embeddings = embeddings
        self._dims = dims
        self._fields = fields
        self._reading = anyio.CapacityLimiter(1)  # Python's work, which is no faster side by side

    async def of_query(self, query: str) -> bytes:
        """Return the vector of a query.

        Raises:
            EmbeddingFailed: the user's function did.
        """
        try:
            made = await self._embeddings.aembed_query(query)
        except Exception as error:
            raise _failed(error) from error
        return self._vector(made)

    async def of_items(self, puts: Mapping[Name, PutOp]) -> dict[Name, dict[str, bytes]]:
        """Return the vectors of the texts of items, by the path of each.

        Raises:
            TooManyTexts: an item has more than it may have, or longer ones.
            EmbeddingFailed: the user's function did.
        """
        indexed = {name: op for name, op in puts.items() if op.index is not False}
        if not indexed:
            return {}
        # Neither on the event loop, as values may be large, nor in the threads of its default
        # executor: all of them may be taken by sync nodes, which wait for this.
        texts = await anyio.to_thread.run_sync(self._texts, indexed, limiter=self._reading)
        distinct = list(dict.fromkeys(text for named in texts.values() for text in named.values()))
        if not distinct:
            return {}
        try:
            made = await self._embeddings.aembed_documents(distinct)
            count = len(made)
        except Exception as error:
            raise _failed(error) from error
        if count != len(distinct):
            raise EmbeddingFailed(f"it made {count} vectors of {len(distinct)} texts")
        vectors = dict(zip(distinct, map(self._vector, made), strict=True))
        return {
            name: {path: vectors[text] for path, text in named.items()}
            for name, named in texts.items()
        }

    def nearest(
        self,
        search: Search,
        vector: bytes,
        limit: int,
        offset: int,
        connection: sqlite3.Connection,
    ) -> tuple[list[sqlite3.Row], Mapping[int, float]]:
        """Return the items that come nearest, and their scores (1: the same, -1: the opposite).

        The score of an item is the best of its texts. It looks at all that the search lets
        through; items without a vector are not found.

        Raises:
            FilterRefused: the filter says what none can.
            TooMuchFound: the values are too large for one page.
        """
        with snapshot(connection):
            scores = self._scores(search, vector, connection)
            best = sorted(scores, key=lambda item_id: (-scores[item_id], item_id))
            return by_ids(best[offset:][:limit], connection), scores

    def _scores(
        self, search: Search, vector: bytes, connection: sqlite3.Connection
    ) -> dict[int, float]:
        where, parameters = search.where()
        sql = f"""
            SELECT item_id, vector FROM items JOIN item_vectors USING (item_id)
            WHERE {where} AND length(vector) = ?
        """  # noqa: S608 - made of constants
        asked = array("f", vector).tolist()
        scores: dict[int, float] = {}
        for item_id, one in connection.execute(sql, [*parameters, self._dims * _FLOAT]):
            score = sum(map(mul, asked, array("f", one)))
            if score > scores.get(item_id, -math.inf):
                scores[item_id] = score
        return scores

    def _texts(self, puts: Mapping[Name, PutOp]) -> dict[Name, dict[str, str]]:
        return {name: self._texts_of(op) for name, op in puts.items()}

    def _texts_of(self, op: PutOp) -> dict[str, str]:
        texts: dict[str, str] = {}
        length = 0
        for path in dict.fromkeys(self._fields if op.index is None else op.index or ()):
            found = get_text_at_path(op.value, path if path == "$" else _tokens(path))
            many = len(found) > 1
            texts |= {f"{path}.{n}" if many else path: text for n, text in enumerate(found)}
            length += sum(map(len, found))
            if len(texts) > _TEXTS:
                raise TooManyTexts(f"{len(texts)} texts", _TEXTS)
            if length > _CHARACTERS:
                raise TooManyTexts(f"texts of {length} characters", _CHARACTERS)
        return texts

    def _vector(self, made: Sequence[float]) -> bytes:
        """Return what the user's function made, brought to length 1."""
        try:
            numbers = array("f", map(float, made))
        except (TypeError, ValueError, OverflowError) as error:
            raise EmbeddingFailed(f"it made a vector of something else: {error}") from error
        if len(numbers) != self._dims:
            raise EmbeddingFailed(
                f"it made a vector of {len(numbers)} numbers, and store.index.dims is {self._dims}"
            )
        length = math.hypot(*numbers)
        if not math.isfinite(length):
            raise EmbeddingFailed("it made a vector that is not finite")
        return array("f", [number / length for number in numbers] if length else numbers).tobytes()


def _tokens(path: str) -> list[str]:
    """Split a path, with each field once: LangGraph makes a text of every mention in ``{…}``."""
    return [
        _each_once(token) if token.startswith("{") and token.endswith("}") else token
        for token in tokenize_path(path)
    ]


def _each_once(selection: str) -> str:
    fields = [field.strip() for field in selection[1:-1].split(",")]
    distinct = {tuple(tokenize_path(field)): field for field in fields}
    return f"{{{','.join(distinct.values())}}}"


def _failed(error: Exception) -> EmbeddingFailed:
    return EmbeddingFailed(f"it raised {type(error).__name__}: {error}")
