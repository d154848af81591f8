"""``masterloop agents``: look at the pools of a running service, drain them, restart them."""

from typing import Annotated, Any

import typer

from orchestration.commands.remote import DEFAULT_URL, Url, service_at
from orchestration.commands.terminal import Json, as_json, console, print_found, print_table

POOLS = ("pool", "kind", "state", "seats", "in_flight", "waiting", "capabilities", "reason")
SEATS = ("seat", "state", "tasks", "failures", "restarts", "latency", "backoff_until", "trouble")

app = typer.Typer(help="Look at agents, drain them, restart them.", no_args_is_help=True)

Pool = Annotated[str, typer.Argument(metavar="POOL", help="The name of the pool.")]


@app.command("ls")
def list_agents(
    *,
    pool: Annotated[
        str | None, typer.Argument(metavar="[POOL]", help="Its seats, not all pools.")
    ] = None,
    json: Json = False,
    url: Url = DEFAULT_URL,
) -> None:
    """List the pools, or the seats of one."""
    with service_at(url) as client:
        found: Any = client.http.get("/agents" if pool is None else f"/agents/{pool}")
    if pool is None:
        print_found(found, POOLS, json=json)
    elif json:
        typer.echo(as_json(found))
    else:
        print_table(found["agents"], SEATS)


@app.command("drain")
def drain_agents(*, pool: Pool, json: Json = False, url: Url = DEFAULT_URL) -> None:
    """Lend no more agents of a pool; each ends with the lease that it has."""
    _change(pool, "drain", url, json=json)


@app.command("restart")
def restart_agents(*, pool: Pool, json: Json = False, url: Url = DEFAULT_URL) -> None:
    """Replace the agents of a pool, each once its lease has ended; end a drain."""
    _change(pool, "restart", url, json=json)


def _change(pool: str, what: str, url: str, *, json: bool) -> None:
    with service_at(url) as client:
        found: Any = client.http.post(f"/agents/{pool}/{what}", json=None)
    if json:
        typer.echo(as_json(found))
        return
    because = f" ({found['reason']})" if found["reason"] else ""
    console().print(f"{found['pool']}: {found['state']}{because}", markup=False)
