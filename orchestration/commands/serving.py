"""``masterloop dev`` and ``masterloop serve``: the service in this process."""

import gc
import ipaddress
import sys
from functools import partial
from importlib import metadata
from pathlib import Path
from typing import Annotated, NoReturn

import typer

from operations.ports import DEFAULT_PORT, LAST_PORT, PortTaken, choose_port
from orchestration.commands.following import end_with
from orchestration.commands.terminal import (
    MISUSED,
    configuration_errors_told,
    console,
    give_up,
)

Host = Annotated[str, typer.Option(help="The address to listen on.")]
Config = Annotated[Path, typer.Option(help="The langgraph.json to serve.")]
Jobs = Annotated[
    int | None,
    typer.Option(
        "--n-jobs-per-worker",
        min=1,
        help="The most runs at a time.",
        show_default="MASTERLOOP_MAX_CONCURRENT_RUNS, or 100",
    ),
]
Follow = Annotated[
    int | None, typer.Option(hidden=True, help="End once nobody has the other end of a pipe.")
]
Open = Annotated[
    bool,
    typer.Option(
        "--insecure-open",
        "--i-know-this-is-open",
        help="Listen beyond this machine although nobody is asked who they are.",
    ),
]


def dev(
    *,
    host: Host = "127.0.0.1",
    port: Annotated[
        int | None,
        typer.Option(
            min=1,
            max=LAST_PORT,
            help="The port to listen on.",
            show_default=f"{DEFAULT_PORT}, or the next free one",
        ),
    ] = None,
    config: Config = Path("langgraph.json"),
    jobs: Jobs = None,
    reload: Annotated[
        bool, typer.Option(help="Start again when a file in the config's folder changes.")
    ] = False,
    no_browser: Annotated[
        bool, typer.Option("--no-browser", help="Accepted; none is ever opened.")
    ] = False,
    allow_blocking: Annotated[
        bool,
        typer.Option("--allow-blocking", help="Accepted; blocking code is named, not refused."),
    ] = False,
    follow: Follow = None,
    known_open: Open = False,
) -> None:
    """Serve the graphs of a langgraph.json while you work on them."""
    del no_browser, allow_blocking
    if follow is not None:
        end_with(follow)
    _refuse_strangers(host, config, known_open=known_open)
    chosen = _free_port(host, port)
    out = console(stderr=True)
    if port is None and chosen != DEFAULT_PORT:
        out.print(f"[yellow]Port {DEFAULT_PORT} is in use; taking {chosen}.[/]")
    if not reload:
        _print_banner(host, chosen, config)
        _serve(config, host, chosen, jobs, for_people=True)
    arguments = ["--host", host, "--port", str(chosen), "--config", str(config)]
    arguments += ["--n-jobs-per-worker", str(jobs)] if jobs else []
    arguments += ["--insecure-open"] if known_open else []
    _reload(config, arguments)


def serve(
    *,
    host: Host = "127.0.0.1",
    port: Annotated[int, typer.Option(min=1, max=LAST_PORT, help="The port.")] = DEFAULT_PORT,
    config: Config = Path("langgraph.json"),
    jobs: Jobs = None,
    workers: Annotated[
        int | None,
        typer.Option(
            min=0,
            max=256,
            help="Processes for graphs; 0: the server's own.",
            show_default="MASTERLOOP_WORKERS, or 0",
        ),
    ] = None,
    follow: Follow = None,
    known_open: Open = False,
) -> None:
    """Serve the graphs of a langgraph.json."""
    if follow is not None:
        end_with(follow)
    _refuse_strangers(host, config, known_open=known_open)
    _serve(config, host, _free_port(host, port), jobs, workers=workers)


def _reload(config: Path, arguments: list[str]) -> NoReturn:
    """Serve in a process of its own, which starts again on changes."""
    from orchestration.commands import reloading  # noqa: PLC0415 - watchfiles

    # -P: a folder of the project may be called as one of our packages, agents say.
    command = [sys.executable, "-P", "-m", "orchestration", "dev", *arguments]
    folder = config.resolve().parent
    console(stderr=True).print(f"Watching {folder} for changes.")
    try:
        written = partial(reloading.written_folders, config)
        raise typer.Exit(reloading.supervise(command, folder, written))
    except OSError as error:
        give_up(f"{folder} cannot be watched: {error}")


def _serve(
    config: Path,
    host: str,
    port: int,
    jobs: int | None,
    *,
    workers: int | None = None,
    for_people: bool = False,
) -> None:
    gc.disable()  # until it serves: looking for garbage took an eighth of a start, and found none
    with configuration_errors_told():
        from operations.settings import load_settings  # noqa: PLC0415 - pydantic

        # Who tries things out wants them to stop at once, and reads what they say.
        settings = load_settings(
            max_concurrent_runs=jobs, workers=workers, drain_delay=0.0 if for_people else None
        )
        if settings.log_format == "auto":
            log_format = "console" if for_people else "json"
            settings = settings.model_copy(update={"log_format": log_format})
        from orchestration import server  # noqa: PLC0415 - langgraph and all the rest

        raise typer.Exit(server.serve(config, host, port, settings))


def _refuse_strangers(host: str, config: Path, *, known_open: bool) -> None:
    if _is_loopback(host):
        return
    if known_open:
        typer.echo(f"Warning: whoever reaches {host} can use this service as it is.", err=True)
        return
    with configuration_errors_told():
        from operations.settings import load_settings  # noqa: PLC0415 - pydantic
        from orchestration.api.auth.opening import has_authority  # noqa: PLC0415 - langgraph
        from orchestration.graphs.manifest import load_manifest  # noqa: PLC0415 - pydantic

        if has_authority(load_manifest(config), load_settings()):
            return
    give_up(
        f"--host {host}: whoever reaches this address could run your graphs, for nobody is asked "
        "who they are. Make a key (masterloop keys create --owner NAME), set auth.path in "
        f"{config}, or set MASTERLOOP_OIDC_ISSUER; or add --insecure-open",
        MISUSED,
    )


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def _free_port(host: str, asked: int | None) -> int:
    try:
        return choose_port(host, asked)
    except PortTaken as error:
        give_up(f"{error}. Choose another with --port", MISUSED)
    except OSError as error:
        give_up(f"cannot listen on {host}: {error.strerror}", MISUSED)


def _print_banner(host: str, port: int, config: Path) -> None:
    url = f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"
    out = console(stderr=True)
    out.print(f"[bold]Masterloop {metadata.version('masterloop')}[/]")
    for name, value in [
        ("API", url),
        ("Docs", f"{url}/docs"),
        ("Health", f"{url}/readyz"),
        ("Graphs", str(config)),
    ]:
        out.print(f"  {name:7} {value}", markup=False)
    out.print("  Ctrl-C to stop\n")
