"""What every section of ``langgraph.json`` has in common.

A key with the value ``null`` counts as left out.
"""

from typing import Annotated, Any, ClassVar

from pydantic import BaseModel, ConfigDict, Field, FiniteFloat, Strict, model_validator
from pydantic_core import PydanticCustomError

from operations.errors import nearest

# What a value has to be, by pydantic's type of error; its own words are those of Python.
WORDS = {
    "bool_type": "true or false",
    "dict_type": "an object",
    "float_type": "a number",
    "int_type": "a whole number",
    "model_attributes_type": "an object",
    "model_type": "an object",
    "string_type": "a string",
    "tuple_type": "a list",
}


def mistake(problem: str, fix: str, key: str = "") -> PydanticCustomError:
    """Return an error for the value being validated, or for ``key`` below it."""
    facts = {"problem": problem, "fix": fix, "key": key}
    return PydanticCustomError("mistake", "{problem}. {fix}", facts)


Names = Annotated[tuple[str, ...], Strict(strict=False)]
Positive = Annotated[FiniteFloat, Field(gt=0)]
Count = Annotated[int, Field(ge=1)]


class Section(BaseModel):
    """An object in ``langgraph.json``. It refuses keys that it does not know."""

    model_config = ConfigDict(frozen=True, strict=True)
    unused: ClassVar[frozenset[str]] = frozenset()

    @model_validator(mode="before")
    @classmethod
    def _known_keys(cls, value: Any) -> Any:
        if not isinstance(value, dict):
            return value
        known = cls.model_fields.keys() | cls.unused
        for key in value:
            if key not in known:
                raise mistake("there is no such key", nearest(key, known), key)
        return {k: v for k, v in value.items() if v is not None and k not in cls.unused}
