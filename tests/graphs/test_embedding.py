"""What ``store.index.embed`` may name."""

import asyncio
import json
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from langchain_core.embeddings import Embeddings

from operations.errors import ConfigurationError
from orchestration.graphs.embedding import load_embeddings, release
from orchestration.graphs.manifest import load_manifest

MODULE = """
from langchain_core.embeddings import Embeddings

class Vectors(Embeddings):
    def embed_documents(self, texts):
        return [[1.0, 0.0] for _ in texts]

    def embed_query(self, text):
        return [1.0, 0.0]

model = Vectors()
number = 3

def sync(texts):
    return [[1.0, 0.0] for _ in texts]

async def later(texts):
    return [[1.0, 0.0] for _ in texts]

class Model:
    pass
"""


def _load(folder: Path, embed: str) -> Embeddings | None:
    (folder / "vectors_of_texts.py").write_text(MODULE)
    file = folder / "langgraph.json"
    document = {"graphs": {"a": "./a.py:a"}, "store": {"index": {"dims": 2, "embed": embed}}}
    file.write_text(json.dumps(document))
    return load_embeddings(load_manifest(file))


@pytest.mark.parametrize("name", ["sync", "later", "model"])
async def test_a_function_or_an_object_makes_vectors(tmp_path: Path, name: str) -> None:
    embeddings = _load(tmp_path, f"./vectors_of_texts.py:{name}")
    assert embeddings is not None
    assert len((await embeddings.aembed_documents(["a", "b"]))[1]) == 2


async def test_a_sync_function_needs_none_of_the_threads_that_wait_for_it(tmp_path: Path) -> None:
    """A sync node that puts an item holds its thread; with all of them held, none embedded."""
    embeddings = _load(tmp_path, "./vectors_of_texts.py:sync")
    assert embeddings is not None
    loop = asyncio.get_running_loop()
    loop.set_default_executor(ThreadPoolExecutor(1))

    def node() -> list[list[float]]:
        embedding = embeddings.aembed_documents(["a"])
        return asyncio.run_coroutine_threadsafe(embedding, loop).result(5)

    assert await loop.run_in_executor(None, node) == [[1.0, 0.0]]


async def test_no_thread_outlives_what_it_embedded_for(tmp_path: Path) -> None:
    embeddings = _load(tmp_path, "./vectors_of_texts.py:sync")
    assert embeddings is not None
    before = set(threading.enumerate())
    await embeddings.aembed_documents(["a"])
    (made,) = set(threading.enumerate()) - before
    release(embeddings)
    made.join(5)
    assert not made.is_alive()


def test_without_an_index_there_is_nothing_to_load(tmp_path: Path) -> None:
    file = tmp_path / "langgraph.json"
    file.write_text(json.dumps({"graphs": {"a": "./a.py:a"}}))
    assert load_embeddings(load_manifest(file)) is None


@pytest.mark.parametrize(
    ("embed", "said"),
    [
        ("./vectors_of_texts.py:number", "is of type int"),
        ("./vectors_of_texts.py:Model", "is a class"),
        ("./vectors_of_texts.py:nothing", "has no attribute 'nothing'"),
        ("./nowhere.py:embed", 'there is no file "nowhere.py"'),
        ("json.decoder:nothing", "has no attribute 'nothing'"),
        ("openai:text-embedding-3-small", "langchain"),
        ("nobody:nothing", "langchain"),
        ("nothing", "langchain"),
    ],
)
def test_what_makes_no_vectors_is_refused_with_its_place(
    tmp_path: Path, embed: str, said: str
) -> None:
    with pytest.raises(ConfigurationError, match=r"store\.index\.embed") as refused:
        _load(tmp_path, embed)
    assert said in str(refused.value)
