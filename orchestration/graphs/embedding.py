"""The function that makes vectors of texts, as ``store.index.embed`` names it."""

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextvars import copy_context
from importlib.util import find_spec
from inspect import isclass
from typing import Any, TypeVar

from langchain_core.embeddings import Embeddings
from langgraph.store.base.embed import EmbeddingsLambda, ensure_embeddings

from operations.errors import ConfigurationError
from orchestration.graphs.manifest import Manifest
from orchestration.graphs.targets import load_target

T = TypeVar("T")

_THREADS = 8  # that a sync embedding function works in at once
_KINDS = "an object with LangChain's Embeddings interface, or a function from texts to vectors"


def load_embeddings(manifest: Manifest) -> Embeddings | None:
    """Return what ``store.index.embed`` names, sync or async; None if there is no such key.

    It names a function or an object (``./file.py:name``, ``package.module:name``), or a model as
    LangChain's ``init_embeddings`` does (``openai:text-embedding-3-small``).

    Raises:
        ConfigurationError: there is no such thing, or it makes no vectors.
    """
    if manifest.store.index is None:
        return None
    reference = manifest.store.index.embed
    where = f"{manifest.file}: store.index.embed"
    named: Any = reference if _is_model(reference) else _load(reference, manifest, where)
    try:
        embeddings = ensure_embeddings(named)
    except Exception as error:
        raise ConfigurationError(where, f"{reference}: {error}", f"Name {_KINDS}.") from error
    return _Threaded(embeddings) if _is_sync(embeddings) else embeddings


def release(embeddings: Embeddings | None) -> None:
    """Let its threads end that wait for more texts: a stop would wait for them."""
    if isinstance(embeddings, _Threaded):
        embeddings.close()


class _Threaded(Embeddings):
    """Sync embeddings in threads of their own: sync nodes that wait for them can hold all others.

    LangChain's own way is the event loop's default executor, which is that of the nodes.
    """

    def __init__(self, inner: Embeddings) -> None:
        self._inner = inner
        self._threads = ThreadPoolExecutor(_THREADS, thread_name_prefix="embedding")

    def embed_documents(self, texts: list[str]) -> list[list[float]]:
        return self._inner.embed_documents(texts)

    def embed_query(self, text: str) -> list[float]:
        return self._inner.embed_query(text)

    async def aembed_documents(self, texts: list[str]) -> list[list[float]]:
        return await self._call(self._inner.embed_documents, texts)

    async def aembed_query(self, text: str) -> list[float]:
        return await self._call(self._inner.embed_query, text)

    def close(self) -> None:
        """Embed nothing more."""
        self._threads.shutdown(wait=False, cancel_futures=True)

    async def _call(self, function: Callable[[Any], T], argument: Any) -> T:
        context = copy_context()
        return await asyncio.get_running_loop().run_in_executor(
            self._threads, lambda: context.run(function, argument)
        )


def _is_sync(embeddings: Embeddings) -> bool:
    if isinstance(embeddings, EmbeddingsLambda):
        return hasattr(embeddings, "func")
    return type(embeddings).aembed_documents is Embeddings.aembed_documents


def _load(reference: str, manifest: Manifest, where: str) -> Any:
    named = load_target(reference, folder=manifest.folder, where=where)
    # A class is callable and makes no vectors: most likely an object of it was meant.
    if isclass(named) or not (isinstance(named, Embeddings) or callable(named)):
        kind = "a class" if isclass(named) else f"of type {type(named).__name__}"
        raise ConfigurationError(where, f"{reference} is {kind}", f"Name {_KINDS}.")
    return named


def _is_model(reference: str) -> bool:
    source, _, name = reference.rpartition(":")
    if "/" in source or "." in source:
        return False
    return not name.isidentifier() or not source or find_spec(source) is None
