import time
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path
from types import ModuleType

import pytest

from load.bench.marks import SPARE, Marks, open_marks
from load.bench.peers import PROJECT


def graphs(marks: Marks, monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    """Return the graphs as a server loads them."""
    monkeypatch.setenv("BENCH_MARKS", str(marks.file))
    spec = spec_from_file_location("marked_graphs", PROJECT / "bench_graphs.py")
    assert spec is not None
    assert spec.loader is not None
    module = module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


async def test_graphs_leave_their_marks(monkeypatch: pytest.MonkeyPatch) -> None:
    with open_marks() as marks:
        loaded = graphs(marks, monkeypatch)
        began = time.time()
        assert (await loaded.steps5.ainvoke({"i": 1}))["out"] == 1
        await loaded.noop.ainvoke({"i": 2})
        await loaded.noop.ainvoke({"i": 2})
        await loaded.noop.ainvoke({"i": -1})
        assert marks.starts(4) == [0, 1, 2, 0]
        assert marks.finishes(4) == [0, 1, 2, 0]
        assert marks.started(2, 1)[0] >= began
        assert marks.ended(1, 1)[0] >= marks.started(1, 1)[0]
        marks.reset()
        assert not any(marks.starts(SPARE))
        loaded.MARKS.close()


def test_the_memory_is_gone_afterwards() -> None:
    with open_marks() as marks:
        file: Path = marks.file
        assert file.exists()
    assert not file.exists()
