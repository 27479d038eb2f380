"""Reading one plugin: the components that its hooks give, or the reason why it cannot be used."""

import inspect
import os
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from importlib.metadata import EntryPoint, entry_points
from traceback import extract_tb
from typing import final

import pluggy

from scorekit import hookspecs
from scorekit._kinds import brief
from scorekit.component import Component, read_parameters, suggest
from scorekit.hookspecs import KINDS, PROJECT

DISABLE = "SCOREKIT_DISABLE_PLUGINS"

_KEBAB = re.compile(r"[a-z][a-z0-9]*(-[a-z0-9]+)*")
_HOOKS: Mapping[str, str] = {f"{PROJECT}_{kind}": kind for kind in KINDS}


@final
class PluginError(ValueError):
    """A plugin cannot be used."""


@final
@dataclass(frozen=True)
class PluginRecord:
    """What is known about one plugin.

    Args:
        name: the name it is registered under; its entry point's, if it is installed.
        distribution: the installed distribution that brings it; None for one that was registered in the process.
        version: the distribution's version.
        entry_point: "module" or "module:object".
        components: its names by kind.
        error: why it is broken, or which of its names are contested; None if all is well.
    """

    name: str
    distribution: str | None = None
    version: str | None = None
    entry_point: str | None = None
    components: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    error: str | None = None


def installed_plugins() -> Iterator[EntryPoint]:
    """The entry points of the group "scorekit", by name; none if SCOREKIT_DISABLE_PLUGINS is set."""
    if not os.environ.get(DISABLE):
        yield from sorted(entry_points(group=PROJECT), key=lambda point: (point.name, point.value))


def read_plugin(plugin: object, name: str) -> tuple[Component, ...]:
    """Every component of a plugin.

    It is read by a plugin manager of its own: one that is refused leaves nothing behind, none wraps another's hooks.

    Raises:
        PluginError: showing the hook, the value and the rule; whatever else the plugin's hooks raise.
    """
    manager = pluggy.PluginManager(PROJECT)
    manager.add_hookspecs(hookspecs)
    try:
        manager.register(plugin, name)
        manager.check_pending()
    except pluggy.PluginValidationError as error:
        raise PluginError(_explain(manager, plugin, error)) from error
    callers = manager.get_hookcallers(plugin) or []
    _require_marks(plugin, {caller.name for caller in callers})
    found = tuple(component for caller in callers for component in _read_hook(caller, name))
    if len({(component.kind, component.name) for component in found}) < len(found):
        raise PluginError(f"it gives one name twice: {', '.join(f'{each.kind} {each.name}' for each in found)}")
    return found


def _explain(manager: pluggy.PluginManager, plugin: object, error: Exception) -> str:
    unknown = [caller.name for caller in manager.get_hookcallers(plugin) or [] if not caller.has_spec()]
    if not unknown:
        return " ".join(str(error).split())
    # the hooks share a prefix, so that every name is rather like every other
    return "; ".join(f"unknown hook {hook!r}{suggest(hook, _HOOKS, cutoff=0.85)}" for hook in unknown) + _the_hooks()


def _the_hooks() -> str:
    return f"; the hooks are {', '.join(_HOOKS)}, marked by @scorekit.hookimpl"


def _require_marks(plugin: object, marked: set[str]) -> None:
    """Refuse a plugin without a hook, and a hook's name without the mark: pluggy would ignore it in silence."""
    unmarked = sorted(_HOOKS.keys() & set(dir(plugin)) - marked)
    if unmarked:
        raise PluginError(f"{', '.join(unmarked)} is not marked as a hook{_the_hooks()}")
    if not marked:
        raise PluginError(f"{brief(plugin)} has no hook{_the_hooks()}")


def _read_hook(caller: pluggy.HookCaller, plugin: str) -> Iterator[Component]:
    for implementation in caller.get_hookimpls():
        if implementation.wrapper or implementation.hookwrapper:
            raise PluginError(
                f"hook {caller.name} is a wrapper: a plugin gives its own components and changes no other"
            )
        if not caller.has_spec():  # marked optionalhook=True: meant for another version of scorekit
            continue
        given = implementation.function()
        if not isinstance(given, Mapping):
            raise PluginError(
                f"hook {caller.name} returned {brief(given)}: expected a mapping, name to class or factory"
            )
        for name, value in given.items():
            yield _read_component(caller.name, name, value, plugin)


def _read_component(hook: str, name: object, value: object, plugin: str) -> Component:
    where = f"hook {hook}, {name!r}: {brief(value)}"
    if not isinstance(name, str) or not _KEBAB.fullmatch(name):
        raise PluginError(f"{where}: a name is kebab case, such as 'half-damped-2': {_KEBAB.pattern}")
    if not callable(value):
        raise PluginError(f"{where} cannot be called: expected a class or a factory")
    kind = _HOOKS[hook]
    if inspect.isclass(value):
        _require_class(where, value, KINDS[kind].base)
    try:
        return Component(kind, name, plugin, value, read_parameters(value))
    except TypeError as error:
        raise PluginError(f"{where}: {error}") from error


def _require_class(where: str, made: type, base: type) -> None:
    """Refuse a class of another kind, or an abstract one. (What a function makes is checked when it has made it.)"""
    if not issubclass(made, base):
        raise PluginError(f"{where} does not derive from {base.__name__}")
    if inspect.isabstract(made):
        raise PluginError(f"{where} is abstract: it lacks {', '.join(sorted(made.__abstractmethods__))}")


def reason(error: BaseException) -> str:
    """The error's text, and the line of the plugin's code that it came from."""
    if isinstance(error, PluginError):
        return str(error)
    frames = [frame for frame in extract_tb(error.__traceback__)[1:] if "importlib" not in frame.filename]
    place = f" ({os.path.basename(frames[-1].filename)}, line {frames[-1].lineno})" if frames else ""
    return f"{type(error).__name__}: {error}{place}"
