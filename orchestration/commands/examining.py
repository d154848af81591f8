"""``masterloop doctor``: is this machine fit to run the service?"""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from operations.ports import DEFAULT_PORT, LAST_PORT
from orchestration.commands.db import NAME
from orchestration.commands.terminal import FAILED, Json, as_json, console, presumed_data_folder

if TYPE_CHECKING:
    from operations.doctor import Finding

COLOURS = {"ok": "green", "warning": "yellow", "problem": "red"}


def doctor(
    *,
    config: Annotated[Path, typer.Option(help="The langgraph.json to try.")] = Path(
        "langgraph.json"
    ),
    host: Annotated[str, typer.Option(help="The address to listen on.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(min=1, max=LAST_PORT, help="The port.")] = DEFAULT_PORT,
    json: Json = False,
) -> None:
    """Check this machine and the configuration; exit code 1 when something is wrong."""
    from operations.doctor import Verdict  # noqa: PLC0415 - most commands need none of it

    findings = examine(config, host, port)
    if json:
        entries = [{"check": f.check, "verdict": f.verdict, "detail": f.detail} for f in findings]
        typer.echo(as_json(entries))
    else:
        out = console()
        for finding in findings:
            colour = COLOURS[finding.verdict]
            out.print(f"[{colour}]{finding.verdict:8}[/] {finding.check:22}", end="")
            out.print(finding.detail, markup=False)
    if any(finding.verdict is Verdict.PROBLEM for finding in findings):
        raise typer.Exit(FAILED)


def examine(config: Path, host: str, port: int) -> "list[Finding]":
    """Make every check."""
    from langgraph.checkpoint.serde import _msgpack  # noqa: PLC0415 - langgraph

    from operations import doctor as checks  # noqa: PLC0415
    from operations.database_check import check_database  # noqa: PLC0415
    from operations.migrations import load_migrations  # noqa: PLC0415
    from operations.settings import load_settings  # noqa: PLC0415 - pydantic
    from orchestration.store import migrations  # noqa: PLC0415

    data_dir = presumed_data_folder()

    def settings() -> str:
        load_settings()
        return "understood"

    def manifest() -> str:
        from orchestration.graphs.manifest import load_manifest  # noqa: PLC0415

        graphs = ", ".join(load_manifest(config).graphs)
        return f"{config}: {graphs}"

    return [
        checks.check_python(),
        *(checks.check_package(name) for name in checks.FLOORS),
        checks.check_strict_msgpack(strict=_msgpack.STRICT_MSGPACK_ENABLED),
        checks.check_sqlite(),
        checks.check_open_files(),
        checks.check_port(host, port),
        checks.check_data_folder(data_dir),
        checks.check_disk_space(data_dir),
        check_database(data_dir / NAME, load_migrations(migrations.__name__)),
        checks.check_loads("settings", settings),
        checks.check_loads("configuration", manifest),
    ]
