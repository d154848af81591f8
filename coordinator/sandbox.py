"""Jinja's sandbox with what expressions can use of it, and a bound on the effort that they take.

There are no statements, no calls and no methods, and of the filters only those whose result is
about as large as what they are given. That bounds each of them; what they all do together, for one
value, is counted and bounded as well.
"""

import json
import operator
import threading
from collections.abc import Callable, Iterable, Iterator
from functools import partial, wraps
from typing import Any, cast

from jinja2 import StrictUndefined, Undefined, nodes
from jinja2.compiler import CodeGenerator, Frame
from jinja2.exceptions import SecurityError
from jinja2.sandbox import ImmutableSandboxedEnvironment

from coordinator.effort import CHARACTERS, cost_of_comparing, cost_of_finding, size_of
from coordinator.ordering import Ordering

MOST_RESULT = 4 * 1024 * 1024  # characters of a text that is made
MOST_EFFORT = 500_000  # items and look-ups, to fill in one value; 16 characters are an item
_LARGEST = 2**64  # of whole numbers
_DIGITS = 15  # of what is rounded
_TRIMMED = 64  # characters that are looked for at the ends of a text

_FILTERS = (
    "abs", "default", "dictsort", "first", "float", "items", "last", "length", "list", "lower",
    "map", "reject", "rejectattr", "reverse", "select", "selectattr", "string", "title", "upper",
    "wordcount",
)  # fmt: skip
_AT_ONCE = frozenset({"default", "first", "last", "length"})  # whatever the size
_AS_TEXT = frozenset({
    "float", "int", "join", "lower", "reverse", "string", "title", "tojson", "trim", "upper",
    "wordcount",
})  # fmt: skip
_WHOLE = frozenset({  # they look at all that is within what they are given
    "dictsort", "lower", "string", "title", "tojson", "trim", "upper", "wordcount",
})  # fmt: skip
_OF_NUMBERS = ("divisibleby", "even", "odd")  # tests, with %, which is another thing for a text
_ARITHMETIC = frozenset({"+", "-", "*", "/", "//", "%", "**"})
_COMPARISONS: dict[str, Callable[[Any, Any], Any]] = {  # as jinja calls what is written < or >=
    "eq": operator.eq,
    "ne": operator.ne,
    "lt": operator.lt,
    "lteq": operator.le,
    "gt": operator.gt,
    "gteq": operator.ge,
    "in": lambda item, whole: item in whole,
    "notin": lambda item, whole: item not in whole,
}
_COMPARING = {  # tests, by name
    "==": "eq", "eq": "eq", "equalto": "eq", "!=": "ne", "ne": "ne", "<": "lt", "lt": "lt",
    "lessthan": "lt", "<=": "lteq", "le": "lteq", ">": "gt", "gt": "gt", "greaterthan": "gt",
    ">=": "gteq", "ge": "gteq", "in": "in",
}  # fmt: skip


class _Left(threading.local):
    effort = MOST_EFFORT


class _Code(CodeGenerator):
    """Has the sandbox do what jinja would do in Python itself."""

    def visit_Concat(self, node: nodes.Concat, frame: Frame) -> None:  # noqa: N802 - jinja's
        """Have texts put together by ``Sandbox.concatenated``."""
        self.write("environment.concatenated((")
        for part in node.nodes:
            self.visit(part, frame)
            self.write(", ")
        self.write("))")

    def visit_Compare(self, node: nodes.Compare, frame: Frame) -> None:  # noqa: N802 - jinja's
        """Have values compared by ``Sandbox.compared``."""
        self.write("environment.compared(")
        self.visit(node.expr, frame)
        for operand in node.ops:
            self.write(f", ({operand.op!r}, lambda: ")
            self.visit(operand.expr, frame)
            self.write(")")
        self.write(")")

    def visit_Getitem(self, node: nodes.Getitem, frame: Frame) -> None:  # noqa: N802 - jinja's
        """Have slices cut by ``Sandbox.getitem``, too."""
        if not isinstance(node.arg, nodes.Slice):
            super().visit_Getitem(node, frame)
            return
        self.write("environment.getitem(")
        self.visit(node.node, frame)
        self.write(", slice(")
        for bound in (node.arg.start, node.arg.stop, node.arg.step):
            self.visit(nodes.Const(None) if bound is None else bound, frame)
            self.write(", ")
        self.write("))")


class Sandbox(ImmutableSandboxedEnvironment):
    """What compiles and evaluates expressions."""

    intercepted_binops = _ARITHMETIC
    code_generator_class = _Code

    def __init__(self) -> None:
        super().__init__(
            undefined=StrictUndefined,
            finalize=self._text,
            autoescape=False,
            keep_trailing_newline=True,
        )
        self._left = _Left()
        ordering = Ordering(self, self.spend_on)
        own: dict[str, Callable[..., Any]] = {
            "int": _int,
            "join": self._join,
            "max": partial(ordering.furthest, max),
            "min": partial(ordering.furthest, min),
            "round": _round,
            "sort": ordering.sort,
            "sum": _sum,
            "tojson": _to_json,
            "trim": _trim,
            "unique": ordering.unique,
        }
        filters = {name: self.filters[name] for name in _FILTERS} | own
        self.filters = {name: self._counted(name, use) for name, use in filters.items()}
        tests = cast("dict[str, Callable[..., Any]]", self.tests)
        tests = tests | {name: _of_numbers(name, tests[name]) for name in _OF_NUMBERS}
        self.tests = {
            name: partial(self._compare, _COMPARING[name])
            if name in _COMPARING
            else self._counted(name, use)
            for name, use in tests.items()
        }
        self.globals.clear()

    @property
    def left(self) -> int:
        """How much effort may still be taken in this thread."""
        return self._left.effort

    def begin(self, effort: int = MOST_EFFORT) -> None:
        """Allow so much effort, as one value may take, from now on and in this thread."""
        self._left.effort = effort

    def spend(self, effort: int) -> None:
        """Take so much of what is left of the effort.

        Raises:
            SecurityError: there is not so much left.
        """
        self._left.effort -= effort
        if self.left < 0:
            raise SecurityError(f"it takes more than {MOST_EFFORT} items and look-ups")

    def spend_on(self, value: Any) -> None:
        """Take as much as there is in a JSON value: to refer to it twice is to hand it on twice.

        Raises:
            SecurityError: there is not so much left.
        """
        self.spend(size_of(value, self.left))

    def getattr(self, obj: Any, attribute: str) -> Any:
        """Return what JSON has under that key: nothing has methods here."""
        if isinstance(obj, Undefined):
            return super().getattr(obj, attribute)  # says what is missing
        return self.getitem(obj, attribute)

    def getitem(self, obj: Any, argument: Any) -> Any:
        """Return an item of a list, of an object, or of a text; or a slice."""
        self.spend(_length("list", obj) if isinstance(argument, slice) else 1)
        try:
            return obj[argument]
        except (LookupError, TypeError):
            if isinstance(obj, Undefined):
                raise
            missing: Any = argument
            return self.undefined(obj=obj, name=missing)

    def call_binop(self, context: Any, operator: str, left: Any, right: Any) -> Any:
        """Calculate with numbers; the only other sums are of two texts or two lists."""
        if all(isinstance(side, int | float) for side in (left, right)):
            if any(isinstance(side, int) and abs(side) > _LARGEST for side in (left, right)):
                raise SecurityError(f"{operator!r} is for numbers of at most 64 bits")
        elif operator == "+" and isinstance(left, str) and isinstance(right, str):
            return self.concatenated((left, right))
        elif operator == "+" and type(left) is type(right):
            self.spend(_length(operator, left) + _length(operator, right))
        else:
            raise SecurityError(f"{operator!r} is for numbers")
        return super().call_binop(context, operator, left, right)

    def compared(self, value: Any, *others: tuple[str, Callable[[], Any]]) -> Any:
        """Return whether each value stands to the next one as is said: in ``a < b < c``, say."""
        found = True
        for comparison, other in others:
            following = other()
            found = self._compare(comparison, value, following)
            if not found:
                break
            value = following
        return found

    def concatenated(self, values: Iterable[Any]) -> str:
        """Return values as one text.

        Raises:
            SecurityError: it would be too long.
        """
        text = self._join(values)
        self.spend(len(text) // CHARACTERS)
        return text

    def _join(self, values: Iterable[Any], separator: str = "") -> str:
        """Return values as one text.

        Raises:
            SecurityError: it would be too long.
        """
        kept: list[str] = []
        length = 0
        for value in values:
            kept.append(self._text(value))
            length += len(kept[-1]) + len(separator)
            if length > MOST_RESULT:
                raise SecurityError(f"the text is longer than {MOST_RESULT} characters")
        return separator.join(kept)

    def _text(self, value: Any) -> str:
        """Return a value as text; whoever uses it counts the text itself."""
        if not isinstance(value, str):
            self.spend_on(value)
        return str(value)

    def _compare(self, comparison: str, left: Any, right: Any) -> Any:
        left, right = _whole(left), _whole(right)
        cost = cost_of_finding if comparison in {"in", "notin"} else cost_of_comparing
        self.spend(1 + cost(left, right, self.left))
        return _COMPARISONS[comparison](left, right)

    def _counted(self, name: str, use: Callable[..., Any]) -> Callable[..., Any]:
        """Return a filter or a test that takes effort."""

        @wraps(use)
        def counted(*args: Any, **kwargs: Any) -> Any:
            given = args if name not in _WHOLE else tuple(map(_whole, args))
            self.spend(1)
            before = self.left
            for value in (*given, *kwargs.values()):
                self.spend(_cost(name, value, self.left))
            cost = before - self.left
            found = use(*given, **kwargs)
            if isinstance(found, str):  # made of what was counted, and may be larger
                self.spend(max(0, len(found) // CHARACTERS - cost))
            return self._each(found) if isinstance(found, Iterator) else found

        return counted

    def _each(self, found: Iterator[Any]) -> Iterator[Any]:
        """Yield what an iterator gives, and take effort as it does: it works only then."""
        for item in found:
            self.spend(1)
            yield item


def _cost(name: str, value: Any, most: int) -> int:
    """Return how much a filter or a test of that name has to do with a value.

    If it is more than ``most``, not all is counted.
    """
    if name in _AT_ONCE:
        return 0
    inside = name in _WHOLE and not isinstance(value, str)
    return size_of(value, most) if inside else _length(name, value)


def _length(name: str, value: Any) -> int:
    """Return how many items a value has for what is called so; those within them do not count."""
    if not isinstance(value, str | list | tuple | dict):
        return 0
    size = len(value)  # pyright: ignore[reportUnknownArgumentType]
    return size // CHARACTERS if isinstance(value, str) and name in _AS_TEXT else size


def _whole(value: Any) -> Any:
    """Return a value that can be measured: of an iterator, all that it gives."""
    return list(value) if isinstance(value, Iterator) else value


def _int(value: Any, default: Any = 0) -> Any:
    """Return a whole number, in base 10: others have no bound on how many digits they read."""
    try:
        return int(value)
    except (TypeError, ValueError, OverflowError):
        pass
    try:
        return int(float(value))
    except (TypeError, ValueError, OverflowError):
        return default


def _of_numbers(name: str, use: Callable[..., bool]) -> Callable[..., bool]:
    def test(value: Any, *others: Any) -> bool:
        if isinstance(value, str):
            raise SecurityError(f"{name!r} is for numbers")
        return use(value, *others)

    return test


def _trim(value: Any, chars: str | None = None) -> str:
    if chars is not None and len(chars) > _TRIMMED:
        raise SecurityError(f"it trims at most {_TRIMMED} characters")
    return str(value).strip(chars)


def _sum(value: Iterable[Any]) -> Any:
    return sum(value)


def _round(value: float, precision: int = 0) -> float:
    return round(value, max(-_DIGITS, min(precision, _DIGITS)))


def _to_json(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False)
