"""``masterloop run``: submit one run to a running service and wait for it."""

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from orchestration.commands.remote import DEFAULT_URL, Url, read_json, sendable, service_at
from orchestration.commands.terminal import FAILED, MISUSED, Json, as_json, console, give_up

if TYPE_CHECKING:
    from langgraph_sdk.client import SyncLangGraphClient
    from langgraph_sdk.schema import RunCreateMetadata, StreamMode, StreamPart

SUMMARY = 160  # characters of an event shown


def run(
    *,
    assistant: Annotated[str, typer.Argument(help="The assistant, or the graph.")],
    text: Annotated[
        str, typer.Argument(metavar="[JSON|@file|-]", help="The input; - reads it from stdin.")
    ] = "{}",
    thread: Annotated[
        str | None, typer.Option(help="The thread to run on.", show_default="a new one")
    ] = None,
    follow: Annotated[bool, typer.Option("--follow", help="Show progress while it runs.")] = False,
    json: Json = False,
    url: Url = DEFAULT_URL,
) -> None:
    """Run an assistant of a running service, wait for it, and print what came of it."""
    submitted = read_input(text)
    sendable(assistant, "the name of the assistant")
    with service_at(url) as client:
        thread_id = thread or client.threads.create()["thread_id"]
        watcher = Watcher(json=json)
        try:
            result = _wait(client, thread_id, assistant, submitted, watcher, follow=follow)
        except KeyboardInterrupt:
            watcher.say_how_to_go_on(thread_id)
            raise
        status = client.runs.get(thread_id, watcher.run_id)["status"] if watcher.run_id else "error"
    failed = status != "success" and "__interrupt__" not in result
    if json:
        ids = {"thread_id": thread_id, "run_id": watcher.run_id, "status": status}
        typer.echo(as_json({**ids, "result": result}))
    else:
        watcher.show_result(thread_id, status, result)
    if failed:
        raise typer.Exit(FAILED)


def read_input(text: str) -> Any:
    """Return the JSON that an argument gives, names as ``@file``, or leaves to stdin with ``-``."""
    try:
        if text == "-":
            return sendable(read_json(sys.stdin.read()))
        if text.startswith("@"):
            return sendable(read_json(Path(text[1:]).read_text(encoding="utf-8")))
        return sendable(read_json(text))
    except OSError as error:
        give_up(f"{text[1:]}: {error.strerror}", MISUSED)
    except ValueError as error:
        give_up(f"the input is not JSON: {error}", MISUSED)


class Watcher:
    """Follows one run, and tells people or programs about it."""

    def __init__(self, *, json: bool) -> None:
        self.run_id: str | None = None
        self._json = json
        self._out = console()
        self._progress = console(stderr=True)

    def created(self, run: "RunCreateMetadata") -> None:
        """Remember which run it is."""
        self.run_id = run["run_id"]

    def show(self, part: "StreamPart") -> None:
        """Show one event."""
        if self._json:
            typer.echo(as_json({"event": part.event, "data": part.data}))
        elif part.event.startswith(("updates", "custom")):
            text = as_json(part.data)
            text = text if len(text) <= SUMMARY else f"{text[:SUMMARY]}…"
            self._progress.print(f"[dim]{part.event:8}[/] ", end="")
            self._progress.print(text, markup=False)

    def show_result(self, thread_id: str, status: str, result: dict[str, Any]) -> None:
        """Print how the run ended, and its result; a failure and the ids go to stderr."""
        self._progress.print(f"run {self.run_id} on thread {thread_id}: [bold]{status}[/]")
        if error := result.get("__error__"):
            typer.echo(f"Error: {error.get('error')}: {error.get('message')}", err=True)
        else:
            self._out.print_json(as_json(result))

    def say_how_to_go_on(self, thread_id: str) -> None:
        """Say that the run does not end with the command."""
        if self.run_id:
            ids = f"{self.run_id} --thread {thread_id}"
            typer.echo(f"\nIt goes on. To cancel it: masterloop runs cancel {ids}", err=True)


def _wait(
    client: "SyncLangGraphClient",
    thread_id: str,
    assistant: str,
    submitted: Any,
    watcher: Watcher,
    *,
    follow: bool,
) -> dict[str, Any]:
    arguments: dict[str, Any] = {
        "input": submitted,
        "if_not_exists": "create",
        "on_disconnect": "continue",
        "on_run_created": watcher.created,
    }
    if not follow:
        values = client.runs.wait(thread_id, assistant, raise_error=False, **arguments)
        return values if isinstance(values, dict) else {"values": values}
    result: dict[str, Any] = {}
    modes: list[StreamMode] = ["values", "updates", "custom"]
    for part in client.runs.stream(thread_id, assistant, stream_mode=modes, **arguments):
        match part.event:
            case "values":
                result = part.data if isinstance(part.data, dict) else {"values": part.data}
            case "error":
                result = {"__error__": part.data}
            case "updates" if "__interrupt__" in part.data:
                result = {**result, **part.data}
            case _:
                watcher.show(part)
    return result
