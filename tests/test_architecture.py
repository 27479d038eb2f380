"""The rules of the code base, read from its syntax trees. Each rule has a mutant, a snippet that it must reject.

Floors: a module imports from a lower floor, or on its own floor from a module named before it in `FLOORS`.
"""

import ast
import importlib
import inspect
import pkgutil
from collections.abc import Callable, Iterator
from enum import Enum
from pathlib import Path
from typing import NamedTuple

import pytest
import torch
from torch import nn

import scorekit

PACKAGE = Path(scorekit.__file__).parent
FLOORS = [
    ["_kinds", "_numbers", "_tensor", "random"],
    ["target", "base"],
    [
        "noise", "densities", "estimators", "proposals", "line_integrals", "kernels", "transitions", "step_sizes",
        "starts", "models", "energies", "denoisers", "preconditioned", "conditioning", "diffusion", "networks",
    ],
    ["objective", "samplers", "metrics", "diagnostics", "data", "tuning", "training_config", "recipe", "recipes"],
    ["hookspecs", "component", "plugin", "builtin", "registry", "config"],
    ["checkpoint", "training", "distributed", "pictures", "plots", "runs", "interop", "evaluation"],
    ["testing", "cli", "__main__"],
]  # fmt: skip
RANK = {name: (floor, place) for floor, names in enumerate(FLOORS) for place, name in enumerate(names)}
# Compiled and scanned: no value may leave the device.
PURE = ("estimators", "kernels", "line_integrals", "proposals", "transitions")
FILES = sorted(PACKAGE.rglob("*.py"))


def module_of(path: Path) -> str:
    """The name of a file's module within scorekit; "" for scorekit/__init__.py."""
    return ".".join(part for part in path.relative_to(PACKAGE).with_suffix("").parts if part != "__init__")


# --------------------------------------------------------------------------------------------------------------- floors


def imported(tree: ast.AST) -> Iterator[str]:
    """The modules and names within scorekit that a file imports, wherever in it."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (
                alias.name.removeprefix("scorekit.") for alias in node.names if alias.name.startswith("scorekit")
            )
        elif isinstance(node, ast.ImportFrom):
            yield from imported_from(node)


def imported_from(node: ast.ImportFrom) -> list[str]:
    module = node.module or ""
    if node.level:
        return ["a relative import"]
    if module == "scorekit":
        return [alias.name for alias in node.names if alias.name != "__version__"]
    return [module.removeprefix("scorekit.")] if module.startswith("scorekit.") else []


def floor_violations(tree: ast.AST, module: str) -> list[str]:
    own = module.split(".")[0]
    targets = {name.split(".")[0] for name in imported(tree)} - {own}
    return [f"{module} imports {name}" for name in sorted(targets) if RANK.get(name, (99, 0)) >= RANK.get(own, (-1, 0))]


@pytest.mark.parametrize("path", [path for path in FILES if module_of(path)], ids=module_of)
def test_imports_go_to_a_lower_floor(path):
    module = module_of(path)
    assert module.split(".")[0] in RANK, f"{module} has no floor: give it one in FLOORS"
    assert floor_violations(ast.parse(path.read_text()), module) == []


@pytest.mark.parametrize(
    ("module", "snippet"),
    [
        ("base", "from scorekit.kernels import Unadjusted"),
        ("noise", "from scorekit.registry import make"),
        ("noise", "def f():\n    import scorekit.training"),
        ("networks.mlp", "from scorekit import data"),
        ("hookspecs", "from scorekit.builtin import hookimpl"),
        ("samplers", "from scorekit import langevin"),
        ("samplers", "from .base import Kernel"),
        ("training.loop", "from scorekit.training.order import x\nfrom scorekit.cli import main"),
    ],
)
def test_the_floors_reject_an_import_that_goes_up(module, snippet):
    assert floor_violations(ast.parse(snippet), module)


# --------------------------------------------------------------------------------------------------------------- syntax


def called(node: ast.AST, *names: str) -> bool:
    """Whether a node calls one of these: "print" is a plain name, ".item" a method of anything, "torch.load" exact."""
    if not isinstance(node, ast.Call):
        return False
    text = ast.unparse(node.func)
    attribute = f".{node.func.attr}" if isinstance(node.func, ast.Attribute) else ""
    return text in names or attribute in names


def is_none(node: ast.AST) -> bool:
    return isinstance(node, ast.Constant) and node.value is None


def two_new_axes(node: ast.AST) -> bool:
    """`x[:, None, None]`, but not the annotation `Generator[int, None, None]`."""
    if not isinstance(node, ast.Subscript) or not isinstance(node.slice, ast.Tuple):
        return False
    return sum(map(is_none, node.slice.elts)) >= 2 and not ast.unparse(node.value).endswith("Generator")


def imports_module(node: ast.AST, *names: str) -> bool:
    if isinstance(node, ast.Import):
        return any(alias.name.split(".")[0] in names for alias in node.names)
    return isinstance(node, ast.ImportFrom) and (node.module or "").split(".")[0] in names


DRAWS = [
    *(f"torch.{name}" for name in ("rand", "randn", "randint", "randperm", "normal", "rand_like", "randn_like")),
    *("torch.randint_like", "torch.bernoulli", "torch.multinomial", "torch.poisson"),
    *(f".{name}_" for name in ("normal", "uniform", "bernoulli", "random", "exponential", "cauchy", "log_normal")),
    *(".bernoulli", ".multinomial", ".default_rng", "np.random.rand", "np.random.randn", "random.random"),
]
SEEDS = [
    *(f"torch.{where}manual_seed" for where in ("", "random.", "cuda.", "default_generator.")),
    *("torch.cuda.manual_seed_all", "torch.seed", "random.seed", "np.random.seed", "numpy.random.seed"),
]


def parse(text: str) -> ast.AST:
    """The syntax tree, where what stands in `with torch.random.fork_rng():` is marked: its seeding is undone."""
    tree = ast.parse(text)
    for node in ast.walk(tree):
        if isinstance(node, ast.With) and any(
            called(item.context_expr, "torch.random.fork_rng") for item in node.items
        ):
            for inner in ast.walk(node):
                inner.undone = True
    return tree


class Rule(NamedTuple):
    breaks: Callable[[ast.AST], bool]  # whether a node breaks it
    applies: Callable[[str], bool]  # whether a module has to keep it
    module: str
    mutant: str  # what it must reject in that module


def draws_outside_initialisation(node: ast.AST) -> bool:
    if not isinstance(node, ast.FunctionDef) or node.name == "__init__" or node.name.startswith(("reset_", "init_")):
        return False
    return any(called(inner, *DRAWS) for inner in ast.walk(node))


def safe_load(node: ast.Call) -> bool:
    """Whether the call has `weights_only=True` written out."""
    return any(each.arg == "weights_only" and ast.unparse(each.value) == "True" for each in node.keywords)


def everywhere(module: str) -> bool:
    return True


RULES = {
    "no assert": Rule(lambda n: isinstance(n, ast.Assert), everywhere, "base", "assert x > 0"),
    "no hasattr": Rule(lambda n: called(n, "hasattr"), everywhere, "base", "hasattr(x, 'log_prob')"),
    "no getattr with a default": Rule(
        lambda n: called(n, "getattr") and len(n.args) > 2,
        everywhere,
        "base",
        "getattr(x, 'log_prob', None)",
    ),
    "no value leaves the device in a step": Rule(
        lambda n: called(n, ".item", ".tolist", ".cpu", ".numpy"),
        lambda module: module.split(".")[0] in PURE,
        "kernels.metropolis",
        "accept = ratio.exp().item()",
    ),
    "no new axes by the dozen": Rule(two_new_axes, everywhere, "samplers", "sigma[:, None, None, None] * x"),
    "no print": Rule(
        lambda n: called(n, "print"),
        lambda module: module.split(".")[0] not in ("cli", "__main__"),
        "training.loop",
        "print(loss)",
    ),
    "no pickle": Rule(
        lambda n: imports_module(n, "pickle", "cloudpickle", "dill", "joblib", "shelve", "marshal"),
        everywhere,
        "checkpoint.files",
        "from pickle import dumps",
    ),
    "no torch.load, eval or exec": Rule(
        lambda n: called(n, "torch.load", "torch.save", "eval", "exec", "__import__"),
        lambda module: module.split(".")[0] != "interop",
        "checkpoint.files",
        "torch.load(path, weights_only=False)",
    ),
    "foreign files are loaded without running them": Rule(
        lambda n: called(n, "eval", "exec", "__import__") or (called(n, "torch.load") and not safe_load(n)),
        everywhere,
        "interop.archive",
        "torch.load(path, weights_only=name)",
    ),
    "draws in random.py only": Rule(
        lambda n: called(n, *DRAWS),
        lambda module: module != "random" and not module.startswith("networks."),
        "samplers",
        "x = x + torch.randn_like(x)",
    ),
    "networks draw when they are made only": Rule(
        draws_outside_initialisation,
        lambda module: module.startswith("networks."),
        "networks.mlp",
        "def forward(self, x):\n    return x + torch.rand_like(x)",
    ),
    "no seeding": Rule(
        lambda n: called(n, *SEEDS) and "undone" not in vars(n),
        everywhere,
        "samplers",
        "torch.manual_seed(0)",
    ),
}


def violations(rule: Rule, tree: ast.AST, module: str) -> list[str]:
    found = [node for node in ast.walk(tree) if rule.breaks(node)] if rule.applies(module) else []
    return [f"{module}, line {node.lineno}: {ast.unparse(node)[:80]}" for node in found]


@pytest.mark.parametrize("rule", RULES.values(), ids=RULES)
def test_the_package_keeps_the_rule(rule):
    assert [each for path in FILES for each in violations(rule, parse(path.read_text()), module_of(path))] == []


@pytest.mark.parametrize("rule", RULES.values(), ids=RULES)
def test_the_rule_rejects_its_mutant(rule):
    assert len(violations(rule, parse(rule.mutant), rule.module)) == 1


@pytest.mark.parametrize(
    ("rule", "module", "snippet"),
    [
        ("no torch.load, eval or exec", "base", "self.eval()\nsafetensors.torch.load(content)"),
        ("foreign files are loaded without running them", "interop.archive", "torch.load(path, weights_only=True)"),
        ("no new axes by the dozen", "base", "x[None, :]\nx[None]\nf(None, None)"),
        ("no value leaves the device in a step", "samplers", "levels[0].item()"),
        ("draws in random.py only", "random", "torch.empty_like(x).normal_(generator=generator)"),
        ("draws in random.py only", "samplers", "normal(x, generator=generator)\nuniform(x)"),
        (
            "networks draw when they are made only",
            "networks.mlp",
            "def __init__(self):\n    self.weight.normal_(1, 0.02)",
        ),
        ("no seeding", "data.images", "torch.Generator().manual_seed(0)"),
        ("no seeding", "data.images", "with torch.random.fork_rng():\n    torch.manual_seed(0)"),
        ("no new axes by the dozen", "data.files", "def f() -> Generator[int, None, None]: ..."),
        ("no getattr with a default", "config", "getattr(component, name)"),
    ],
)
def test_the_rules_leave_good_code_alone(rule, module, snippet):
    assert violations(RULES[rule], parse(snippet), module) == []


# -------------------------------------------------------------------------------------------------------------- classes


def classes() -> Iterator[type]:
    """Every class that the package defines."""
    for info in pkgutil.walk_packages(scorekit.__path__, "scorekit."):
        module = importlib.import_module(info.name)
        yield from (each for each in vars(module).values() if inspect.isclass(each) and each.__module__ == info.name)


def is_record(each: type) -> bool:
    """Classes without behaviour to override: exceptions, enumerations, protocols and named tuples."""
    return (
        issubclass(each, BaseException | Enum)
        or bool(vars(each).get("_is_protocol"))
        or (issubclass(each, tuple) and "_fields" in vars(each))
    )


def abstract_or_final(each: type) -> bool:
    return inspect.isabstract(each) or bool(vars(each).get("__final__")) or is_record(each)


def test_every_class_is_abstract_or_final():
    found = list(classes())
    assert len(found) > 30
    assert [f"{each.__module__}.{each.__qualname__}" for each in found if not abstract_or_final(each)] == []


def test_the_rule_on_classes_rejects_what_is_neither():
    class Network(nn.Module):
        pass

    class Model(scorekit.ScoreModel):
        def forward(self, x: torch.Tensor, sigma: torch.Tensor, condition: torch.Tensor | None = None) -> torch.Tensor:
            return x

    assert not abstract_or_final(Network)
    assert not abstract_or_final(Model)
    assert abstract_or_final(scorekit.ScoreModel)
    assert abstract_or_final(scorekit.Langevin)
    assert abstract_or_final(scorekit.base.Info)


def test_no_class_derives_from_a_final_one():
    """Python does not enforce `@final`; nn.Module and the abstract classes are the only parents."""
    broken = [(each, base) for each in classes() for base in each.__mro__[1:] if vars(base).get("__final__")]
    assert broken == []
