"""`import scorekit` imports nothing else, and every name is there all the same."""

import ast
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from types import FunctionType, ModuleType

import pytest

import scorekit as sk

SOURCE = Path(sk.__file__).read_text()
HEAVY = {"matplotlib", "accelerate", "PIL", "sklearn", "pooch", "tqdm", "scipy.stats", "cyclopts"}


def fresh(code: str) -> str:
    command = [sys.executable, "-c", code]
    return subprocess.run(command, capture_output=True, text=True, timeout=60, check=True).stdout


def for_checkers(source: str) -> dict[str, str]:
    """{name: module} of the block that type checkers read; a module stands for itself."""
    block = next(node for node in ast.parse(source).body if isinstance(node, ast.If))
    imports = [node for node in block.body if isinstance(node, ast.ImportFrom)]
    return {alias.name: node.module for node in imports for alias in node.names}


def disagreements(source: str) -> set[str]:
    """The names that the three lists (for checkers, for Python, `__all__`) do not have alike."""
    listed = for_checkers(source)
    here = {**dict.fromkeys(sk.__all__, "scorekit"), **sk._HOME}
    return {name for name in listed.keys() | here.keys() if listed.get(name) != here.get(name)}


def test_the_three_lists_of_names_agree():
    """The mutants: a name that only checkers know, one that they do not, one from elsewhere."""
    assert disagreements(SOURCE) == set()
    assert disagreements(SOURCE.replace("import Matched, Uniform", "import Matched, Uniform, Normal")) == {"Normal"}
    assert disagreements(SOURCE.replace("import Matched, Uniform", "import Matched")) == {"Uniform"}
    assert disagreements(SOURCE.replace("from scorekit.starts import", "from scorekit.ends import")) == {
        "Matched", "Uniform",
    }  # fmt: skip


def test_every_name_is_what_its_module_has():
    for name in sk.__all__:
        value = getattr(sk, name)
        home = sk._HOME.get(name)
        assert value is (sys.modules[f"scorekit.{name}"] if home is None else vars(sys.modules[home])[name])
    assert set(sk.__all__) < set(dir(sk))


def test_importing_it_imports_nothing_else():
    """What Python itself loads is not counted. The mutant, in tests/test_plugins.py: the first use of a name."""
    code = "import sys, importlib.util, typing; before = set(sys.modules); import scorekit; "
    assert fresh(code + "print(*set(sys.modules) - before)").split() == ["scorekit"]


ORDERS = {
    "the name first": "import scorekit as sk; sk.registry; import scorekit.registry",
    "the module first": "import scorekit.registry, scorekit as sk",
    "by another module": "import scorekit.config, scorekit as sk",
    "from the module": "from scorekit.registry import Registry; import scorekit as sk",
}


def test_every_name_loads_nothing_heavy_and_registry_is_the_function_whatever_was_imported_first():
    """Python binds a module to its package once it is imported, and there is a module of the name `registry`."""
    code = f"""
import sys, torch, numpy, einops, pluggy
before = set(sys.modules)
import scorekit as sk
for name in sk.__all__:
    if name not in ("data", "diagnose", "fit", "pictures", "plots", "training"):
        getattr(sk, name)
print(*sorted(set(sys.modules) - before))
for order in {list(ORDERS.values())}:
    for name in [name for name in sys.modules if name.split(".")[0] == "scorekit"]:
        del sys.modules[name]
    exec(order)
    print(type(sk.registry).__name__, len(sk.registry("kernels")) > 1)
"""
    loaded, *registries = fresh(code).splitlines()
    assert {"scorekit.registry", "scorekit.samplers", "scorekit.networks"} <= set(loaded.split())
    assert not HEAVY & set(loaded.split())
    assert registries == ["function True"] * len(ORDERS)


@pytest.fixture
def plain() -> Iterator[ModuleType]:
    """The package as an ordinary module, put back afterwards."""
    own = sk.__class__
    sk.__class__ = ModuleType
    yield sk
    sk.__class__ = own


def test_an_ordinary_module_would_lose_the_function(plain):
    """What importing `scorekit.registry` does at its end; the package itself ignores it."""
    function = sk.registry
    assert isinstance(function, FunctionType)
    plain.registry = sys.modules["scorekit.registry"]
    assert not callable(sk.registry)
    plain.registry = function


def test_the_package_ignores_the_binding_of_a_module_to_a_public_name():
    function = sk.registry
    sk.registry = sys.modules["scorekit.registry"]
    assert sk.registry is function


def test_any_module_is_there_and_nothing_else():
    assert sk.checkpoint is sys.modules["scorekit.checkpoint"]
    for name in ("nothing", "_nothing", "__wrapped__", "samplerz"):
        with pytest.raises(AttributeError, match=rf"^module 'scorekit' has no attribute '{name}'$"):
            getattr(sk, name)
    with pytest.raises(ImportError, match="cannot import name 'nothing'"):
        exec("from scorekit import nothing")
