"""The library's own names, and when they are loaded."""

from collections.abc import Iterator
from functools import partial
from importlib.metadata import EntryPoint
from typing import TYPE_CHECKING, Any

import pytest

from scorekit.hookspecs import KINDS, hookspec
from scorekit.plugin import DISABLE, installed_plugins
from scorekit.registry import Registry, UnknownNameError, default_registry

if TYPE_CHECKING:
    pass
from tests.registry.cases import BUILT_IN, REGISTRY


def test_the_built_in_names_are_exactly_these():
    registry = Registry()
    assert {kind: list(registry.components(kind)) for kind in KINDS} == BUILT_IN
    assert {kind: list(names) for kind, names in registry.plugins()[0].components.items()} == BUILT_IN


def test_there_is_one_hook_for_each_kind():
    import scorekit.hookspecs as module

    hooks = {name for name, value in vars(module).items() if callable(value) and "scorekit_spec" in dir(value)}
    assert hooks == {f"scorekit_{kind}" for kind in KINDS}
    assert "scorekit_spec" in dir(hookspec(lambda: None))  # the mark that the line above looks for


@pytest.mark.parametrize("kind", KINDS)
def test_every_built_in_is_documented_and_annotated(kind):
    registry = Registry()
    for name in registry.names(kind):
        component = registry.component(kind, name)
        assert (component.factory.__doc__ or "").strip(), f"{component.title} has no docstring"
        assert not [name for name, p in component.parameters.items() if p.annotation is Any], component.title


def test_the_default_registry_is_one_and_lazy(monkeypatch):
    default_registry.cache_clear()
    monkeypatch.setattr(REGISTRY, "installed_plugins", lambda: pytest.fail("loaded before its first use"))
    one = default_registry()
    assert one is default_registry()
    with pytest.raises(pytest.fail.Exception):
        one.plugins()
    default_registry.cache_clear()


def test_nothing_is_loaded_before_the_first_use_and_once_after():
    calls = []
    registry = Registry(lambda: calls.append("loaded") or ())
    assert calls == []
    registry.make("proposals", "langevin")
    registry.plugins()
    assert calls == ["loaded"]


def test_an_interrupted_load_starts_afresh():
    def interrupted(attempts: list[int]) -> Iterator[EntryPoint]:
        attempts.append(1)
        if len(attempts) == 1:
            raise KeyboardInterrupt
        yield from ()

    registry = Registry(partial(interrupted, []))
    with pytest.raises(KeyboardInterrupt):
        registry.plugins()
    assert list(registry.components("proposals")) == BUILT_IN["proposals"]


def test_the_environment_variable_blocks_entry_points(monkeypatch):
    monkeypatch.setattr("scorekit.plugin.entry_points", lambda group: [EntryPoint("a", "b", group)])
    monkeypatch.setenv(DISABLE, "")
    assert [point.name for point in installed_plugins()] == ["a"]
    monkeypatch.setenv(DISABLE, "1")
    assert list(installed_plugins()) == []
    with pytest.raises(UnknownNameError, match=f"installed plugins are left out, because {DISABLE} is set"):
        Registry(installed_plugins).make("proposals", "of-a-plugin")
