"""``masterloop audit``: who did what, beside a running service or without one."""

import typer

from operations.telemetry.trail import FOLDER, read_trail
from orchestration.commands.terminal import as_json, configuration_errors_told, give_up


def audit() -> None:
    """Print the audit trail: an entry per line, as JSON, those of one writer in order."""
    with configuration_errors_told():
        from operations.settings import load_settings  # noqa: PLC0415 - pydantic

        folder = load_settings().data_dir / FOLDER
    try:
        for entry in read_trail(folder):
            typer.echo(as_json(entry))
    except PermissionError as error:
        give_up(f"this is not all: {error}")
