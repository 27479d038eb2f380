"""What plugins may get wrong: each is reported by its name and harms nobody.

A law is a function that asserts; its mutant is a broken registry that the law must reject.
"""

import types
from functools import partial
from typing import TYPE_CHECKING

import pytest

from scorekit.base import Proposal
from scorekit.hookspecs import KINDS, hookimpl
from scorekit.registry import PluginError, Registry, UnknownNameError
from scorekit.starts import Matched

if TYPE_CHECKING:
    from torch import Tensor
from tests.registry.cases import BUILT_IN, GOOD, REGISTRY, HalfDamped, other_good, plugin_with


class Abstract(Proposal):
    pass


def positional(a, /) -> Proposal: ...
def variable(*args: float) -> Proposal: ...
def keywords(**kwargs: float) -> Proposal: ...
def unresolved(x: "Tensor") -> Proposal: ...


class Unmarked:
    def scorekit_proposals(self):
        return {"half-damped": HalfDamped}


class Misspelt:
    @hookimpl
    def scorekit_proposal(self):
        return {"half-damped": HalfDamped}


class WithArgument:
    @hookimpl
    def scorekit_proposals(self, x):
        return {"half-damped": HalfDamped}


class Wrapper:
    @hookimpl(wrapper=True)
    def scorekit_proposals(self):
        yield
        return {}


class Twice:
    @hookimpl
    def scorekit_proposals(self):
        return {"half-damped": HalfDamped}

    @hookimpl(specname="scorekit_proposals")
    def more(self):
        return {"half-damped": HalfDamped}


class Raising:
    @hookimpl
    def scorekit_proposals(self):
        raise RuntimeError("out of luck")


WRONG = {
    "misspelt": (Misspelt(), "unknown hook 'scorekit_proposal'; did you mean 'scorekit_proposals'?"),
    "argument": (WithArgument(), r"\{'x'\} are declared in the hookimpl but can not be found in the hookspec"),
    "wrapper": (Wrapper(), "hook scorekit_proposals is a wrapper"),
    "unmarked": (Unmarked(), "scorekit_proposals is not marked as a hook; .*@scorekit.hookimpl"),
    "empty": (types.SimpleNamespace(), "has no hook"),
    "twice": (Twice(), "gives one name twice: proposals half-damped"),
    "none": (plugin_with(proposals=None), "hook scorekit_proposals returned None: expected a mapping"),
    "list": (plugin_with(proposals=[HalfDamped]), r"returned \[<class.*: expected a mapping"),
    "camel": (plugin_with(proposals={"HalfDamped": HalfDamped}), "'HalfDamped'.* kebab case"),
    "snake": (plugin_with(proposals={"half_damped": HalfDamped}), "'half_damped'.* kebab case"),
    "hyphens": (plugin_with(proposals={"half--damped": HalfDamped}), "'half--damped'.* kebab case"),
    "newline": (plugin_with(proposals={"half-damped\n": HalfDamped}), "kebab case"),
    "number": (plugin_with(proposals={3: HalfDamped}), "3.* kebab case"),
    "instance": (
        plugin_with(proposals={"half-damped": HalfDamped()}),
        "cannot be called: expected a class or a factory",
    ),
    "wrong_kind": (plugin_with(proposals={"matched": Matched}), "does not derive from Proposal"),
    "abstract": (plugin_with(proposals={"abstract": Abstract}), "is abstract: it lacks log_q_ratio, propose"),
    "positional": (plugin_with(proposals={"a": positional}), "parameter 'a' is positional-only"),
    "variable": (plugin_with(proposals={"a": variable}), "parameter 'args' is variadic positional"),
    "keywords": (plugin_with(proposals={"a": keywords}), "parameter 'kwargs' is variadic keyword"),
    "unresolved": (plugin_with(proposals={"a": unresolved}), "signature cannot be read: NameError: name 'Tensor'"),
}


@pytest.mark.parametrize("name", WRONG)
def test_a_wrong_plugin_is_refused_by_register_and_leaves_nothing(registry, name):
    plugin, reason = WRONG[name]
    before = {kind: list(registry.components(kind)) for kind in KINDS}, registry.plugins()
    with pytest.raises(PluginError, match=f"plugin {name!r}: .*{reason}"):
        registry.register(plugin, name)
    assert ({kind: list(registry.components(kind)) for kind in KINDS}, registry.plugins()) == before


@pytest.mark.parametrize("name", WRONG)
def test_a_wrong_plugin_among_the_entry_points_is_reported_and_harms_nobody(install, name):
    plugin, reason = WRONG[name]
    plugin_is_reported_and_harms_nobody(install(**{"good": GOOD, name: plugin, "later": other_good()}), name, reason)


def plugin_is_reported_and_harms_nobody(registry: Registry, name: str, reason: str) -> None:
    """The law: its record alone has an error, with the reason; the others' components are there; a miss names it."""
    records = {record.name: record for record in registry.plugins()}
    assert [each for each, record in records.items() if record.error] == [name]
    assert records[name].components == {}
    assert records[name].entry_point == f"module_of_{name}"
    with pytest.raises(UnknownNameError, match=rf"broken plugins: {name!r} \(module_of_{name}\): .*{reason}"):
        registry.make("proposals", "missing")
    assert list(registry.components("proposals")) == [*BUILT_IN["proposals"], "good"]
    assert list(registry.components("starts")) == ["matched", "uniform", "other"]


def test_the_law_rejects_a_registry_that_stops_at_the_first_broken_plugin(install):
    first = install(good=GOOD, misspelt=Misspelt(), later=other_good())
    stopped = install(good=GOOD, misspelt=Misspelt())
    reason = WRONG["misspelt"][1]
    plugin_is_reported_and_harms_nobody(first, "misspelt", reason)
    with pytest.raises(AssertionError):
        plugin_is_reported_and_harms_nobody(stopped, "misspelt", reason)


def test_the_law_rejects_a_registry_that_keeps_half_of_a_plugin(install, monkeypatch):
    half = plugin_with(proposals={"half": HalfDamped}, starts=None)
    plugin_is_reported_and_harms_nobody(install(good=GOOD, half=half, later=other_good()), "half", "returned None")
    read = REGISTRY.read_plugin

    def mutant(plugin: object, name: str):
        return read(plugin_with(proposals={"half": HalfDamped}) if plugin is half else plugin, name)

    monkeypatch.setattr(REGISTRY, "read_plugin", mutant)
    with pytest.raises(AssertionError):
        plugin_is_reported_and_harms_nobody(install(good=GOOD, half=half, later=other_good()), "half", "returned None")


def test_a_hook_that_raises_is_reported_with_its_line(install):
    registry = install(good=GOOD, raising=Raising(), later=other_good())
    plugin_is_reported_and_harms_nobody(
        registry, "raising", r"RuntimeError: out of luck \(test_wrong_plugins.py, line \d+\)"
    )
    with pytest.raises(RuntimeError, match="out of luck"):
        Registry().register(Raising(), "raising")


def test_a_plugin_that_fails_to_import_is_reported(install):
    registry = install(good=GOOD, gone=None, later=other_good())
    plugin_is_reported_and_harms_nobody(registry, "gone", "ModuleNotFoundError: .*module_of_gone")


def test_an_optional_hook_is_for_another_version(registry):
    class Ahead:
        @hookimpl
        def scorekit_starts(self):
            return {"ahead": Matched}

        @hookimpl(optionalhook=True)
        def scorekit_telepathy(self):
            return {"no": None}

    registry.register(Ahead(), "ahead")
    assert registry.make("starts", "ahead") == Matched()


def test_a_plugin_may_use_the_registry_while_it_is_loaded(install):
    class Reentrant:
        @hookimpl
        def scorekit_starts(self):
            return {"reentrant": partial(type(registry.make("starts", "matched")))}

    registry = install(reentrant=Reentrant())
    assert registry.make("starts", "reentrant") == Matched()
