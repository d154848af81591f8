"""References in the values of a workflow: ``{{ steps.a.output.x }}``, in jinja's sandbox.

A value that is one expression keeps the type of what it refers to; others are text with
expressions in it. `coordinator.sandbox` is what they can use.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

from jinja2 import TemplateError, Undefined, nodes
from jinja2.environment import TemplateExpression
from jinja2.exceptions import SecurityError, UndefinedError

from coordinator.effort import CHARACTERS
from coordinator.errors import CoordinatorError
from coordinator.sandbox import MOST_EFFORT, Sandbox

MOST_TEXT = 8_192  # characters of one template
MOST_NODES = 256  # parts of one template
MOST_DEPTH = 32  # levels of an input
REMEMBERED = 2_048  # compiled expressions
Names = Mapping[str, Any]  # what expressions may refer to

_FORBIDDEN = (nodes.Call, nodes.Pow)
# What jinja and its filters raise where something does not fit, or is nested too deep.
_MISFITS = (
    TemplateError, TypeError, ValueError, ArithmeticError, LookupError, AttributeError,
    RecursionError,
)  # fmt: skip


class ExpressionRefused(CoordinatorError):
    """A template says something that it must not, or cannot."""


class ExpressionFailed(CoordinatorError):
    """A template could not be filled in with what there is."""


@dataclass(frozen=True, slots=True)
class Reference:
    """A name that a template refers to, with the keys below it that are written out."""

    name: str
    keys: tuple[str, ...]


_SANDBOX = Sandbox()


def templates(value: Any, pointer: str = "", depth: int = 0) -> Iterator[tuple[str, str]]:
    """Yield every text of a JSON value that has an expression in it, with its pointer.

    Raises:
        ExpressionRefused: the value is too deep.
    """
    if depth > MOST_DEPTH:
        raise ExpressionRefused(f"it is more than {MOST_DEPTH} levels deep")
    if isinstance(value, str):
        if "{{" in value:
            yield pointer, value
    elif isinstance(value, Mapping):
        for key, inner in value.items():
            escaped = str(key).replace("~", "~0").replace("/", "~1")
            yield from templates(inner, f"{pointer}/{escaped}", depth + 1)
    elif isinstance(value, list | tuple):
        for number, inner in enumerate(value):
            yield from templates(inner, f"{pointer}/{number}", depth + 1)


@lru_cache(maxsize=REMEMBERED)
def references(text: str) -> frozenset[Reference]:
    """Return what a template refers to.

    Raises:
        ExpressionRefused: it is no template, or has what none may have.
    """
    return frozenset(_references(_parsed(text)))


def is_one_expression(text: str) -> bool:
    """Whether a template stands for a value of any type, and not for a text.

    Raises:
        ExpressionRefused: as `references`.
    """
    return _sole_expression(_parsed(text)) is not None


def fill_in(value: Any, names: Names) -> Any:
    """Return a JSON value with its expressions replaced by what they stand for.

    Raises:
        ExpressionFailed: something that is referred to is not there, or does not fit.
    """
    _SANDBOX.begin()
    return _replaced(value, names)


def fill_in_each(values: Iterable[tuple[Any, Names]]) -> Iterator[Any]:
    """Yield JSON values filled in, each from its names; all may take the effort of one.

    Raises:
        ExpressionFailed: as `fill_in`.
    """
    left = MOST_EFFORT
    for value, names in values:
        _SANDBOX.begin(left)
        filled = _replaced(value, names)
        left = _SANDBOX.left
        yield filled


def holds(condition: Any, names: Names) -> bool:
    """Whether a condition is true: an expression, with or without its braces.

    Raises:
        ExpressionFailed: as `fill_in`.
    """
    return bool(fill_in(braced(condition), names))


def braced(condition: Any) -> Any:
    """Return a condition as the expression that it is."""
    if isinstance(condition, str) and "{{" not in condition:
        return f"{{{{ {condition} }}}}"
    return condition


def _replaced(value: Any, names: Names) -> Any:
    if isinstance(value, str):
        return _filled(value, names) if "{{" in value else value
    if isinstance(value, Mapping):
        return {key: _replaced(inner, names) for key, inner in value.items()}
    if isinstance(value, list | tuple):
        return [_replaced(inner, names) for inner in value]
    return value


def _filled(text: str, names: Names) -> Any:
    try:
        found = _compiled(text)(names)
    except UndefinedError as error:
        raise ExpressionFailed(f"{text}: {error.message}") from error
    except _MISFITS as error:
        raise ExpressionFailed(f"{text}: {error}") from error
    return found


@lru_cache(maxsize=REMEMBERED)
def _compiled(text: str) -> Callable[[Names], Any]:
    tree = _parsed(text)
    sole = _sole_expression(tree)
    if sole is None:
        template = _SANDBOX.from_string(tree)
        return lambda names: _SANDBOX.concatenated(template.generate(**names))
    path = _path(sole)
    if path is not None:  # by far the most, and making code of one takes a millisecond
        return lambda names: _followed(*path, names)
    # As `compile_expression` does it, but of what was looked at, not of the text once more.
    result = nodes.Assign(nodes.Name("result", "store"), sole, lineno=1)
    code = _SANDBOX.from_string(nodes.Template([result], lineno=1))
    expression = TemplateExpression(code, undefined_to_none=False)
    return lambda names: _plain(expression(**names))


def _sole_expression(tree: nodes.Template) -> nodes.Expr | None:
    """Return the one expression that a text consists of; None if there is more to it."""
    if len(tree.body) != 1 or not isinstance(tree.body[0], nodes.Output):
        return None
    parts = tree.body[0].nodes
    return None if len(parts) != 1 or isinstance(parts[0], nodes.TemplateData) else parts[0]


def _followed(name: str, keys: Sequence[Any], names: Names) -> Any:
    value = names[name] if name in names else _SANDBOX.undefined(name=name)
    for key in keys:
        value = (
            _SANDBOX.getattr(value, key) if isinstance(key, str) else _SANDBOX.getitem(value, key)
        )
    if isinstance(value, Undefined):
        str(value)  # says what is missing
    _SANDBOX.spend_on(value)
    return _copied(value)


def _copied(value: Any) -> Any:
    """Return a JSON value such that whoever gets it may change it."""
    if isinstance(value, dict):
        return {key: _copied(inner) for key, inner in value.items()}
    if isinstance(value, list | tuple):
        return [_copied(inner) for inner in value]
    return value


def _plain(value: Any) -> Any:
    """Return as JSON what an expression gave: a filter may have given an iterator.

    Raises:
        UndefinedError: something in it is not there.
        SecurityError: it is not JSON, or there is too much of it.
    """
    _SANDBOX.spend(1)
    match value:
        case Undefined():
            str(value)  # says what is missing
        case dict():
            keys = (key for key in value if isinstance(key, str))
            _SANDBOX.spend(sum(map(len, keys)) // CHARACTERS)
            return {key: _plain(inner) for key, inner in value.items()}
        case int() if not -(2**63) <= value < 2**64:
            raise SecurityError("it gives a number of more than 64 bits")
        case str():
            _SANDBOX.spend(len(value) // CHARACTERS)
            return value
        case int() | float() | None:
            return value
        case list() | tuple() | Iterator():
            return [_plain(inner) for inner in value]
        case _:
            raise SecurityError(f"it gives {type(value).__name__}, which is not JSON")
    return None


def _parsed(text: str) -> nodes.Template:
    if len(text) > MOST_TEXT:
        raise ExpressionRefused(f"it is longer than {MOST_TEXT} characters")
    try:
        tree = _SANDBOX.parse(text)
    except TemplateError as error:
        raise ExpressionRefused(f"{error.message}") from error
    except RecursionError:
        raise ExpressionRefused("it is nested too deep") from None
    for count, node in enumerate(_walk(tree)):
        if count > MOST_NODES:
            raise ExpressionRefused(f"it has more than {MOST_NODES} parts")
        _require_allowed(node)
    return tree


def _walk(node: nodes.Node) -> Iterator[nodes.Node]:
    for child in node.iter_child_nodes():
        yield child
        yield from _walk(child)


def _require_allowed(node: nodes.Node) -> None:
    if isinstance(node, nodes.Stmt) and not isinstance(node, nodes.Output):
        raise ExpressionRefused("it has a statement; only expressions, {{ … }}, can be used")
    if isinstance(node, _FORBIDDEN):
        raise ExpressionRefused("functions, methods and powers cannot be used; filters can")
    if isinstance(node, nodes.Filter) and node.name not in _SANDBOX.filters:
        known = ", ".join(sorted(_SANDBOX.filters))
        raise ExpressionRefused(f"there is no filter {node.name!r}. Known are: {known}")
    if isinstance(node, nodes.Test) and node.name not in _SANDBOX.tests:
        raise ExpressionRefused(f"there is no test {node.name!r}")


def _references(node: nodes.Node) -> Iterator[Reference]:
    path = _path(node)
    if path is not None:
        yield Reference(path[0], tuple(map(str, path[1])))
        return
    for child in node.iter_child_nodes():
        yield from _references(child)


def _path(node: nodes.Node) -> tuple[str, list[Any]] | None:
    """Return the name and the keys that a reference consists of; None if it is something else."""
    keys: list[Any] = []
    while not isinstance(node, nodes.Name):
        if isinstance(node, nodes.Getattr):
            keys.append(node.attr)
        elif isinstance(node, nodes.Getitem) and isinstance(node.arg, nodes.Const):
            keys.append(node.arg.value)
        else:
            return None
        node = node.node
    return node.name, keys[::-1]
