"""The stop of a server that has its hands full: in time, and nothing accepted is lost."""

import json
import signal
import sys
from collections.abc import Mapping
from contextlib import closing
from pathlib import Path

import httpx
import pytest

from tests.process.server import Server, reserved_port, until
from tests.process.test_signals import SIGTERM_CODE, at_most, counter, held_at, is_draining

DEAF = """
import pathlib, signal, sys, time
signal.signal(signal.SIGTERM, signal.SIG_IGN)
pathlib.Path(sys.argv[1]).touch()
time.sleep(1000)
"""


def steps_of(server: Server) -> dict[str, str]:
    """Return what became of each step of the stop, as the log has it."""
    entries = [json.loads(line) for line in server.log.splitlines() if line.startswith("{")]
    (stopped,) = [entry for entry in entries if entry["event"] == "stopped"]
    return {name: told.partition(",")[0] for name, told in stopped["steps"].items()}


@pytest.mark.timeout(60)
def test_under_load_runs_go_tier_by_tier_and_all_of_them_go_on_later(server: Server) -> None:
    """Although the collector that telemetry is to be sent to never answers."""
    bounds = {"max_concurrent_runs": 3, "queue_capacity": 6}
    with closing(reserved_port()) as silent:
        silent.listen()
        endpoint = f"http://127.0.0.1:{silent.getsockname()[1]}"
        graces = {"drain_grace": 1, "drain_grace_critical": 2}
        server.start(**bounds, **graces, OTEL_EXPORTER_OTLP_ENDPOINT=endpoint)
        _stop_under_load(server, bounds)


def _stop_under_load(server: Server, bounds: Mapping[str, int]) -> None:
    runs = []
    for name, priority in (("low", 9), ("normal", 5), ("critical", 0)):
        server.effects.gate(name, 1)
        runs.append(server.submit("counter", {"name": name, "steps": 3}, priority=priority))
        held_at(server, name, 2)
    runs += [counter(server, f"waiting-{number}") for number in range(6)]
    with at_most(2 + 3 + 3 + 3):  # for critical runs, for cancelled ones, for telemetry, and around
        assert server.stop() == SIGTERM_CODE, server.log
    assert set(steps_of(server).values()) == {"done"}
    assert '"sinks":["traces","sent metrics","sent logs"]' in server.log

    for name in ("low", "normal", "critical"):
        server.effects.open_gate(name)
    server.start(**bounds)
    for run in runs:
        run.join()
        assert (run.get()["status"], run.get()["attempt"]) == ("success", 1)


@pytest.mark.timeout(60)
def test_an_agent_that_hangs_has_its_share_of_the_time_and_no_more(tmp_path: Path) -> None:
    deaf = tmp_path / "deaf"
    pool = {"kind": "process", "argv": [sys.executable, "-c", DEAF, str(deaf)], "end_grace": 60}
    document = {
        "graphs": {"asker": "tests.agents.players.asker:asker"},
        "dependencies": [str(Path(__file__).parents[2])],
        "masterloop": {"agents": {"deaf": pool}},
    }
    (tmp_path / "langgraph.json").write_text(json.dumps(document))
    with closing(Server(tmp_path, tmp_path / "langgraph.json")) as server:
        server.start()
        assert server.http.get("/startupz").status_code == httpx.codes.SERVICE_UNAVAILABLE
        until(deaf.exists, why=lambda: server.log)
        with at_most(10):
            assert server.stop() == SIGTERM_CODE, server.log
        steps = steps_of(server)
        assert steps.pop("agents") == "timed out"
        assert set(steps.values()) == {"done"}


PROJECT = """
import asyncio
from contextlib import asynccontextmanager, suppress
from langgraph.store.memory import InMemoryStore
from starlette.applications import Starlette

async def hang():
    await asyncio.Event().wait()

async def hang_for_good():
    while True:
        with suppress(asyncio.CancelledError):
            await hang()

async def fail():
    raise ConnectionError("nobody is there any more")

@asynccontextmanager
async def lifespan(app):
    yield
    await {ending}()

@asynccontextmanager
async def store():
    yield InMemoryStore()
    await {ending}()

app = Starlette(lifespan=lifespan)
"""


@pytest.mark.timeout(60)
@pytest.mark.parametrize(
    ("ending", "result"),
    [("hang", "timed out"), ("hang_for_good", "timed out"), ("fail", "failed")],
)
def test_what_the_project_has_opened_ends_in_time_and_alone(
    tmp_path: Path, ending: str, result: str
) -> None:
    document = {
        "graphs": {"asker": "tests.agents.players.asker:asker"},
        "dependencies": [str(Path(__file__).parents[2])],
        "http": {"app": "./project.py:app"},
        "store": {"path": "./project.py:store"},
    }
    (tmp_path / "project.py").write_text(PROJECT.format(ending=ending))
    (tmp_path / "langgraph.json").write_text(json.dumps(document))
    with closing(Server(tmp_path, tmp_path / "langgraph.json")) as server:
        server.start()
        with at_most(10):
            assert server.stop() == SIGTERM_CODE, server.log
        steps = steps_of(server)
        assert [steps.pop("routes"), steps.pop("store")] == [result, result]
        assert set(steps.values()) == {"done"}
        assert (server.data / "masterloop.db.lock").read_bytes() == b"", "found crashed"


LEAVING = """
import asyncio, sys
from contextlib import asynccontextmanager
from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.middleware.base import BaseHTTPMiddleware
from starlette.responses import PlainTextResponse
from starlette.routing import Route

called = asyncio.Event()

async def leave():
    await called.wait()
    sys.exit(3)

@asynccontextmanager
async def lifespan(app):
    waiting = asyncio.create_task(leave())
    yield
    await asyncio.wait({waiting})

async def task(request):
    called.set()
    leaving = asyncio.create_task(leave())
    await asyncio.wait({leaving})
    return PlainTextResponse(str(leaving.exception()))

async def now(request):
    sys.exit(3)

async def passed(request, call_next):
    return await call_next(request)

app = Starlette(
    routes=[Route("/task", task), Route("/now", now)],
    middleware=[Middleware(BaseHTTPMiddleware, dispatch=passed)],
    lifespan=lifespan,
)
"""


@pytest.mark.timeout(60)
def test_the_project_s_own_routes_cannot_end_the_service(tmp_path: Path) -> None:
    document = {
        "graphs": {"asker": "tests.agents.players.asker:asker"},
        "dependencies": [str(Path(__file__).parents[2])],
        "http": {"app": "./project.py:app"},
    }
    (tmp_path / "project.py").write_text(LEAVING)
    (tmp_path / "langgraph.json").write_text(json.dumps(document))
    with closing(Server(tmp_path, tmp_path / "langgraph.json")) as server:
        server.start()
        told = server.http.get("/task").text
        assert told == "SystemExit(3) was raised, which cannot end the service"
        assert server.http.get("/now").status_code == httpx.codes.INTERNAL_SERVER_ERROR
        assert httpx.get(f"{server.url}/readyz").is_success
        assert server.stop() == SIGTERM_CODE, server.log
        assert set(steps_of(server).values()) == {"done"}


@pytest.mark.timeout(60)
def test_during_the_delay_it_is_not_ready_and_takes_runs(server: Server) -> None:
    server.start(drain_delay=30)
    server.process.terminate()
    until(lambda: is_draining(server), why=lambda: server.log)
    late = counter(server, "late")
    assert late.join()["done"] == 1
    with at_most(2):
        assert server.stop(signal.SIGTERM) == SIGTERM_CODE, server.log


@pytest.mark.timeout(60)
def test_who_looks_at_the_service_sees_its_stop_to_the_end(server: Server) -> None:
    server.start()
    with server.http.stream("GET", "/ops/stream", params={"topics": "shutdown"}) as answer:
        server.process.terminate()
        lines = list(answer.iter_lines())
    assert server.wait() == SIGTERM_CODE, server.log
    told = [json.loads(line[6:]) for line in lines if line.startswith("data: {")]
    assert any(one["data"]["phase"] == "runs" for one in told)
    event, retry, data = lines[-4:-1]
    assert (event, retry[:7], data) == ("event: shutdown", "retry: ", "data: null")
    assert json.loads((server.data / "status.json").read_text())["state"] == "stopped"


def test_a_signal_after_all_steps_of_the_stop_changes_nothing(server: Server) -> None:
    """It comes while the process waits a moment for a thread that does not end."""
    server.start(drain_grace=0.3, cancel_grace=0.1)
    server.submit("threaded", {"name": "threaded"})
    until(lambda: server.effects.of("threaded"), why=lambda: server.log)
    server.process.terminate()
    until(lambda: '"event":"stopped"' in server.log, why=lambda: server.log)
    assert server.stop(signal.SIGINT) == SIGTERM_CODE, server.log
    assert "Traceback" not in server.log
    assert (server.data / "masterloop.db.lock").read_text() == ""
    assert json.loads((server.data / "status.json").read_text())["state"] == "stopped"
