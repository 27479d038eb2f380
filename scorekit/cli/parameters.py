"""Values on the command line: numbers, names of components, JSON."""

import json
from collections.abc import Sequence
from typing import Any

from scorekit.cli.errors import UsageError
from scorekit.config import Json


def parse_params(given: Sequence[str]) -> dict[str, Any]:
    """ "key=value" each; a value is JSON where it can be read as such, else a string: the name of a component.

    Raises:
        UsageError: for one that has no "=", no key, or a key that is there already.
    """
    params: dict[str, Any] = {}
    for each in given:
        key, sign, value = each.partition("=")
        if not sign or not key.isidentifier() or key in params:
            reason = "given twice" if key in params else "expected key=value"
            raise UsageError(f"--param {each}: {reason}")
        params[key] = to_value(value)
    return params


def to_value(text: str) -> Any:
    """What a word of the command line stands for: its JSON value, with lists as tuples; itself where it is no JSON."""
    try:
        return _tuples(json.loads(text))
    except ValueError:
        return text


def _tuples(value: Json) -> object:
    """Lists as tuples, which components take."""
    match value:
        case list():
            return tuple(map(_tuples, value))
        case dict():
            return {key: _tuples(each) for key, each in value.items()}
    return value
