"""Names for components: what the plugins give, looked up by kind and name.

Names exist at the boundary only (JSON, the command line): Python code holds the objects. A `Registry` loads nothing
until its first use; then it registers scorekit's own components and the plugins of its entry points, each whole or not
at all:

- a plugin that cannot be used is **broken**: it fails to import, has an unknown hook, a hook that returns no mapping,
  a name that is not kebab case, or a value that makes no component. `plugins()` gives the reason, a lookup that finds
  nothing names it, and no other plugin suffers;
- a name that two plugins give is **contested**, and neither wins. To look it up, or to list its kind, is an error that
  names both; every other lookup works, and `plugins()` reports it for both;
- a plugin given to `register` is refused at once in either case.

Set the environment variable SCOREKIT_DISABLE_PLUGINS to anything but the empty string to leave installed plugins out.
"""

import os
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import replace
from functools import cache
from importlib.metadata import EntryPoint
from threading import RLock
from types import MappingProxyType
from typing import Any, final

from scorekit import builtin
from scorekit._kinds import brief
from scorekit.component import Component, kind_of, read_reference, suggest
from scorekit.hookspecs import KINDS, PROJECT
from scorekit.plugin import DISABLE, PluginError, PluginRecord, installed_plugins, read_plugin, reason

__all__ = [
    "Components", "DuplicateNameError", "PluginError", "PluginRecord", "Registry", "UnknownNameError",
    "default_registry", "installed_plugins", "make", "plugins", "register", "registry",
]  # fmt: skip


@final
class UnknownNameError(KeyError, ValueError):
    """No component, or no kind, has this name. (A KeyError, since the kinds of a registry are mappings.)"""

    __str__ = ValueError.__str__  # KeyError shows the repr of its message


@final
class DuplicateNameError(ValueError):
    """Two plugins give the same name."""


@final
class Registry:
    """The components of scorekit and of some plugins, by kind and name. Nothing is loaded before the first use.

    Args:
        entry_points: gives the plugins to load then: `installed_plugins` for those that are installed; none by default.
    """

    def __init__(self, entry_points: Callable[[], Iterable[EntryPoint]] = tuple):
        self._entry_points, self._lock = entry_points, RLock()
        self._clear()

    def _clear(self) -> None:
        self._loaded = False
        self._components: dict[str, dict[str, list[Component]]] = {kind: {} for kind in KINDS}
        self._records: list[PluginRecord] = []

    def register(self, plugin: object, name: str) -> None:
        """Add a plugin made in this process: a module, or any object with functions marked by `hookimpl`.

        Raises:
            PluginError: if the name is taken, or the plugin cannot be used.
            DuplicateNameError: if another plugin gives one of its components' names.
        """
        with self._lock:
            self._load()
            try:
                found = self._read(plugin, name)
            except PluginError as error:
                raise PluginError(f"plugin {name!r}: {error}") from error
            for component in found:
                _only([*self._components[component.kind].get(component.name, []), component])
            self._enter(PluginRecord(name), found)

    def plugins(self) -> tuple[PluginRecord, ...]:
        """A record of every plugin, scorekit's own first; those with something wrong have an `error`."""
        self._load()
        return tuple(replace(record, error=record.error or self._contested(record)) for record in self._records)

    def components(self, kind: str) -> "Components":
        """The classes and factories of a kind by name, read only.

        Raises:
            UnknownNameError: if there is no such kind.
        """
        self._of(kind)
        return Components(self, kind)

    def names(self, kind: str) -> tuple[str, ...]:
        """Every name of a kind, in the order of registration.

        Raises:
            UnknownNameError: if there is no such kind.
            DuplicateNameError: if one of the names is contested.
        """
        return tuple(_only(given).name for given in self._of(kind).values())

    def component(self, kind: str, name: str, path: str = "") -> Component:
        """What is registered under a kind and a name; `path` is the place within a configuration, for messages.

        Raises:
            UnknownNameError: with close matches, every name of the kind and the broken plugins.
            DuplicateNameError: if the name is contested.
        """
        known = self._of(kind, path)
        if name not in known:
            listed = ", ".join(f"{other} ({' and '.join(c.plugin for c in given)})" for other, given in known.items())
            raise UnknownNameError(
                f"{_at(path)}no {KINDS[kind].singular} is named {brief(name)}{suggest(str(name), known)}; "
                f"known, with their plugins: {listed or 'none'}{self._absent()}"
            )
        return _only(known[name])

    def find(self, made_by: type) -> Component | None:
        """The component whose class this is, the first one if it has several names; None if it has none.

        Raises:
            DuplicateNameError: if all its names are contested.
        """
        self._load()
        every = (given for kind in KINDS for given in self._components[kind].values())
        mine = [given for given in every if any(component.factory is made_by for component in given)]
        return _only(min(mine, key=len)) if mine else None

    def make(self, kind: str, name: str, /, **params: object) -> Any:
        """Make a component by its name.

        Args:
            kind: "samplers", "proposals", ...
            name: its name within the kind.
            params: its parameters. Where a parameter is annotated as a component, a string is a name (made with its
                defaults), and {"name": ..., "params": {...}} is a name with parameters.

        Returns:
            An instance of the kind's base class.

        Raises:
            UnknownNameError: if a kind or a name is unknown.
            DuplicateNameError: if a name is contested.
            TypeError: if a parameter is unknown or missing, or its annotation rules the value out.
            ValueError: from the component's constructor.
        """
        self._of(kind)
        return self.build(kind, name, params, KINDS[kind].singular)

    def build(self, kind: str, name: str, params: Mapping[str, object], path: str) -> Any:
        """`make`, with the place within a configuration that messages name."""
        component = self.component(kind, name, path)
        component.require(params, path)
        given = {}
        for key, value in params.items():
            given[key] = self._resolve(kind_of(component.parameters[key].annotation), value, f"{path}.{key}")
            component.check(key, given[key], f"{path}.{key}")
        try:
            made = component.factory(**given)
        except Exception as error:
            error.add_note(f"raised by {component.title}, at {path}")
            raise
        if not isinstance(made, KINDS[kind].base):
            raise TypeError(f"{path}: {component.title} made {brief(made)}: expected a {KINDS[kind].base.__name__}")
        return made

    def _resolve(self, kind: str | None, value: object, path: str) -> object:
        if kind is not None and isinstance(value, str):
            return self.build(kind, value, {}, path)
        if kind is not None and isinstance(value, Mapping):
            return self.build(kind, *read_reference(value, kind, path), path)
        return value

    def _of(self, kind: str, path: str = "") -> Mapping[str, list[Component]]:
        self._load()
        if kind not in KINDS:
            close = suggest(str(kind), KINDS)
            raise UnknownNameError(
                f"{_at(path)}no kind is named {brief(kind)}{close}; the kinds are {', '.join(KINDS)}"
            )
        return self._components[kind]

    def _absent(self) -> str:
        """Why a name may be missing."""
        blocked = f"; installed plugins are left out, because {DISABLE} is set" if os.environ.get(DISABLE) else ""
        broken = [f"{each.name!r} ({each.entry_point}): {each.error}" for each in self._records if each.error]
        return blocked + (f"; broken plugins: {'; '.join(broken)}" if broken else "")

    def _contested(self, record: PluginRecord) -> str | None:
        mine = [self._components[kind][name] for kind, names in record.components.items() for name in names]
        return "; ".join(_clash(given) for given in mine if len(given) > 1) or None

    def _load(self) -> None:
        with self._lock:
            if self._loaded:
                return
            self._loaded = True  # now, so that a plugin may use the registry while it is imported
            try:
                self._enter(PluginRecord(PROJECT, PROJECT, _version()), self._read(builtin, PROJECT))
                for point in self._entry_points():
                    self._load_entry_point(point)
            except BaseException:  # interrupted: the next use starts afresh, rather than with half of the plugins
                self._clear()
                raise

    def _load_entry_point(self, point: EntryPoint) -> None:
        record = PluginRecord(point.name, entry_point=point.value)
        try:
            if point.dist is not None:
                record = replace(record, distribution=point.dist.name, version=point.dist.version)
            found = self._read(point.load(), point.name)
        except (Exception, SystemExit) as error:  # whatever a plugin raises is reported for it, and stops no other
            self._records.append(replace(record, error=reason(error)))
        else:
            self._enter(record, found)

    def _read(self, plugin: object, name: str) -> tuple[Component, ...]:
        for record in self._records:
            if record.name == name and record.error is None:
                raise PluginError(f"the name {name!r} is taken by a plugin of {record.distribution or 'this process'}")
        return read_plugin(plugin, name)

    def _enter(self, record: PluginRecord, found: tuple[Component, ...]) -> None:
        names: dict[str, tuple[str, ...]] = {}
        for component in found:
            self._components[component.kind].setdefault(component.name, []).append(component)
            names[component.kind] = (*names.get(component.kind, ()), component.name)
        self._records.append(replace(record, components=MappingProxyType(names)))


def _at(path: str) -> str:
    return f"{path}: " if path else ""


def _only(given: list[Component]) -> Component:
    if len(given) > 1:
        raise DuplicateNameError(_clash(given))
    return given[0]


def _clash(given: list[Component]) -> str:
    plugins = " and ".join(repr(component.plugin) for component in given)
    return (
        f"the name {given[0].name!r} of a {KINDS[given[0].kind].singular} is given by the plugins {plugins}: "
        "a name belongs to one plugin; rename it in one of them, or uninstall one"
    )


def _version() -> str:
    from scorekit import __version__

    return __version__


@final
class Components(Mapping[str, Callable[..., Any]]):
    """The classes and factories of one kind by name, read only; see `Registry.components`."""

    def __init__(self, registry: Registry, kind: str):
        self._registry, self._kind = registry, kind

    def __getitem__(self, name: str) -> Callable[..., Any]:
        return self._registry.component(self._kind, name).factory

    def __iter__(self) -> Iterator[str]:
        return iter(self._registry.names(self._kind))

    def __len__(self) -> int:
        return len(self._registry.names(self._kind))

    def __repr__(self) -> str:
        return f"{self._kind}: {', '.join(self)}"


@cache
def default_registry() -> Registry:
    """The registry of scorekit and the installed plugins; loaded when first used."""
    return Registry(installed_plugins)


def registry(kind: str) -> Mapping[str, Callable[..., Any]]:
    """The classes and factories of a kind by name, built in and from plugins; see `Registry.components`."""
    return default_registry().components(kind)


def make(kind: str, name: str, /, **params: object) -> Any:
    """Make a component by its name; see `Registry.make`."""
    return default_registry().make(kind, name, **params)


def plugins() -> tuple[PluginRecord, ...]:
    """A record of every plugin, the broken ones with the reason; see `Registry.plugins`."""
    return default_registry().plugins()


def register(plugin: object, name: str) -> None:
    """Add a plugin made in this process; see `Registry.register`."""
    default_registry().register(plugin, name)
