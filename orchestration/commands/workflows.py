"""``masterloop workflow``: look for mistakes in a workflow, and run one on a running service."""

import json as jsonlib
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from orchestration.commands.remote import DEFAULT_URL, Url, sendable, service_at
from orchestration.commands.running import read_input
from orchestration.commands.terminal import (
    FAILED,
    Json,
    as_json,
    configuration_errors_told,
    console,
)

if TYPE_CHECKING:
    from coordinator.checking import Known, Mistake

app = typer.Typer(help="Check declared workflows, and run them.", no_args_is_help=True)

File = Annotated[Path, typer.Argument(metavar="FILE", help="A workflow, as JSON.")]


@app.command("check")
def check(
    *,
    file: File,
    config: Annotated[
        Path, typer.Option(help="The langgraph.json with the agents, tools and graphs.")
    ] = Path("langgraph.json"),
    json: Json = False,
) -> None:
    """Say what is wrong with a workflow, and where; exit code 1 if anything is."""
    mistakes = _mistakes(file, config)
    if json:
        typer.echo(as_json([{"pointer": one.pointer, "detail": one.problem} for one in mistakes]))
    for one in () if json else mistakes:
        typer.echo(f"{file}: {one}")
    if mistakes:
        raise typer.Exit(FAILED)
    if not json:
        typer.echo(f"{file}: no mistakes", err=True)


@app.command("run")
def run(
    *,
    file: File,
    given: Annotated[
        str, typer.Argument(metavar="INPUT", help="JSON; @FILE, or - for stdin.")
    ] = "{}",
    json: Json = False,
    url: Url = DEFAULT_URL,
) -> None:
    """Run a workflow on a running service, wait for it, and print what its steps gave."""
    from orchestration.graphs.workflow_files import read_workflow  # noqa: PLC0415 - slow

    with configuration_errors_told():
        document = read_workflow(file)
    body = {"workflow": sendable(document, file), "input": read_input(given)}
    with service_at(url) as client:
        accepted: Any = client.http.post("/workflows/runs", json=body)
        thread_id, run_id = accepted["thread_id"], accepted["run_id"]
        typer.echo(f"run {run_id} on thread {thread_id}", err=True)
        values: Any = client.runs.join(thread_id, run_id)
        ended = client.runs.get(thread_id, run_id)
    status = ended["status"]
    shown = {"thread_id": thread_id, "run_id": run_id, "status": status, "values": values}
    if json:
        typer.echo(as_json(shown))
    else:
        console(stderr=True).print(f"[bold]{status}[/]")
        typer.echo(jsonlib.dumps(values, ensure_ascii=False, indent=2))
    if status in {"error", "timeout"}:
        raise typer.Exit(FAILED)


def _mistakes(file: Path, config: Path) -> "tuple[Mistake, ...]":
    from coordinator.checking import WorkflowRefused, checked  # noqa: PLC0415 - slow
    from orchestration.graphs.workflow_files import read_workflow  # noqa: PLC0415 - slow

    with configuration_errors_told():
        document = read_workflow(file)
        known = _known(config)
    try:
        checked(document, known)
    except WorkflowRefused as refused:
        return refused.mistakes
    return ()


def _known(config: Path) -> "Known":
    """Return who is there to do steps; without a langgraph.json, everybody may be."""
    from coordinator.checking import Known  # noqa: PLC0415 - slow
    from orchestration.graphs.manifest import load_manifest  # noqa: PLC0415 - slow
    from orchestration.graphs.workflow_files import configured  # noqa: PLC0415 - slow

    if config == Path("langgraph.json") and not config.exists():
        typer.echo(
            "no langgraph.json here: whether agents, tools and graphs exist is not checked",
            err=True,
        )
        return Known()
    return configured(load_manifest(config))
