"""``masterloop audit``: who did what, beside a running service or without one."""

import typer

from operations.telemetry.trail import FOLDER, read_trail
from orchestration.commands.terminal import as_json, data_folder, give_up


def audit() -> None:
    """Print the audit trail: an entry per line, as JSON, those of one writer in order."""
    folder = data_folder(there=True) / FOLDER
    entry = None
    try:
        for entry in read_trail(folder):
            typer.echo(as_json(entry))
    except OSError as error:
        give_up(f"this is not all: {error}")
    if entry is None:
        typer.echo(f"There are none in {folder}.", err=True)
