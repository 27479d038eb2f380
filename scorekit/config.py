"""Configurations: a component as JSON values, and back.

    to_config(Unadjusted(Langevin())) == {"kind": "kernels", "name": "unadjusted", "params": {
        "proposal": {"kind": "proposals", "name": "langevin", "params": {}}}}

The parameters are the constructor's, read back from the attributes of the same names. Each is None, a bool, a string,
a finite number, a component, or a tuple of these (a list in JSON). from_config(to_config(o)) == o for every component
that is a frozen dataclass; for a network or a score model it gives a new module with the same constructor arguments
(its weights are not configuration).

Names are looked up in a `Registry`, never imported: a configuration makes registered components and nothing else.
"""

import math
from collections.abc import Mapping
from numbers import Integral, Real
from typing import Any, TypeAlias

from scorekit._kinds import brief
from scorekit.component import read_reference
from scorekit.hookspecs import KINDS
from scorekit.registry import Registry, default_registry

Json: TypeAlias = bool | int | float | str | list["Json"] | dict[str, "Json"] | None
Config: TypeAlias = dict[str, Json]


def to_config(component: object, *, registry: Registry | None = None) -> Config:
    """A component as {"kind": ..., "name": ..., "params": {...}}, recursively; for `json.dumps(..., allow_nan=False)`.

    Args:
        component: an instance of a registered class, or what a named constructor made of one.
        registry: where its class is registered; the default one if None.

    Raises:
        TypeError: for anything that is not configuration (a function, a tensor, a list, an instance of an unregistered
            class), naming its place, such as `sampler.kernel.proposal`.
        ValueError: for a number that is not finite.
        DuplicateNameError: if a component's name is contested.
    """
    names = registry or default_registry()
    found = names.find(type(component))
    return _write(component, "config" if found is None else KINDS[found.kind].singular, names)


def _write(component: object, path: str, names: Registry) -> Config:
    found = names.find(type(component))
    if found is None:
        raise TypeError(
            f"{path} = {brief(component)} is not configuration: expected None, a bool, a string, a finite number, a "
            f"tuple of these, or an instance of a registered class; this is a {_qualified(type(component))}"
        )
    params = {name: _encode(_argument(component, name, path), f"{path}.{name}", names) for name in found.parameters}
    return {"kind": found.kind, "name": found.name, "params": params}


def _qualified(kind: type) -> str:
    return kind.__qualname__ if kind.__module__ == "builtins" else f"{kind.__module__}.{kind.__qualname__}"


def _argument(component: object, name: str, path: str) -> object:
    try:
        return getattr(component, name)
    except AttributeError as error:
        kept = f"{type(component).__name__} does not keep its argument {name!r} under its own name"
        raise TypeError(f"{path}: {kept}, so that it has no configuration") from error


def _encode(value: object, path: str, names: Registry) -> Json:
    match value:
        case None | bool():
            return value
        case str() if type(value) is str:
            return value
        case Integral():
            return int(value)
        case Real():
            return _finite(value, path)
        case tuple():
            return [_encode(item, f"{path}[{i}]", names) for i, item in enumerate(value)]
    return _write(value, path, names)


def _finite(value: Real | float, path: str) -> float:
    number = float(value)
    if not math.isfinite(number):
        raise ValueError(f"{path} = {number}: JSON has finite numbers only")
    if number != value:
        raise TypeError(f"{path} = {brief(value)} is not configuration: it is no float, the nearest one is {number}")
    return number


def from_config(config: Mapping[str, Json], *, registry: Registry | None = None) -> Any:
    """The component that a configuration describes: the inverse of `to_config`. Lists become tuples.

    Args:
        config: {"kind": ..., "name": ..., "params": {...}}, with all three keys and no other, at every depth.
        registry: where its names are looked up; the default one if None.

    Returns:
        The component.

    Raises:
        TypeError: if a key or a parameter is unknown or missing, or a value has the wrong type, naming its place.
        ValueError: if a kind or a name is unknown, a number is not finite, or a constructor refuses its arguments.
    """
    return _read(config, "config", registry or default_registry())


def _read(config: object, path: str, names: Registry) -> Any:
    if not isinstance(config, Mapping) or config.keys() != {"kind", "name", "params"}:
        rule = '{"kind": ..., "name": ..., "params": {...}} and no other key'
        raise TypeError(f"{path} = {brief(config)}: expected {rule}")
    kind = config["kind"]
    name, params = read_reference(config, kind, path)
    here = KINDS[kind].singular if path == "config" and kind in KINDS else path
    return names.build(kind, name, {key: _decode(each, f"{here}.{key}", names) for key, each in params.items()}, here)


def _decode(value: object, path: str, names: Registry) -> object:
    match value:
        case None | bool() | int() | str():
            return value
        case float():
            return _finite(value, path)
        case list():
            return tuple(_decode(item, f"{path}[{i}]", names) for i, item in enumerate(value))
    return _read(value, path, names)
