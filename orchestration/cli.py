"""``masterloop``: the command line, as one tree of commands.

Exit codes: 0 done; 1 it went wrong; 2 it was asked for wrongly (arguments, configuration);
130 and 143 stopped by SIGINT and SIGTERM.
"""

from importlib import metadata
from typing import Annotated

import typer

from orchestration.commands import (
    agents,
    audit,
    db,
    examining,
    keys,
    mcp,
    messages,
    running,
    runs,
    serving,
    workflows,
)
from orchestration.commands.terminal import open_what_is_closed, print_everything

app = typer.Typer(
    name="masterloop",
    help="The open run server for LangGraph agents.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)
app.command()(serving.dev)
app.command()(serving.serve)
app.command()(running.run)
app.add_typer(runs.app, name="runs")
app.add_typer(keys.app, name="keys")
app.add_typer(agents.app, name="agents")
app.add_typer(messages.app, name="messages")
app.add_typer(workflows.app, name="workflow")
app.command()(audit.audit)
app.add_typer(db.app, name="db")
app.command()(mcp.mcp)
app.command()(examining.doctor)


def show_version(wanted: bool) -> None:
    """Print the version and leave."""
    if wanted:
        typer.echo(f"masterloop {metadata.version('masterloop')}")
        raise typer.Exit


@app.callback()
def masterloop(
    *,
    version: Annotated[
        bool,
        typer.Option("--version", help="Show the version.", callback=show_version, is_eager=True),
    ] = False,
) -> None:
    """The open run server for LangGraph agents."""


def main() -> None:
    """Run the command that the arguments name; the entry point of the console script."""
    open_what_is_closed()
    print_everything()
    app(prog_name="masterloop")
