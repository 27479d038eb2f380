"""A name that two plugins give belongs to neither."""

from collections.abc import Callable
from typing import TYPE_CHECKING

import pytest

from scorekit.proposals import Langevin
from scorekit.registry import DuplicateNameError, PluginError, Registry
from scorekit.starts import Matched
from scorekit.transitions import Denoise

if TYPE_CHECKING:
    pass
from tests.registry.cases import REGISTRY, HalfDamped, plugin_with


def contested(install: Callable[..., Registry]) -> Registry:
    return install(
        one=plugin_with(proposals={"twin": HalfDamped}, starts={"alone": Matched}),
        two=plugin_with(proposals={"twin": Langevin}),
        three=plugin_with(transitions={"stay": Denoise}),
    )


def no_contested_name_is_answered(registry: Registry) -> None:
    """The law: both plugins are named, whatever way one asks; unrelated look-ups work."""
    both = "'twin' of a proposal is given by the plugins 'one' and 'two'"
    for ask in (
        lambda: registry.make("proposals", "twin"),
        lambda: registry.components("proposals")["twin"],
        lambda: "twin" in registry.components("proposals"),
        lambda: list(registry.components("proposals")),
        lambda: len(registry.components("proposals")),
        lambda: registry.make("kernels", "unadjusted", proposal="twin"),
    ):
        with pytest.raises(DuplicateNameError, match=both):
            ask()
    with pytest.raises(
        DuplicateNameError, match="'stay' of a transition is given by the plugins 'scorekit' and 'three'"
    ):
        registry.make("transitions", "stay")
    assert registry.make("proposals", "langevin") == Langevin()
    assert registry.make("starts", "alone") == Matched()
    errors = {record.name: record.error or "" for record in registry.plugins()}
    assert both in errors["one"]
    assert both in errors["two"]
    assert "'scorekit' and 'three'" in errors["scorekit"]
    assert "'scorekit' and 'three'" in errors["three"]


def test_a_contested_name_belongs_to_nobody(install):
    no_contested_name_is_answered(contested(install))


@pytest.mark.parametrize("winner", [0, -1])
def test_the_law_rejects_a_registry_where_the_first_or_the_last_wins(install, monkeypatch, winner):
    monkeypatch.setattr(REGISTRY, "_only", lambda given: given[winner])
    with pytest.raises(pytest.fail.Exception, match="DID NOT RAISE"):
        no_contested_name_is_answered(contested(install))


def test_register_refuses_a_name_that_is_taken(registry):
    before = registry.plugins()
    for plugin in (plugin_with(proposals={"half-damped": Langevin}), plugin_with(proposals={"langevin": HalfDamped})):
        with pytest.raises(DuplicateNameError, match=r"plugins '(third-party|scorekit)' and 'late'"):
            registry.register(plugin, "late")
    assert registry.plugins() == before


def test_register_refuses_a_plugins_name_that_is_taken(registry):
    for name in ("third-party", "scorekit"):
        with pytest.raises(PluginError, match=f"the name {name!r} is taken by a plugin of"):
            registry.register(plugin_with(starts={"other": Matched}), name)


def test_an_entry_point_with_a_taken_name_is_broken(install):
    registry = install(scorekit=plugin_with(starts={"other": Matched}))
    own, broken = registry.plugins()
    assert own.error is None
    assert broken.error == "the name 'scorekit' is taken by a plugin of scorekit"
    assert list(registry.components("starts")) == ["matched", "uniform"]


def test_find_takes_the_first_name_that_is_not_contested(install):
    registry = install(
        one=plugin_with(proposals={"twin": HalfDamped}),
        two=plugin_with(proposals={"twin": Langevin, "half-damped": HalfDamped}),
        three=plugin_with(proposals={"alias": Langevin}),
    )
    assert registry.find(Langevin).name == "langevin"
    assert registry.find(HalfDamped).name == "half-damped"
    assert registry.find(int) is None
    with pytest.raises(DuplicateNameError):
        contested(install).find(HalfDamped)
