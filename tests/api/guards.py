"""``Auth`` objects that the API's tests serve; a token is ``Bearer <name>``."""

from typing import Any
from uuid import UUID, uuid4

from langgraph_sdk import Auth
from starlette.requests import Request

from orchestration.store.assistants import default_assistant

# Exactly the example of LangGraph's documentation: one handler, owners in metadata.
owners = Auth()


def _name(authorization: str | None) -> str:
    scheme, _, name = (authorization or "").partition(" ")
    if scheme != "Bearer" or name not in {"alice", "bob"}:
        raise Auth.exceptions.HTTPException(status_code=401, detail="Invalid token")
    return name


@owners.authenticate
async def owner(authorization: str | None) -> Auth.types.MinimalUserDict:
    return {"identity": _name(authorization), "permissions": ["read"], "org": "acme"}  # type: ignore[typeddict-unknown-key]


@owners.on
async def own(ctx: Auth.types.AuthContext, value: Any) -> dict[str, str]:
    filters = {"owner": ctx.user.identity}
    value.setdefault("metadata", {}).update(filters)
    return filters


# Each resource by its own handler, and the store by names.
resources = Auth()


@resources.authenticate  # type: ignore[type-var]
def sync(headers: dict[bytes, bytes], path: str, method: str, missing: str = "default") -> str:
    assert path.startswith("/"), method
    assert missing == "default"
    return _name(headers.get(b"authorization", b"").decode())


@resources.on
async def deny(ctx: Auth.types.AuthContext, value: Any) -> bool:
    return False


@resources.on.threads
async def own_thread(ctx: Auth.types.AuthContext, value: Any) -> dict[str, Any]:
    return {"readers": {"$contains": ctx.user.identity}}


@resources.on.threads.create
async def make_thread(ctx: Auth.types.AuthContext, value: Any) -> None:
    value["metadata"]["readers"] = [ctx.user.identity, *value["metadata"].get("share", [])]


@resources.on.threads.delete
async def nobody_deletes(ctx: Auth.types.AuthContext, value: Any) -> None:
    raise Auth.exceptions.HTTPException(status_code=418, detail="kept", headers={"x-why": "law"})


@resources.on.assistants(actions=["read", "search"])
async def see_assistants(ctx: Auth.types.AuthContext, value: Any) -> bool:
    return True


@resources.on.store
async def own_items(ctx: Auth.types.AuthContext, value: Any) -> None:
    value["namespace"] = (ctx.user.identity, *(value["namespace"] or ()))


@resources.on.crons
async def no_crons(ctx: Auth.types.AuthContext, value: Any) -> None:
    raise AssertionError("no crons here")


# One that asks for all there is to know of a request.
curious = Auth()


@curious.authenticate
async def all_there_is(
    *,
    request: Request,
    body: Any,
    path: str,
    method: str,
    path_params: dict[str, str],
    query_params: dict[str, str],
    headers: dict[bytes, bytes],
    authorization: str | None,
    scopes: list[str],
) -> dict[str, Any]:
    assert (request.method, request.url.path, await request.body()) == (method, path, b"")
    assert (method, body, path_params, query_params, scopes) == ("GET", None, {}, {}, [])
    assert headers[b"authorization"].decode() == authorization
    return {"identity": _name(authorization), "permissions": ["admin"]}


# One where everybody makes assistants, and changes their own.
making = Auth()
making.authenticate(owner)


@making.on.assistants.create
async def mark_made(ctx: Auth.types.AuthContext, value: Any) -> None:
    value["metadata"]["owner"] = ctx.user.identity


@making.on.assistants.update
async def change_own(ctx: Auth.types.AuthContext, value: Any) -> dict[str, str]:
    assert value["assistant_id"].version
    value["metadata"]["by"] = ctx.user.identity
    return {"owner": ctx.user.identity}


class Person:
    """A user as an object."""

    def __init__(self, identity: str) -> None:
        self.identity = identity
        self.permissions = ["a", "b"]
        self.team = "blue"


objects = Auth()


@objects.authenticate
async def person(
    request: Request, body: dict[str, Any] | None, query_params: dict[str, str]
) -> Any:
    sent = await request.json() if await request.body() else None
    assert sent == body
    return Person(query_params.get("as", "nobody"))


# One that reads the whole body before it looks who sent it.
reading = Auth()


@reading.authenticate
async def reader(body: dict[str, Any] | None, authorization: str | None) -> str:
    assert body == {}
    return _name(authorization)


# Handlers that rely on what LangGraph's server shows them, and change it.
shaping = Auth()


@shaping.authenticate
async def anybody() -> str:
    return "carl"


@shaping.on.threads.create
async def name_thread(ctx: Auth.types.AuthContext, value: Any) -> None:
    value["metadata"]["told"] = str(value["thread_id"])
    assert value["if_exists"] in {"raise", "do_nothing"}


@shaping.on.threads.create_run
async def tell_run(ctx: Auth.types.AuthContext, value: Any) -> None:
    assert value["thread_id"] is None or value["thread_id"].version
    assert (ctx.resource, ctx.action) == ("threads", "create_run")
    value["kwargs"]["config"].setdefault("configurable", {})["plan"] = "gold"


@shaping.on.threads.search
async def only_filter(ctx: Auth.types.AuthContext, value: Any) -> dict[str, Any]:
    assert (value["limit"], value["offset"]) == (10, 0)
    return {"told": {"$eq": "nothing"}}


@shaping.on.assistants.create
async def filter_alone(ctx: Auth.types.AuthContext, value: Any) -> dict[str, Any]:
    return {"owner": ctx.user.identity}


@shaping.on.assistants.read
async def not_understood(ctx: Auth.types.AuthContext, value: Any) -> Any:
    return {"owner": {"$like": "c%"}}


# One that has every run of everybody on one plan, and some assistants run by nobody.
planning = Auth()
planning.authenticate(anybody)


@planning.on.threads.create_run
async def plan_run(ctx: Auth.types.AuthContext, value: Any) -> bool:
    await tell_run(ctx=ctx, value=value)
    return bool(value["assistant_id"] != UUID(default_assistant("failing")))


# One that writes into the input of a run when it looked at it.
stamping = Auth()
stamping.authenticate(anybody)


@stamping.on.threads.create_run
async def stamp_input(ctx: Auth.types.AuthContext, value: Any) -> None:
    value["kwargs"]["input"]["text"] += f" {uuid4()}"


# One that looks threads and runs up by their ids.
looking_up = Auth()
looking_up.authenticate(anybody)


@looking_up.on.threads
async def look_up(ctx: Auth.types.AuthContext, value: Any) -> bool:
    ids = [value[name] for name in ("thread_id", "run_id") if value.get(name) is not None]
    return all(isinstance(one, UUID) for one in ids)


nobody = Auth()

# One that writes down who changes a cron.
noting = Auth()
noting.authenticate(anybody)


@noting.on.crons.update
async def note_change(ctx: Auth.types.AuthContext, value: Any) -> None:
    value["metadata"]["by"] = ctx.user.identity


KEPT = UUID("00000000-0000-4000-8000-00000000000a")


@noting.on.threads.delete
async def keep_one(ctx: Auth.types.AuthContext, value: Any) -> bool:
    return bool(value["thread_id"] != KEPT)


# Everything but runs.
runless = Auth()
runless.authenticate(owner)


@runless.on.threads.create_run
async def no_runs(ctx: Auth.types.AuthContext, value: Any) -> bool:
    return False


# One for all, but whoever looks at assistants and threads is let in by handlers of their own.
lookers = Auth()
lookers.authenticate(owner)
lookers.on(own)


@lookers.on.assistants
async def look_at_all(ctx: Auth.types.AuthContext, value: Any) -> bool:
    return True


@lookers.on.threads.read
async def look_at_own(ctx: Auth.types.AuthContext, value: Any) -> dict[str, str]:
    return {"owner": ctx.user.identity}


# One for all, which lets nobody run anything.
runs_nothing = Auth()
runs_nothing.authenticate(owner)


@runs_nothing.on
async def only_look(ctx: Auth.types.AuthContext, value: Any) -> dict[str, str] | bool:
    return False if ctx.action == "create_run" else {"owner": ctx.user.identity}


# One whose runs are decided otherwise than its items, and one that decides for items alone.
sorting = Auth()
sorting.authenticate(owner)
sorting.on(own)
items_alone = Auth()
items_alone.authenticate(owner)


@sorting.on.threads.create_run
async def run_anything(ctx: Auth.types.AuthContext, value: Any) -> bool:
    return True


@items_alone.on.store
async def keep_apart(ctx: Auth.types.AuthContext, value: Any) -> dict[str, str]:
    return {"owner": ctx.user.identity}


# One where all runs of the day are used up.
used_up = Auth()
used_up.authenticate(anybody)


@used_up.on.threads.create_run
async def no_more_today(ctx: Auth.types.AuthContext, value: Any) -> None:
    raise Auth.exceptions.HTTPException(
        status_code=429,
        detail="today's runs are used up; try again tomorrow, or ask Ada",
        headers={"retry-after": "7200"},
    )
