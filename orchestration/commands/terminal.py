"""What the commands have in common: options, where output goes, and how errors are told."""

import codecs
import io
import json
import os
import sys
from collections.abc import Generator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, NoReturn

import typer

from operations.errors import ConfigurationError
from operations.files import is_there
from operations.json_text import one_line

if TYPE_CHECKING:
    from rich.console import Console

FAILED = 1
MISUSED = 2

Json = Annotated[bool, typer.Option("--json", help="Print JSON, for programs.")]


def console(*, stderr: bool = False) -> "Console":
    """Return where to print for people. rich honours NO_COLOR, and is plain off a terminal."""
    from rich.console import Console  # noqa: PLC0415 - as slow as the rest of a start

    return Console(stderr=stderr, highlight=False, soft_wrap=True)


def as_json(value: Any) -> str:
    """Return ``value`` as one line of JSON."""
    return one_line(json.dumps(value, ensure_ascii=False, default=str))


def give_up(message: str, code: int = FAILED) -> NoReturn:
    """Say on stderr why the command ends here, and end it."""
    typer.echo(f"Error: {message}", err=True)
    raise typer.Exit(code)


def open_what_is_closed() -> None:
    """Put /dev/null where stdin, stdout or stderr is closed.

    Else the next file that is opened would be there, a database, say, and be printed into.
    """
    for number in range(3):
        try:
            os.fstat(number)
        except OSError:
            opened = os.open(os.devnull, os.O_RDWR)  # as the lowest number that is free: this one
            os.set_inheritable(opened, True)  # noqa: FBT003 - it takes no names
    sys.stdin = sys.stdin or open(0, closefd=False)  # noqa: SIM115 - until the process ends
    sys.stdout = sys.stdout or open(1, "w", closefd=False)  # noqa: SIM115 - as above
    sys.stderr = sys.stderr or open(2, "w", closefd=False)  # noqa: SIM115 - as above


def print_everything() -> None:
    """Have stdout take characters that its encoding lacks, too: as escapes, as JSON has them."""
    codecs.register_error("masterloop.json", _escaped)
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="masterloop.json")


def _escaped(error: UnicodeError) -> tuple[str, int]:
    if not isinstance(error, UnicodeEncodeError):
        raise error
    return json.dumps(error.object[error.start : error.end])[1:-1], error.end


def data_folder(*, there: bool = False) -> Path:
    """Return the service's data folder; with ``there``, end the command where it is none."""
    with configuration_errors_told():
        from operations.settings import load_settings  # noqa: PLC0415 - pydantic

        folder = load_settings().data_dir
    try:
        if there and not (is_there(folder) and folder.is_dir()):
            give_up(f"there is no data folder {folder}. MASTERLOOP_DATA_DIR says where it is")
    except OSError as error:
        give_up(f"the data folder cannot be looked at: {error}")
    return folder


def presumed_data_folder() -> Path:
    """Return the data folder; if the settings make no sense, which others tell, the usual one."""
    from operations.settings import Settings, load_settings  # noqa: PLC0415 - pydantic

    try:
        return load_settings().data_dir
    except ConfigurationError:
        folder: Path = Settings.model_fields["data_dir"].default
        return folder


@contextmanager
def configuration_errors_told() -> Generator[None]:
    """Turn a ConfigurationError into a message and exit code 2."""
    try:
        yield
    except ConfigurationError as error:
        give_up(str(error), MISUSED)


def print_found(found: Any, columns: Sequence[str], *, json: bool) -> None:
    """Print what was found, as a table or as JSON; say so if it is nothing."""
    if json:
        typer.echo(as_json(found))
    elif found:
        print_table(found, columns)
    else:
        typer.echo("There are none.", err=True)


def print_table(found: Sequence[Mapping[str, Any]], columns: Sequence[str]) -> None:
    """Print those of the columns that anything has a value for."""
    shown = [name for name in columns if any(_cell(one.get(name)) for one in found)]
    rows = [shown, *([_cell(one.get(name)) for name in shown] for one in found)]
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    for row in rows:  # ids are for copying: never cut, however narrow the terminal
        cells = (cell.ljust(width) for cell, width in zip(row, widths, strict=True))
        typer.echo("  ".join(cells).rstrip())


def _cell(value: Any) -> str:
    if isinstance(value, float):
        return f"{value:.3g}"
    if isinstance(value, list):
        return ",".join(map(str, value))
    return "" if value is None else str(value).partition("\n")[0]
