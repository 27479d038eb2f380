"""Registries of their own."""

import sys
from collections.abc import Callable
from importlib.metadata import EntryPoint
from typing import TYPE_CHECKING

import pytest

from scorekit.registry import Registry

if TYPE_CHECKING:
    pass
from tests.registry.cases import HalfDamped, Pair, plugin_with


@pytest.fixture
def registry() -> Registry:
    made = Registry()
    made.register(plugin_with(proposals={"half-damped": HalfDamped}, kernels={"pair": Pair}), "third-party")
    return made


@pytest.fixture
def install(monkeypatch: pytest.MonkeyPatch) -> Callable[..., Registry]:
    """A registry whose entry points are the given modules, by the name of the entry point."""

    def make(**modules: object) -> Registry:
        points = []
        for name, module in modules.items():
            monkeypatch.setitem(sys.modules, f"module_of_{name}", module)  # None: the import fails
            points.append(EntryPoint(name, f"module_of_{name}", "scorekit"))
        return Registry(lambda: points)

    return make
