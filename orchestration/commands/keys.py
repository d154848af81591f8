"""``masterloop keys``: API keys, beside a running service or without one."""

import getpass
import os
import re
from collections.abc import Generator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from operations.keys import FOLDER as KEYS
from operations.keys import KeyFolder, KeyScope
from operations.telemetry.events import KeyChanged
from operations.telemetry.trail import FOLDER, write_down
from orchestration.commands.terminal import (
    MISUSED,
    Json,
    as_json,
    console,
    data_folder,
    give_up,
)

if TYPE_CHECKING:
    from operations.keys import ApiKey, KeyEntry

app = typer.Typer(name="keys", help="Make, list and revoke API keys.", no_args_is_help=True)

_SPAN = re.compile(r"([1-9][0-9]{0,5})([mhd])")
_UNITS = {"m": "minutes", "h": "hours", "d": "days"}


@app.command()
def create(
    *,
    owner: Annotated[str, typer.Option(help="Whose it is; keys of one owner share everything.")],
    scope: Annotated[
        KeyScope, typer.Option(help="read: look only; run: work; admin: see and do everything.")
    ] = "run",
    expires: Annotated[
        str | None,
        typer.Option(help="When it ends: 30m, 12h, 90d, or a date.", show_default="never"),
    ] = None,
    json: Json = False,
) -> None:
    """Make a key and print it: it is shown this once."""
    if not owner.strip() or len(owner) > 255:  # noqa: PLR2004 - as all names in the API
        give_up("--owner: 1 to 255 characters", MISUSED)
    until = None if expires is None else _moment(expires)
    folder = KeyFolder(data_folder())
    with _disk_errors_told():
        first = not folder.exists
        key, token = folder.create(owner, scope, until)
    _write_down("made", key.key_id)
    typer.echo(as_json({**_shown(key), "key": token}) if json else token)
    if first:
        typer.echo(
            "This is the first key here: from its next start on, the service asks for one.",
            err=True,
        )


@app.command("ls")
def list_keys(*, json: Json = False) -> None:
    """List the keys; what is listed cannot be used as one."""
    folder = data_folder(there=True)
    try:
        entries = KeyFolder(folder).all()
    except OSError as error:
        give_up(f"the keys cannot be read: {error}")
    if json:
        typer.echo(as_json([_listed(entry) for entry in entries]))
        return
    if not entries:
        typer.echo(f"There are none in {folder / KEYS}.", err=True)
    out = console()
    for entry in entries:
        key = entry.key
        state = "expired" if key.expired else f"until {key.expires_at or 'revoked'}"
        used = entry.last_used_at or "never"
        line = f"{key.key_id}  {key.scope:5}  {key.owner}  {state}, last used {used}"
        out.print(line, markup=False)


@app.command()
def revoke(key_id: Annotated[str, typer.Argument(help="The id, as listed.")]) -> None:
    """Let a key be none from now on, also for a service that runs."""
    with _disk_errors_told():
        revoked = KeyFolder(data_folder()).revoke(key_id)
    if not revoked:
        give_up(f"there is no key {key_id}. See them with: masterloop keys ls")
    _write_down("revoked", key_id)
    typer.echo(f"revoked {key_id}")


@contextmanager
def _disk_errors_told() -> Generator[None]:
    try:
        yield
    except OSError as error:
        give_up(f"the keys cannot be changed: {error}")


def _write_down(change: Literal["made", "revoked"], key_id: str) -> None:
    """Tell the audit. A key that is to be revoked is, whatever the disk says."""
    event = KeyChanged(change, key_id, _account())
    try:
        write_down(data_folder() / FOLDER, event)
    except OSError as error:
        typer.echo(f"Warning: the audit trail does not tell of this: {error}", err=True)


def _account() -> str:
    try:
        return getpass.getuser()
    except (KeyError, OSError):  # a uid without an account, as containers have; OSError from 3.13
        return f"uid {os.getuid()}"


def _shown(key: "ApiKey") -> dict[str, str | None]:
    return {
        "key_id": key.key_id,
        "owner": key.owner,
        "scope": key.scope,
        "created_at": key.created_at,
        "expires_at": key.expires_at,
    }


def _listed(entry: "KeyEntry") -> dict[str, str | bool | None]:
    return {
        **_shown(entry.key),
        "last_used_at": entry.last_used_at,
        "expired": entry.key.expired,
    }


def _moment(text: str) -> datetime:
    if span := _SPAN.fullmatch(text):
        return datetime.now(UTC) + timedelta(**{_UNITS[span[2]]: int(span[1])})
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        give_up(f"--expires {text}: say 30m, 12h, 90d, or a date such as 2030-01-31", MISUSED)
    moment = moment if moment.tzinfo else moment.replace(tzinfo=UTC)
    if moment <= datetime.now(UTC):
        give_up(f"--expires {text}: that is over already", MISUSED)
    return moment
