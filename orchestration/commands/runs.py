"""``masterloop runs``: look at the runs of a running service, wait for them, cancel them."""

from http import HTTPStatus
from typing import TYPE_CHECKING, Annotated, Any

import typer

from orchestration.commands.remote import DEFAULT_URL, Url, service_at
from orchestration.commands.terminal import FAILED, Json, as_json, console, give_up, print_table

if TYPE_CHECKING:
    from collections.abc import Iterator

    from langgraph_sdk.client import SyncLangGraphClient

THREADS_SEARCHED = 100  # the latest, when no thread is named
COLUMNS = ("run_id", "thread_id", "status", "attempt", "created_at", "error")

app = typer.Typer(help="Look at runs, wait for them, cancel them.", no_args_is_help=True)

RunId = Annotated[str, typer.Argument(metavar="RUN", help="The id of the run.")]
Thread = Annotated[
    str | None,
    typer.Option(help=f"Its thread. [default: the {THREADS_SEARCHED} latest are searched]"),
]


@app.command("ls")
def list_runs(
    *,
    thread: Thread = None,
    status: Annotated[
        str | None, typer.Option(help="pending, running, success, error, timeout, interrupted.")
    ] = None,
    limit: Annotated[int, typer.Option(min=1, max=1_000, help="How many, at most.")] = 20,
    dead: Annotated[
        bool, typer.Option("--dead", help="The dead letters: runs that killed their worker.")
    ] = False,
    json: Json = False,
    url: Url = DEFAULT_URL,
) -> None:
    """List runs, the latest first."""
    with service_at(url) as client:
        found = client.http.get("/dead-letters") if dead else _latest(client, thread, status, limit)
    if json:
        typer.echo(as_json(found[:limit]))
    elif found:
        print_table(found[:limit], COLUMNS)
    else:
        typer.echo("There are none.", err=True)


@app.command("get")
def get_run(
    *, run_id: RunId, thread: Thread = None, json: Json = False, url: Url = DEFAULT_URL
) -> None:
    """Show one run."""
    with service_at(url) as client:
        run = client.runs.get(_thread_of(client, run_id, thread), run_id)
    _print(run, json=json)


@app.command("cancel")
def cancel_run(
    *,
    run_id: RunId,
    thread: Thread = None,
    rollback: Annotated[
        bool, typer.Option("--rollback", help="Delete the run and what it wrote, too.")
    ] = False,
    json: Json = False,
    url: Url = DEFAULT_URL,
) -> None:
    """Cancel a run, and wait until it has stopped."""
    with service_at(url) as client:
        thread_id = _thread_of(client, run_id, thread)
        client.runs.cancel(
            thread_id, run_id, wait=True, action="rollback" if rollback else "interrupt"
        )
        status = "deleted" if rollback else client.runs.get(thread_id, run_id)["status"]
    _print({"run_id": run_id, "thread_id": thread_id, "status": status}, json=json)


@app.command("join")
def join_run(
    *, run_id: RunId, thread: Thread = None, json: Json = False, url: Url = DEFAULT_URL
) -> None:
    """Wait for a run, and print the values it left; exit code 1 when it failed."""
    with service_at(url) as client:
        thread_id = _thread_of(client, run_id, thread)
        values = client.runs.join(thread_id, run_id)
        status = client.runs.get(thread_id, run_id)["status"]
    _print({"run_id": run_id, "status": status, "values": values} if json else values, json=json)
    if status in {"error", "timeout"}:
        typer.echo(f"Error: the run ended with status {status}", err=True)
        raise typer.Exit(FAILED)


def _latest(
    client: "SyncLangGraphClient", thread: str | None, status: Any, limit: int
) -> list[dict[str, Any]]:
    found = [
        run
        for thread_id in _threads(client, thread)
        for run in client.runs.list(thread_id, limit=limit, status=status)
    ]
    return sorted((dict(run) for run in found), key=lambda run: run["created_at"], reverse=True)


def _threads(client: "SyncLangGraphClient", thread: str | None) -> "Iterator[str]":
    if thread is not None:
        yield thread
        return
    for found in client.threads.search(
        limit=THREADS_SEARCHED, sort_by="updated_at", sort_order="desc", select=["thread_id"]
    ):
        yield found["thread_id"]


def _thread_of(client: "SyncLangGraphClient", run_id: str, thread: str | None) -> str:
    if thread is not None:
        return thread
    import httpx  # noqa: PLC0415 - slow

    for thread_id in _threads(client, None):
        try:
            client.runs.get(thread_id, run_id)
        except httpx.HTTPStatusError as error:
            if error.response.status_code != HTTPStatus.NOT_FOUND:
                raise
        else:
            return thread_id
    where = f"the {THREADS_SEARCHED} latest threads"
    return give_up(f"run {run_id} is on none of {where}; name its thread with --thread")


def _print(value: Any, *, json: bool) -> None:
    if json:
        typer.echo(as_json(value))
    else:
        console().print_json(as_json(value))
