"""The servers that are measured: how each is started, and what of the LangGraph API it has."""

import os
from collections.abc import Mapping
from dataclasses import dataclass, field

from load.bench.environments import HERE, Environment

PROJECT = HERE / "project"
SERVERS = HERE / "servers"
POSTGRES = os.environ.get("BENCH_POSTGRES", "postgresql://postgres@127.0.0.1:5432")
AT_ONCE = "1000"  # runs: no server is held back by its own bound
ANY = 1_000  # rounds: as many as are asked for
SLOW = 6.0  # seconds
SLEEPERS = ("W3", "W3s")
NO_MEASURE = "its memory is not ours to judge, and 10,000 runs would take too long"


@dataclass(frozen=True, kw_only=True)
class Peer:
    """A server: ``{bin}`` and ``{port}`` of its command are filled in.

    ``more`` are arguments that a workload adds, ``leaves_out`` says why a workload is not done,
    ``rounds`` is how many are done at most, ``window`` the shortest that shows anything of it, in
    seconds. A server with a ``database`` finds it empty in
    PostgreSQL at a fresh start, and its URL in the variables as ``{database}``.
    """

    name: str
    title: str
    environment: Environment
    command: tuple[str, ...]
    variables: Mapping[str, str] = field(default_factory=dict)
    more: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    leaves_out: Mapping[str, str] = field(default_factory=dict)
    stateless: bool = True
    rounds: int = ANY
    window: float = 0.0
    health: str = "/ok"
    database: str = ""


OURS = Environment(
    name="masterloop",
    requirements=None,
    shown=("masterloop", "langgraph", "starlette", "uvicorn", "uvloop"),
)
LANGGRAPH = Environment(
    name="langgraph-dev",
    requirements=("langgraph-cli[inmem]",),
    shown=("langgraph-api", "langgraph-runtime-inmem", "langgraph"),
)
AEGRA = Environment(
    name="aegra",
    requirements=("aegra-api", "uvicorn[standard]", "psycopg[binary]"),
    shown=("aegra-api", "langgraph"),
    python=(3, 12),
)
DBOS = Environment(
    name="dbos",
    requirements=(
        "dbos",
        "langgraph",
        "orjson",
        "psycopg[binary]",
        "starlette",
        "uvicorn[standard]",
    ),
    shown=("dbos", "langgraph"),
)
UVICORN = (
    "{bin}/python",
    *("-m", "uvicorn", "--host", "127.0.0.1", "--port", "{port}", "--loop", "uvloop"),
    *("--http", "httptools", "--log-level", "warning", "--no-access-log", "--backlog", "4096"),
)
MASTERLOOP = ("{bin}/masterloop", "serve", "--config", "langgraph.json", "--port", "{port}")
SETTINGS = {
    "MASTERLOOP_DATA_DIR": "data",
    "MASTERLOOP_DRAIN_DELAY": "0",  # seconds for load balancers to look away; nobody waits here
    "MASTERLOOP_MAX_CONCURRENT_RUNS": AT_ONCE,
    "MASTERLOOP_QUEUE_CAPACITY": "20000",
}


def _limit(name: str, title: str, leaves_out: Mapping[str, str], **variables: str) -> Peer:
    return Peer(
        name=name,
        title=title,
        environment=OURS,
        command=(*UVICORN, "--app-dir", str(SERVERS), "limit_server:app"),
        variables=variables,
        leaves_out=leaves_out,
    )


ALL = (
    Peer(
        name="masterloop",
        title="Masterloop",
        environment=OURS,
        command=MASTERLOOP,
        variables=SETTINGS,
    ),
    Peer(
        name="masterloop-workers-2",
        title="Masterloop, `--workers 2`",
        environment=OURS,
        command=(*MASTERLOOP, "--workers", "2"),
        variables=SETTINGS,
    ),
    _limit("limit", "bare limit", {"W8": "nothing of it is durable"}),
    _limit("limit-sqlite", "limit, rows in SQLite", {"W6": "as the bare limit"}, LIMIT_DURABLE="1"),
    Peer(
        name="langgraph-dev",
        title="`langgraph dev`",
        environment=LANGGRAPH,
        command=(
            *("{bin}/langgraph", "dev", "--no-browser", "--no-reload"),
            *("--host", "127.0.0.1", "--port", "{port}", "--n-jobs-per-worker", "10"),
        ),
        variables={
            "LANGSMITH_TRACING": "false",
            "LANGGRAPH_NO_VERSION_CHECK": "true",
            "LANGGRAPH_CLI_NO_ANALYTICS": "1",
        },
        # Ten jobs are its best setting, but for runs that only sleep.
        more=dict.fromkeys(SLEEPERS, ("--n-jobs-per-worker", AT_ONCE)),
        leaves_out={"W6": NO_MEASURE},
        rounds=1,
        window=SLOW,  # it looks for new runs once a second
    ),
    Peer(
        name="aegra",
        title="Aegra",
        environment=AEGRA,
        command=(*UVICORN, "aegra_api.main:app"),
        variables={"DATABASE_URL": "{database}", "LOG_LEVEL": "WARNING"},
        leaves_out={"W6": NO_MEASURE},
        rounds=1,
        window=SLOW,
        health="/live",
        database="masterloop_bench_aegra",
    ),
    Peer(
        name="dbos",
        title="DBOS",
        environment=DBOS,
        command=(*UVICORN, "--app-dir", str(SERVERS), "dbos_server:app"),
        variables={"DBOS_SYSTEM_DATABASE_URL": "{database}"},
        leaves_out={
            "W4": "it has no stream of a graph",
            "W5": "it does not interrupt a step that runs",
            "W6": NO_MEASURE,
        },
        rounds=1,
        window=SLOW,
        database="masterloop_bench_dbos",
    ),
)
PEERS = {peer.name: peer for peer in ALL}
