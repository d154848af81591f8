"""The body of many runs at once."""

from typing import Annotated, Any

from pydantic import Field, model_validator
from pydantic.alias_generators import to_camel

from orchestration.api.run_models import RunCreate, StatelessRun

_NAMES = {to_camel(name): name for name in RunCreate.model_fields if "_" in name}


class BatchRun(StatelessRun):
    """One run of many; LangGraph's JS client sends its fields in camel case, here alone."""

    @model_validator(mode="before")
    @classmethod
    def _in_snake_case(cls, value: Any) -> Any:
        if not isinstance(value, dict):
            return value
        renamed = {_NAMES[name]: value[name] for name in value if name in _NAMES}
        return renamed | {name: value[name] for name in value if name not in _NAMES}


Batch = Annotated[list[BatchRun], Field(max_length=1000)]
