"""The sections of ``langgraph.json``, in LangGraph's words and units.

Where LangGraph's default trusts a file
that somebody else may have written (pickles, any class in a checkpoint), the default here does not.
"""

import re
from ipaddress import IPv4Network, IPv6Network, ip_network
from typing import Annotated, Any, Literal, Self

from pydantic import (
    AfterValidator,
    BeforeValidator,
    Field,
    FiniteFloat,
    Strict,
    model_validator,
)

from agents.configuration import Pools
from agents.network.configuration import NetworkSection
from coordinator.tools.configuration import Tools
from operations.sections import Count, Names, Positive, Section, mistake
from operations.telemetry.configuration import TelemetrySection

GRAPH_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,63}")
JAVASCRIPT = (".js", ".mjs", ".cjs", ".ts", ".mts", ".cts", ".jsx", ".tsx")


def _reference(value: str) -> str:
    source, _, name = value.rpartition(":")
    if source.endswith(JAVASCRIPT):
        raise mistake(f'found "{value}"', "Only graphs in Python can be served.")
    if not source or not name.isidentifier():
        raise mistake(f'found "{value}"', 'It has to be "./file.py:name" or "package.module:name".')
    return value


def _graph_name(value: str) -> str:
    if not GRAPH_NAME.fullmatch(value):
        raise mistake(
            "this cannot be the name of a graph",
            "Use at most 64 letters, digits, '_', '.' and '-', the first a letter or digit.",
        )
    return value


def _some(graphs: dict[str, Any]) -> dict[str, Any]:
    if not graphs:
        raise mistake("there is no graph", 'Add one, such as "agent": "./agent.py:graph".')
    return graphs


def _network(text: object) -> IPv4Network | IPv6Network:
    try:
        return ip_network(text) if isinstance(text, str) else ip_network("")
    except ValueError:
        raise mistake(f"found {text!r}", 'It has to be a network, such as "10.0.0.0/8".') from None


Networks = Annotated[
    tuple[Annotated[IPv4Network | IPv6Network, BeforeValidator(_network)], ...],
    Strict(strict=False),
]
Reference = Annotated[str, AfterValidator(_reference)]


class GraphSpec(Section):
    """Where a graph is, and what it is for."""

    path: Reference
    description: str | None = None


Graphs = Annotated[
    dict[
        Annotated[str, AfterValidator(_graph_name)],
        Annotated[
            GraphSpec,
            BeforeValidator(lambda value: {"path": value} if isinstance(value, str) else value),
        ],
    ],
    AfterValidator(_some),
]


class Index(Section):
    """How the store finds items by meaning."""

    dims: Count
    embed: str
    fields: Names = ("$",)


class StoreTtl(Section):
    """How long items of the store live."""

    refresh_on_read: bool = True
    default_ttl: Positive | None = None  # minutes
    sweep_interval_minutes: Positive | None = None


class StoreSection(Section):
    """``store``: the long-term memory."""

    path: Reference | None = None
    index: Index | None = None
    ttl: StoreTtl = StoreTtl()

    @model_validator(mode="after")
    def _one_store(self) -> Self:
        for key in ("index", "ttl"):
            if self.path is not None and key in self.model_fields_set:
                fix = "A store of your own has its own; leave this key out, or path."
                raise mistake("this is for the store that comes with the server", fix, key)
        return self


class ThreadTtl(Section):
    """How long checkpoints live."""

    strategy: Literal["delete", "keep_latest"] = "delete"
    default_ttl: Positive | None = None  # minutes
    sweep_interval_minutes: Positive = 5
    sweep_limit: Count = 1000  # threads


Modules = Annotated[tuple[Names, ...], Strict(strict=False)] | bool | None


class Serde(Section):
    """Which classes a checkpoint may bring back to life, beside those known to be safe."""

    allowed_json_modules: Modules = None
    allowed_msgpack_modules: Modules = None
    pickle_fallback: bool = False

    @property
    def allowed_types(self) -> tuple[tuple[str, ...], ...]:
        """The classes that are named, each as its module and its name; ``true`` names none."""
        modules = self.allowed_msgpack_modules
        return modules if isinstance(modules, tuple) else ()


class CheckpointerSection(Section):
    """``checkpointer``: where the state of threads is kept."""

    path: Reference | None = None
    ttl: ThreadTtl = ThreadTtl()
    serde: Serde = Serde()


class AuthCache(Section):
    """How long the answer of the authentication is remembered."""

    cache_keys: Names = ()
    ttl_seconds: Count | None = None
    max_size: Count | None = None


class AuthSection(Section):
    """``auth``: who may call, and what."""

    path: Reference | None = None
    disable_studio_auth: bool = False
    openapi: dict[str, Any] = Field(default_factory=dict)
    cache: AuthCache | None = None


class Cors(Section):
    """Which pages of other origins a browser lets call the server."""

    allow_origins: Names = ()
    allow_methods: Names = ("GET",)
    allow_headers: Names = ()
    allow_credentials: bool = False
    allow_origin_regex: str | None = None
    expose_headers: Names = ()
    max_age: Annotated[int, Field(ge=0)] = 600  # seconds


class HeaderFilter(Section):
    """Patterns of header names; those excluded go first."""

    includes: Names | None = None
    excludes: Names | None = None


class HttpSection(Section):
    """``http``: which routes there are, and what surrounds them."""

    app: Reference | None = None
    cors: Cors | None = None
    configurable_headers: HeaderFilter | None = None
    logging_headers: HeaderFilter | None = None
    middleware_order: Literal["auth_first", "middleware_first"] = "middleware_first"
    enable_custom_route_auth: bool | None = None
    mount_prefix: str = ""
    disable_assistants: bool = False
    disable_threads: bool = False
    disable_runs: bool = False
    disable_store: bool = False
    disable_mcp: bool = False
    disable_a2a: bool = False
    disable_meta: bool = False
    disable_ui: bool = False
    disable_webhooks: bool = False


class WebhookUrls(Section):
    """Which addresses a webhook may have."""

    require_https: bool = True
    allowed_domains: Names = ()
    allowed_ports: Annotated[
        tuple[Annotated[int, Field(ge=1, le=65535)], ...], Strict(strict=False)
    ] = ()
    max_url_length: Count = 4096  # characters
    disable_loopback: bool = True


class WebhooksSection(Section):
    """``webhooks``: how the end of a run is told to others."""

    env_prefix: str = "LG_WEBHOOK_"
    url: WebhookUrls = WebhookUrls()
    headers: dict[str, str] = Field(default_factory=dict)


class AssistantLimits(Section):
    """What the runs of one assistant may use."""

    timeout: Positive | None = None  # seconds
    max_concurrent_runs: Count | None = None  # runs at a time


class McpSection(Section):
    """``masterloop.mcp``: what hosts of the Model Context Protocol see, and how they are served."""

    assistants: Names | None = None  # graphs, names or ids of assistants; all, if it is left out
    tasks: dict[str, Literal["optional", "required", "forbidden"]] = Field(default_factory=dict)
    task_after: Annotated[FiniteFloat, Field(ge=0)] = 1.0  # seconds a call may take to be none
    on_disconnect: Literal["cancel", "continue"] = "cancel"  # of the run whose client has gone
    hosts: Names = ()  # by which the service is called, besides localhost
    origins: Names = ()  # of pages that may call, besides those of this machine
    url: str | None = None  # of /mcp as clients see it, where a proxy changes it


class MasterloopSection(Section):
    """``masterloop``: what LangGraph has no words for."""

    assistants: dict[str, AssistantLimits] = Field(default_factory=dict)
    agents: Pools = Field(default_factory=dict)
    network: NetworkSection = NetworkSection()
    workflows: Names = ()  # files, relative to this one
    tools: Tools = Field(default_factory=dict)
    mcp: McpSection = McpSection()
    telemetry: TelemetrySection = TelemetrySection()
    webhook_networks: Networks = ()  # where webhooks may go although it is not public
    manifests: Annotated[str, Field(min_length=1)] | None = None  # a folder, relative to this file
    events_ttl: Positive | None = None  # minutes that the events of a run are kept after its end
