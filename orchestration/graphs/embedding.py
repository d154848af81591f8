"""The function that makes vectors of texts, as ``store.index.embed`` names it."""

from importlib.util import find_spec
from inspect import isclass
from typing import Any

from langchain_core.embeddings import Embeddings
from langgraph.store.base.embed import ensure_embeddings

from operations.errors import ConfigurationError
from orchestration.graphs.manifest import Manifest
from orchestration.graphs.targets import load_target

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
        return ensure_embeddings(named)
    except Exception as error:
        raise ConfigurationError(where, f"{reference}: {error}", f"Name {_KINDS}.") from error


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
