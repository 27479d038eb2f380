"""The round trip of a component through its configuration and JSON."""

import inspect
import json
from collections.abc import Iterator
from contextlib import suppress
from types import SimpleNamespace

from scorekit.config import Config, from_config, to_config
from scorekit.hookspecs import KINDS, hookimpl
from scorekit.registry import Registry


def round_trip(component: object, *others: type) -> object:
    """from_config of the JSON of to_config; the classes of `component`, of its parts and `others` need no
    registration."""
    registry = Registry()
    for number, made_by in enumerate(dict.fromkeys((*_classes(component), *others))):
        if registry.find(made_by) is None:
            kind = next(kind for kind, each in KINDS.items() if issubclass(made_by, each.base))
            registry.register(_plugin(kind, f"law-{number}", made_by), f"law-{number}")
    config: Config = to_config(component, registry=registry)
    made = from_config(json.loads(json.dumps(config, allow_nan=False)), registry=registry)
    if to_config(made, registry=registry) != config:
        raise ValueError(f"{config} came back as {to_config(made, registry=registry)}")
    return made


def _classes(component: object) -> Iterator[type]:
    """The classes of a component and of the components among its arguments."""
    if isinstance(component, tuple):
        for item in component:
            yield from _classes(item)
    elif isinstance(component, tuple(each.base for each in KINDS.values())):
        yield type(component)
        for name in inspect.signature(type(component)).parameters:
            with suppress(AttributeError):  # `to_config` says what is wrong with one that is not kept
                yield from _classes(getattr(component, name))


def _plugin(kind: str, name: str, made_by: type) -> SimpleNamespace:
    def hook():
        return {name: made_by}

    hook.__name__ = f"scorekit_{kind}"
    return SimpleNamespace(**{hook.__name__: hookimpl(hook)})
