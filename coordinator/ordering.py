"""The filters that compare items: jinja's own look at as much as they like."""

from collections.abc import Callable, Iterable, Iterator
from typing import Any

from jinja2 import Environment
from jinja2.filters import ignore_case, make_attrgetter, make_multi_attrgetter

By = str | int | None  # an attribute of each item; None: the item itself


class Ordering:
    """Sorts, and finds the least, the most and what is there once, as jinja's filters do.

    ``look_at`` is called with every value before it is compared.
    """

    def __init__(self, environment: Environment, look_at: Callable[[Any], None]) -> None:
        self._environment = environment
        self._look_at = look_at

    def sort(
        self,
        value: Iterable[Any],
        reverse: bool = False,  # noqa: FBT001, FBT002 - jinja's
        case_sensitive: bool = False,  # noqa: FBT001, FBT002 - jinja's
        attribute: By = None,
    ) -> list[Any]:
        """Return the items in their order."""
        key = make_multi_attrgetter(self._environment, attribute, self._as_compared(case_sensitive))
        return sorted(value, key=key, reverse=reverse)

    def unique(
        self,
        value: Iterable[Any],
        case_sensitive: bool = False,  # noqa: FBT001, FBT002 - jinja's
        attribute: By = None,
    ) -> Iterator[Any]:
        """Yield the first of all items that are the same."""
        key = self._key(attribute, case_sensitive)
        seen: set[Any] = set()
        for item in value:
            found = key(item)
            if found not in seen:
                seen.add(found)
                yield item

    def furthest(
        self,
        choose: Callable[..., Any],
        value: Iterable[Any],
        case_sensitive: bool = False,  # noqa: FBT001, FBT002 - jinja's
        attribute: By = None,
    ) -> Any:
        """Return the item that ``choose`` takes, `min` or `max`; undefined if there is none."""
        nothing = self._environment.undefined("there is no item to choose from")
        return choose(value, key=self._key(attribute, case_sensitive), default=nothing)

    def _key(self, attribute: By, case_sensitive: bool) -> Callable[[Any], Any]:  # noqa: FBT001
        return make_attrgetter(self._environment, attribute, self._as_compared(case_sensitive))

    def _as_compared(self, case_sensitive: bool) -> Callable[[Any], Any]:  # noqa: FBT001
        def compared(value: Any) -> Any:
            self._look_at(value)
            return value if case_sensitive else ignore_case(value)

        return compared
