"""``masterloop db``: copies of the database, and whether it is whole."""

from pathlib import Path
from typing import Annotated

import typer

from operations.files import is_there
from orchestration.commands.terminal import data_folder, give_up

app = typer.Typer(name="db", help="Back up and check the database.", no_args_is_help=True)

NAME = "masterloop.db"


@app.command()
def backup(
    target: Annotated[Path, typer.Argument(help="The file to make; it must not be there yet.")],
) -> None:
    """Copy the database, also of a service that works; the copy is checked."""
    from operations.backup import BackupFailed, back_up  # noqa: PLC0415 - sqlite3

    try:
        size = back_up(_database(), target)
    except BackupFailed as error:
        give_up(str(error))
    typer.echo(f"{target}: {size} bytes, checked")


@app.command()
def check(
    file: Annotated[
        Path | None, typer.Argument(help="A database.", show_default="the service's")
    ] = None,
) -> None:
    """Read the whole of a database and say what is wrong with it."""
    from operations.backup import faults_of, is_ours  # noqa: PLC0415 - sqlite3
    from operations.database_errors import DatabaseError  # noqa: PLC0415 - as above

    path = file or _database()
    try:
        if not is_there(path):
            give_up(f"there is no {path}")
        faults = faults_of(path)
        ours = bool(faults) or is_ours(path)
    except DatabaseError as error:
        give_up(f"it is not known whether it is damaged: {error}")
    except OSError as error:
        give_up(f"{path} cannot be looked at: {error.strerror}")
    if faults:
        give_up(f"{path} is damaged: " + "; ".join(faults))
    if not ours:
        give_up(f"{path} is whole, but no database of Masterloop: nothing of a service is in it")
    typer.echo(f"{path}: ok")


def _database() -> Path:
    return data_folder(there=True) / NAME
