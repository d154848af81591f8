"""A ``TypedDict`` that pydantic understands, from one that it does not.

Pydantic refuses ``typing.TypedDict`` before Python 3.12, where it lacks what
``typing_extensions.TypedDict`` records. It also refuses fields of classes that it does not know;
in what is made here it takes them as they are.
"""

from functools import reduce
from operator import or_
from types import UnionType
from typing import Any, Union, cast

import typing_extensions as te
from pydantic import ConfigDict

QUALIFIERS = {te.Required, te.NotRequired, te.ReadOnly}
UNIONS = {Union, UnionType}


def modern(type_: Any, made: dict[Any, Any] | None = None) -> Any:
    """Return ``type_`` with each ``TypedDict`` in it made anew; ``made`` has those made so far.

    One that contains itself stays as it was where it does so.
    """
    made = {} if made is None else made
    if te.is_typeddict(type_):
        return made[type_] if type_ in made else _remade(type_, made)
    origin, arguments = te.get_origin(type_), te.get_args(type_)
    if origin in QUALIFIERS:
        return modern(arguments[0], made)
    if origin is te.Annotated:
        return te.Annotated[(modern(arguments[0], made), *arguments[1:])]
    if not arguments or origin is te.Literal:
        return type_
    parts = tuple(
        part if isinstance(part, list) or part is ... else modern(part, made) for part in arguments
    )
    if origin in UNIONS:
        return reduce(or_, parts)
    return origin[parts]


def _remade(type_: Any, made: dict[Any, Any]) -> Any:
    made[type_] = type_
    hints = te.get_type_hints(type_, include_extras=True)
    fields = {
        name: modern(hint, made)
        if name in type_.__required_keys__
        else te.NotRequired[modern(hint, made)]
        for name, hint in hints.items()
    }
    make = cast("Any", te.TypedDict)
    remade = made[type_] = make(type_.__name__, fields)
    remade.__doc__ = type_.__doc__
    remade.__pydantic_config__ = ConfigDict(arbitrary_types_allowed=True)
    return remade
