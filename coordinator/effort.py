"""How much there is in JSON values, and how much of them is looked at to compare them."""

from typing import Any

CHARACTERS = 16  # of a text that are one item
_FEW = 64  # items
_CONTAINERS = (dict, list, tuple)


def size_of(value: Any, most: int) -> int:
    """Return how many items there are in a JSON value, itself among them.

    What is in it twice counts twice. If there are more than ``most``, not all are counted.
    """
    count, within = 1, [value]
    while within and count <= most:
        one = within.pop()
        if isinstance(one, str):
            count += len(one) // CHARACTERS
        elif isinstance(one, _CONTAINERS):
            count += len(one)
            if count > most:
                break
            within.extend(one)
            if isinstance(one, dict):
                within.extend(one.values())
    return count


def cost_of_comparing(left: Any, right: Any, most: int) -> int:
    """Return how many items are looked at to say which of two values is less, if not more.

    No more than the smaller one has: the larger one may be as large as it likes, and is not
    counted either. If it is more than ``most``, not all are counted.
    """
    enough = _FEW
    while True:
        cost = min(size_of(left, enough), size_of(right, enough))
        if cost <= enough or enough > most:
            return cost
        enough *= 4


def cost_of_finding(item: Any, whole: Any, most: int) -> int:
    """Return how many items are looked at to find one in a text, a list, or an object's keys.

    If it is more than ``most``, not all are counted.
    """
    cost = size_of(item, most)
    if isinstance(whole, str):
        return cost + size_of(whole, most)
    if isinstance(whole, list | tuple):
        each = min(cost * len(whole), most)
        return cost + min(each, size_of(whole, each))
    return cost
