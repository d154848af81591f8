"""LangGraph's thread protocol: what its commands and event streams are told, and its refusals."""

from typing import Annotated, Any, Literal, get_args

import orjson
from pydantic import AfterValidator, BaseModel, ConfigDict, Field, WithJsonSchema
from pydantic_core import PydanticCustomError
from starlette.responses import Response

from operations.errors import nearest
from orchestration.api.asked import Asked
from orchestration.api.checkpoints import CheckpointNotFound
from orchestration.api.fields import Command, Json, RunConfig
from orchestration.api.problems import Problem, Wording

ErrorCode = Literal[
    "invalid_argument", "unknown_command", "unknown_error", "no_such_run", "no_such_namespace",
    "no_such_interrupt", "no_such_checkpoint", "permission_denied", "not_supported",
]  # fmt: skip
METHODS = [
    "run.start",
    "input.respond",
    "input.inject",
    "agent.getTree",
    "state.get",
    "state.listCheckpoints",
    "state.fork",
    "subscription.subscribe",
    "subscription.unsubscribe",
    "subscription.reconnect",
]
CHANNELS = (
    "values", "updates", "messages", "tools", "lifecycle", "input", "checkpoints", "tasks",
    "custom",
)  # fmt: skip
_MOST = 1_000  # channels, namespaces, answers
_CODES: dict[int, ErrorCode] = {
    400: "invalid_argument",
    401: "permission_denied",
    403: "permission_denied",
    404: "no_such_run",
    415: "invalid_argument",
    422: "invalid_argument",
}


class Refusal(Problem):
    """A refusal in the protocol's words."""

    def __init__(self, status: int, code: ErrorCode, message: str) -> None:
        super().__init__(status, message)
        self.code = code


def refuse(problem: Problem, _instance: str, command: int | None = None) -> Response:
    """Put ``problem`` into the protocol's error, which names the command that it answers."""
    status = 400 if problem.status == 422 else problem.status  # noqa: PLR2004 - the protocol's
    match problem:
        case Refusal():
            code = problem.code
        case CheckpointNotFound():
            code = "no_such_checkpoint"
        case _:
            code = _CODES.get(status, "unknown_error")
    body = {"type": "error", "id": command, "error": code, "message": problem.detail}
    return Response(
        orjson.dumps(body), status, headers=problem.headers, media_type="application/json"
    )


WORDING = Wording(
    "ProtocolError",
    refuse,
    {
        "description": "an error of the thread protocol; `message` says what is wrong",
        "content": {
            "application/json": {
                "schema": {
                    "type": "object",
                    "required": ["type", "id", "error", "message"],
                    "properties": {
                        "type": {"const": "error"},
                        "id": {"type": ["integer", "null"]},
                        "error": {"enum": list(get_args(ErrorCode))},
                        "message": {"type": "string"},
                    },
                }
            }
        },
    },
)


class Part(Asked):
    """The base of the protocol's objects: what a newer client adds is left aside."""

    model_config = ConfigDict(extra="ignore", frozen=True)


def _channel(name: str) -> str:
    if name not in CHANNELS and not name.startswith("custom:"):
        raise PydanticCustomError(
            "channel", "there is no such channel. {hint}", {"hint": nearest(name, CHANNELS)}
        )
    return name


Segment = Annotated[str, Field(max_length=1024)]
Namespace = Annotated[list[Segment], Field(max_length=64)]
Channel = Annotated[str, Field(max_length=255), AfterValidator(_channel)]
Number = Annotated[int, Field(ge=0, le=2**53 - 1, strict=True)]


class EventsBody(Part):
    """Which events of a thread to stream: those past ``since``, as far as they are kept."""

    channels: Annotated[list[Channel], Field(min_length=1, max_length=_MOST)]
    namespaces: Annotated[list[Namespace], Field(max_length=_MOST)] | None = None
    depth: Number | None = None
    since: Number | None = None


class Done(BaseModel):
    """What a command is answered."""

    type: Literal["success"]
    id: Number
    result: Json
    meta: Json | None = None


class CommandBody(Part):
    """A command to a thread: its number, its method, and what the method takes."""

    id: Number
    method: Annotated[
        str,
        Field(min_length=1, max_length=255),
        WithJsonSchema({"enum": METHODS}),
    ]
    params: Json = {}  # noqa: RUF012 - pydantic copies it


class Answer(Part):
    """An answer to an interrupt."""

    interrupt_id: Annotated[str, Field(max_length=255)]
    namespace: Namespace = []  # noqa: RUF012 - pydantic copies it
    response: Any = None


class RespondParams(Part):
    """How ``input.respond`` goes on: one answer, or several in ``responses``."""

    interrupt_id: Annotated[str, Field(max_length=255)] | None = None
    namespace: Namespace = []  # noqa: RUF012 - pydantic copies it
    response: Any = None
    responses: Annotated[list[Answer], Field(min_length=1, max_length=_MOST)] | None = None
    update: Any = None
    goto: Any = None
    config: RunConfig | None = None
    metadata: Json | None = None

    def answers(self) -> dict[str, Any]:
        """Return the answers by the ids of their interrupts.

        Raises:
            Refusal: there is none, or there are both forms.
        """
        if (self.interrupt_id is None) == (self.responses is None):
            raise Refusal(400, "invalid_argument", "give either interrupt_id or responses")
        if self.responses is not None:
            return {answer.interrupt_id: answer.response for answer in self.responses}
        return {str(self.interrupt_id): self.response}

    def command(self) -> Command:
        """Return the command that resumes the graph."""
        given = Command(resume=self.answers())
        if self.update is not None:
            given["update"] = self.update
        if self.goto is not None:
            given["goto"] = self.goto
        return given


class StateParams(Part):
    """What ``state.get`` shows."""

    namespace: Namespace = []  # noqa: RUF012 - pydantic copies it
    keys: list[str] | None = None


class CheckpointsParams(Part):
    """What ``state.listCheckpoints`` lists."""

    namespace: Namespace = []  # noqa: RUF012 - pydantic copies it
    limit: Annotated[int, Field(ge=1, le=1000)] = 10
    before: Annotated[str, Field(max_length=255)] | None = None


class ForkParams(Part):
    """Where ``state.fork`` begins again, and with what."""

    checkpoint_id: Annotated[str, Field(min_length=1, max_length=255)]
    input: Any = None
    config: RunConfig | None = None
