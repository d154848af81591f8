"""Prompts: texts that assistants declare in their metadata, under ``prompts``."""

import re
from collections.abc import Iterator, Mapping
from typing import Any

import mcp_types as wire
from mcp.shared.exceptions import MCPError
from mcp_types import INVALID_PARAMS
from pydantic import BaseModel, ConfigDict, TypeAdapter, ValidationError

from orchestration.mcp import results
from orchestration.mcp.catalogue import Catalogue
from orchestration.mcp.resources import only_page
from orchestration.mcp.visit import Context, visit_of
from orchestration.store.assistants import PROMPTS, Assistant

_FIELD = re.compile(r"\{(\w+)\}")


class Argument(BaseModel):
    """What is to be put into a text."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    name: str
    description: str | None = None
    required: bool = False


class Declared(BaseModel):
    """A prompt; ``{name}`` in its text stands for an argument."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    name: str
    text: str
    title: str | None = None
    description: str | None = None
    arguments: tuple[Argument, ...] = ()


_PROMPTS = TypeAdapter(tuple[Declared, ...])


class Prompts:
    """Answers what concerns prompts. What is no declaration of one is passed over."""

    def __init__(self, catalogue: Catalogue) -> None:
        self._catalogue = catalogue

    async def list(
        self, ctx: Context, params: wire.PaginatedRequestParams | None
    ) -> wire.ListPromptsResult:
        """List the prompts of the assistants that are tools."""
        only_page(params)
        listed: list[wire.Prompt] = []
        async for assistant in self._catalogue.assistants(visit_of(ctx).call):
            listed += [
                wire.Prompt(
                    name=name,
                    title=prompt.title,
                    description=prompt.description,
                    arguments=[wire.PromptArgument(**one.model_dump()) for one in prompt.arguments],
                )
                for name, prompt in self._of(assistant)
            ]
        return wire.ListPromptsResult(prompts=listed)

    async def get(self, ctx: Context, params: wire.GetPromptRequestParams) -> wire.GetPromptResult:
        """Fill one in."""
        async for assistant in self._catalogue.assistants(visit_of(ctx).call):
            for name, prompt in self._of(assistant):
                if name == params.name:
                    return _filled_in(prompt, params.arguments or {})
        raise results.no_such("prompt", params.name)

    def _of(self, assistant: Assistant) -> Iterator[tuple[str, Declared]]:
        try:
            declared = _PROMPTS.validate_python(assistant.metadata.get(PROMPTS) or ())
        except ValidationError:
            return
        for prompt in declared:
            yield f"{self._catalogue.name(assistant)}_{prompt.name}", prompt


def _filled_in(prompt: Declared, arguments: Mapping[str, Any]) -> wire.GetPromptResult:
    missing = [one.name for one in prompt.arguments if one.required and one.name not in arguments]
    if missing:
        raise MCPError(INVALID_PARAMS, f"Missing arguments: {', '.join(missing)}")
    known = {one.name for one in prompt.arguments}

    def value(match: re.Match[str]) -> str:
        name = match[1]
        return str(arguments.get(name, "")) if name in known else match[0]

    text = wire.TextContent(text=_FIELD.sub(value, prompt.text))
    message = wire.PromptMessage(role="user", content=text)
    return wire.GetPromptResult(description=prompt.description, messages=[message])
