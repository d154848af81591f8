"""The bodies and query strings of assistants."""

from typing import Annotated, ClassVar, Literal

from pydantic import ConfigDict, Field

from orchestration.api.asked import Body, Query
from orchestration.api.fields import EITHER, WHOLE, Id, Json, Limit, Offset, RunConfig, SortOrder

AssistantField = Literal[
    "assistant_id", "graph_id", "name", "description", "config", "context", "created_at",
    "updated_at", "metadata", "version",
]  # fmt: skip

AssistantSort = Literal["assistant_id", "graph_id", "name", "created_at", "updated_at"]


class AssistantCreate(Body):
    """A new assistant."""

    model_config = ConfigDict(json_schema_extra=EITHER)
    named: ClassVar[str] = "assistant_id"

    graph_id: Annotated[str, Field(min_length=1, max_length=255)]
    assistant_id: Id | None = None
    name: Annotated[str, Field(max_length=255)] | None = None
    description: str | None = None
    config: RunConfig | None = None
    context: Json | None = None
    metadata: Json | None = None
    if_exists: Literal["raise", "do_nothing"] = "raise"


class AssistantPatch(Body):
    """What to change of an assistant."""

    model_config = ConfigDict(json_schema_extra=EITHER)

    graph_id: Annotated[str, Field(min_length=1, max_length=255)] | None = None
    name: Annotated[str, Field(max_length=255)] | None = None
    description: str | None = None
    config: RunConfig | None = None
    context: Json | None = None
    metadata: Json | None = None


class AssistantFilter(Body):
    """Which assistants."""

    graph_id: str | None = None
    name: str | None = None
    metadata: Json | None = None


class AssistantSearch(AssistantFilter):
    """Which assistants, in what order, how many."""

    limit: Limit = 10
    offset: Offset = 0
    sort_by: AssistantSort | None = None
    sort_order: SortOrder | None = None
    select: list[AssistantField] | None = None


class AssistantVersions(Body):
    """Which versions of an assistant."""

    metadata: Json | None = None
    limit: Limit = 10
    offset: Offset = 0


class AssistantLatest(Body):
    """The version that an assistant is to have."""

    version: Annotated[int, Field(ge=1, le=2**53), WHOLE]


class AssistantDelete(Query):
    """Whether the threads that ran an assistant last go with it."""

    delete_threads: bool = False


class GraphQuery(Query):
    """How deep to draw a graph: subgraphs opened to that many levels, or all."""

    xray: Annotated[int, WHOLE] | bool = False


class SubgraphsQuery(Query):
    """Whether to list the subgraphs of subgraphs."""

    recurse: bool = False
