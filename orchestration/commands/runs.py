"""``masterloop runs``: look at the runs of a running service, wait for them, cancel them."""

from typing import TYPE_CHECKING, Annotated, Any

import typer

from orchestration.commands.remote import DEFAULT_URL, Url, service_at
from orchestration.commands.terminal import FAILED, Json, as_json, console, give_up, print_found

if TYPE_CHECKING:
    from langgraph_sdk.client import SyncLangGraphClient

COLUMNS = ("run_id", "thread_id", "status", "attempt", "created_at", "error")

app = typer.Typer(help="Look at runs, wait for them, cancel them.", no_args_is_help=True)

RunId = Annotated[str, typer.Argument(metavar="RUN", help="The id of the run.")]
Thread = Annotated[str | None, typer.Option(help="Its thread.")]


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
        if dead:
            found = client.http.get("/dead-letters", params={"limit": limit})
        else:
            path = f"/threads/{thread}/runs" if thread else "/runs"
            asked: dict[str, str | int] = {"limit": limit} | ({"status": status} if status else {})
            found = client.http.get(path, params=asked)
    print_found(found, COLUMNS, json=json)


@app.command("get")
def get_run(
    *, run_id: RunId, thread: Thread = None, json: Json = False, url: Url = DEFAULT_URL
) -> None:
    """Show one run."""
    with service_at(url) as client:
        run = _get(client, run_id, thread)
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
        thread_id = _get(client, run_id, thread)["thread_id"]
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
        thread_id = _get(client, run_id, thread)["thread_id"]
        values = client.runs.join(thread_id, run_id)
        status = client.runs.get(thread_id, run_id)["status"]
    _print({"run_id": run_id, "status": status, "values": values} if json else values, json=json)
    if status in {"error", "timeout"}:
        typer.echo(f"Error: the run ended with status {status}", err=True)
        raise typer.Exit(FAILED)


def _get(client: "SyncLangGraphClient", run_id: str, thread: str | None) -> dict[str, Any]:
    if thread is not None:
        return dict(client.runs.get(thread, run_id))
    found: list[dict[str, Any]] = client.http.get("/runs", params={"run_id": run_id})
    return found[0] if found else give_up(f"there is no run {run_id}")


def _print(value: Any, *, json: bool) -> None:
    if json:
        typer.echo(as_json(value))
    else:
        console().print_json(as_json(value))
