"""What a file of the authors holds, as JSON, with each tensor replaced by a reference to where it is kept.

None, bool, int, str, finite float    itself
float                                 {"float": "nan"}, "inf" or "-inf" where JSON has no number
tensor                                {"tensor": [file, name]}
list                                  [...]
tuple                                 {"tuple": [...]}
dict                                  {"dict": [[key, value], ...]}, in order
OrderedDict                           {"ordered": [[key, value], ...], "attributes": [...]}; torch's model states
                                      keep the versions of their modules as an attribute
"""

import math
from collections import OrderedDict
from collections.abc import Callable
from typing import Any, TypeAlias

from torch import Tensor

from scorekit._kinds import brief
from scorekit.config import Json
from scorekit.interop.layout import is_dense

Place: TypeAlias = tuple[int | str | None, ...]
"""The indices and keys that lead to a value from the top."""

Reference: TypeAlias = tuple[str, str]
"""The file and the name that a tensor is kept under."""

_DEEPEST = 16  # the files are 6 deep; one that contains itself has no end


def to_tree(value: object, keep: Callable[[Place, Tensor], Reference], place: Place = ()) -> Json:
    """A value as JSON.

    Args:
        value: the value.
        keep: takes a tensor and its place, and says where it is kept.
        place: where the value itself is.

    Raises:
        TypeError: if there is something in it that is not in the table above, naming its place.
        ValueError: if it is too deep.
    """
    if len(place) > _DEEPEST:
        raise ValueError(f"{shown(place)}: expected containers {_DEEPEST} deep at most")
    if value is None or type(value) in (bool, int, str):
        return value  # pyrefly: ignore[bad-return]
    if type(value) is float:
        return value if math.isfinite(value) else {"float": str(value)}
    if is_dense(value):
        return {"tensor": list(keep(place, value))}
    if type(value) is list:
        return [to_tree(item, keep, (*place, i)) for i, item in enumerate(value)]
    if type(value) is tuple:
        return {"tuple": [to_tree(item, keep, (*place, i)) for i, item in enumerate(value)]}
    if type(value) is dict:
        return {"dict": _items(value, keep, place)}
    if type(value) is OrderedDict:
        return {"ordered": _items(value, keep, place), "attributes": _items(vars(value), keep, (*place, None))}
    raise TypeError(f"{shown(place)} = {brief(value)}: expected tensors, numbers, strings and plain containers")


def from_tree(node: Json, fetch: Callable[[str, str], Tensor]) -> object:
    """The inverse.

    Args:
        node: what `to_tree` made.
        fetch: the tensor kept in a file under a name.

    Raises:
        ValueError: if it is not in the form above.
    """
    match node:
        case None | bool() | int() | float() | str():
            return node
        case list():
            return [from_tree(item, fetch) for item in node]
        case {"float": str(text)}:
            return float(text)
        case {"tensor": [str(file), str(name)]}:
            return fetch(file, name)
        case {"tuple": list(items)}:
            return tuple(from_tree(item, fetch) for item in items)
        case {"dict": list(items)}:
            return dict(_pairs(items, fetch))
        case {"ordered": list(items), "attributes": list(attributes)}:
            ordered: OrderedDict[Any, object] = OrderedDict(_pairs(items, fetch))
            vars(ordered).update(_pairs(attributes, fetch))
            return ordered
    raise ValueError(f"expected a node of a stored file; found {brief(node)}")


def shown(place: Place) -> str:
    """A place for a message."""
    return f"the file{''.join(f'[{step!r}]' for step in place)}"


def _items(value: dict[Any, object], keep: Callable[[Place, Tensor], Reference], place: Place) -> Json:
    for key in value:
        if type(key) not in (int, str):
            raise TypeError(f"{shown(place)} has the key {brief(key)}: expected strings and integers")
    return [[key, to_tree(item, keep, (*place, key))] for key, item in value.items()]


def _pairs(items: list[Json], fetch: Callable[[str, str], Tensor]) -> list[tuple[Any, object]]:
    pairs = []
    for item in items:
        match item:
            case [(int() | str()) as key, node]:
                pairs.append((key, from_tree(node, fetch)))
            case _:
                raise ValueError(f"expected a key and a value; found {brief(item)}")
    return pairs
