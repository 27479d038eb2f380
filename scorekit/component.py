"""One registered component: its parameters, read from its signature, and what their annotations admit.

Annotations decide two things. A parameter whose annotation contains a kind (`Proposal`, `Kernel[Any]`,
`StepSize | float | None`, ...) takes the name of a component of that kind. A parameter whose annotation is made of
kinds, numbers, strings and None takes nothing else; any other annotation (`tuple[int, ...]`, a callable, ...) is the
component's own business.
"""

import inspect
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, is_dataclass
from difflib import get_close_matches
from functools import partial
from numbers import Integral, Real
from types import NoneType, UnionType
from typing import Any, Union, final, get_args, get_origin, get_type_hints

from scorekit._kinds import brief
from scorekit.hookspecs import KINDS


@final
@dataclass(frozen=True)
class Component:
    """What a plugin gave under one name.

    Args:
        kind: a key of `KINDS`.
        name: its name within the kind.
        plugin: the name of the plugin it came from.
        factory: the class or function that makes it.
        parameters: the parameters of `factory`, with their annotations resolved.
    """

    kind: str
    name: str
    plugin: str
    factory: Callable[..., Any]
    parameters: Mapping[str, inspect.Parameter]

    @property
    def title(self) -> str:
        """How messages name it."""
        return f"the {KINDS[self.kind].singular} {self.name!r} of plugin {self.plugin!r}"

    def require(self, names: Iterable[str], path: str) -> None:
        """Refuse parameters that the signature does not have, and a call that lacks one it needs.

        Raises:
            TypeError: with the close matches and all parameters.
        """
        takes = ", ".join(self.parameters) or "no parameters"
        given = set(names)
        for name in sorted(given - self.parameters.keys()):
            close = suggest(name, self.parameters)
            raise TypeError(f"{path}: unknown parameter {name!r}{close}; {self.title} takes {takes}")
        missing = [name for name, p in self.parameters.items() if p.default is p.empty and name not in given]
        if missing:
            raise TypeError(f"{path}: missing {', '.join(map(repr, missing))}; {self.title} takes {takes}")

    def check(self, name: str, value: object, path: str) -> None:
        """Refuse a value that the parameter's annotation rules out.

        Raises:
            TypeError: with the value and the annotation.
        """
        hint = self.parameters[name].annotation
        if not admits(hint, value):
            raise TypeError(f"{path} = {brief(value)}: expected {inspect.formatannotation(hint)} by {self.title}")


def read_parameters(factory: Callable[..., Any]) -> dict[str, inspect.Parameter]:
    """The named parameters of a class or function, with their annotations resolved.

    Raises:
        TypeError: if there is no signature, an annotation cannot be resolved, or a parameter has no name of its own
            (positional only, `*args`, `**kwargs`): then it could not be configuration.
    """
    try:
        found = inspect.signature(factory).parameters
        hints = get_type_hints(_annotated(factory))
    except Exception as error:  # annotations are the plugin's code, and may raise anything
        raise TypeError(f"its signature cannot be read: {type(error).__name__}: {error}") from error
    for name, p in found.items():
        if p.kind not in (p.POSITIONAL_OR_KEYWORD, p.KEYWORD_ONLY):
            raise TypeError(f"its parameter {name!r} is {p.kind.description}: a component's parameters are named")
    return {name: p.replace(annotation=hints.get(name, Any)) for name, p in found.items()}


def _annotated(factory: Callable[..., Any]) -> object:
    """Where the annotations are: a dataclass's own, since its __init__ forgets which module a base class came from."""
    if isinstance(factory, partial):
        return _annotated(factory.func)
    return factory.__init__ if inspect.isclass(factory) and not is_dataclass(factory) else factory


def alternatives(hint: object) -> tuple[object, ...]:
    """The members of a union, with generic aliases reduced to their class: `Kernel[Any] | None` -> Kernel, NoneType."""
    origin = get_origin(hint)
    if origin in (Union, UnionType):
        return tuple(part for member in get_args(hint) for part in alternatives(member))
    return (origin or (NoneType if hint is None else hint),)


def kind_of(hint: object) -> str | None:
    """The kind of component that a name given for an annotation stands for; None if a string stands for itself."""
    parts = alternatives(hint)
    return None if str in parts else next(filter(None, map(_kind, parts)), None)


def admits(hint: object, value: object) -> bool:
    """Whether a value meets an annotation made of kinds, numbers, strings and None; True for any other annotation."""
    parts = [_NUMBERS.get(part, part) for part in alternatives(hint)]
    classes = tuple(part for part in parts if isinstance(part, type) and (part in _PLAIN or _kind(part)))
    if len(classes) < len(parts):
        return True
    return bool in classes if isinstance(value, bool) else isinstance(value, classes)


_NUMBERS: dict[object, object] = {int: Integral, float: Real}
_PLAIN = (Integral, Real, str, bool, NoneType)


def _kind(part: object) -> str | None:
    return next((k for k, kind in KINDS.items() if isinstance(part, type) and issubclass(part, kind.base)), None)


def read_reference(value: Mapping[str, object], kind: str, path: str) -> tuple[str, Mapping[str, object]]:
    """The name and the parameters in {"name": ..., "params": {...}}, where "params" and "kind" may be left out.

    Raises:
        TypeError: if it has other keys, no name, another kind, or values of other types.
    """
    name, params = value.get("name"), value.get("params", {})
    known = value.keys() <= {"kind", "name", "params"} and isinstance(kind, str) and value.get("kind", kind) == kind
    if known and isinstance(name, str) and isinstance(params, Mapping) and all(isinstance(key, str) for key in params):
        return name, params
    rule = f'{{"kind": {kind!r}, "name": "...", "params": {{...}}}}'
    raise TypeError(f"{path} = {brief(value)}: expected {rule}, with strings for kind and name and nothing else")


def suggest(name: str, known: Iterable[str], cutoff: float = 0.6) -> str:
    """'; did you mean ...?' with the close matches, or nothing."""
    close = get_close_matches(name, known, n=3, cutoff=cutoff)
    return f"; did you mean {' or '.join(map(repr, close))}?" if close else ""
