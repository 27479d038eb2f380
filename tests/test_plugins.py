"""Installed plugins, in processes of their own: found by name, reported when broken; what `import scorekit` loads."""

import importlib.util
import json
import re
import sys
import textwrap
import tomllib
from pathlib import Path

import pytest
import torch

import scorekit as sk
from scorekit.hookspecs import KINDS
from scorekit.plugin import DISABLE
from scorekit.registry import Registry
from tests.installing import ROOT, installed, python

PLUGIN = """
from dataclasses import dataclass

import scorekit as sk
from scorekit.base import expand


@dataclass(frozen=True)
class HalfDamped(sk.base.GaussianProposal):
    damping: float = 0.5

    def mean(self, point, step_size):
        return point.x + self.damping * expand(step_size, point.x) * point.score


@sk.hookimpl
def scorekit_proposals():
    return {"half-damped": HalfDamped}
"""

PROJECT = """
[project]
name = "scorekit-half-damped"
version = "0.1"

[project.entry-points.scorekit]
half_damped = "half_damped"
"""

BROKEN = {
    "b_import": "import no_such_package_at_all",
    "c_syntax": "def broken(:",
    "d_exit": "import sys\nsys.exit('not today')",
    "e_misspelt": "import scorekit as sk\n@sk.hookimpl\ndef scorekit_proposal():\n    return {}",
    "f_assertion": "assert False, 'at import'",
    "g_empty": "",
}
REASONS = {
    "b_import": r"ModuleNotFoundError: No module named 'no_such_package_at_all' \(b_import.py, line 1\)",
    "c_syntax": r"SyntaxError: .*c_syntax.py, line 1",
    "d_exit": r"SystemExit: not today \(d_exit.py, line 2\)",
    "e_misspelt": r"unknown hook 'scorekit_proposal'; did you mean 'scorekit_proposals'\?",
    "f_assertion": r"AssertionError: at import \(f_assertion.py, line 1\)",
    "g_empty": r"has no hook",
}


def run(code: str, *folders: Path, **variables: str) -> str:
    """The output of a fresh process, with folders on its path."""
    done = python("-c", textwrap.dedent(code), folders=folders, **variables)
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def half_damped(tmp_path_factory) -> Path:
    """A folder into which pip has installed the plugin."""
    project = tmp_path_factory.mktemp("half-damped")
    (project / "src").mkdir()
    (project / "src" / "half_damped.py").write_text(PLUGIN)
    (project / "pyproject.toml").write_text(PROJECT)
    return installed(project, tmp_path_factory.mktemp("target") / "site")


@pytest.fixture(scope="module")
def broken(tmp_path_factory) -> Path:
    """A folder with broken plugins, laid out as pip would."""
    folder = tmp_path_factory.mktemp("broken")
    for name, text in BROKEN.items():
        (folder / f"{name}.py").write_text(text)
        info = folder / f"{name}-0.2.dist-info"
        info.mkdir()
        (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: 0.2\n")
        (info / "entry_points.txt").write_text(f"[scorekit]\n{name} = {name}\n")
    return folder


USE = """
    import json
    import scorekit as sk

    sk.to_config(sk.Langevin())
    import scorekit.registry, scorekit.config  # the module scorekit.registry must not replace the function

    made = sk.make("kernels", "unadjusted", proposal={"name": "half-damped", "params": {"damping": 0.25}})
    x = sk.sample(sk.AnnealedMCMC(made, sk.SingleLevel(1.0)), sk.densities.Gaussian((0.0,)), (4, 1))
    try:
        sk.make("proposals", "missing")
    except ValueError as error:
        miss = str(error)
    print(json.dumps({
        "repr": repr(made),
        "again": sk.from_config(sk.to_config(made)) == made,
        "shape": list(x.shape),
        "names": list(sk.registry("proposals")),
        "miss": miss,
        "records": [
            [r.name, r.distribution, r.version, r.entry_point, dict(r.components), r.error] for r in sk.plugins()
        ],
    }))
"""


def test_an_installed_plugin_works_by_name_beside_broken_ones(half_damped, broken):
    found = json.loads(run(USE, half_damped, broken))
    assert found["repr"] == "Unadjusted(proposal=HalfDamped(damping=0.25))"
    assert (found["again"], found["shape"]) == (True, [4, 1])
    assert found["names"] == ["langevin", "hamiltonian", "random-walk", "half-damped"]
    records = {name: rest for name, *rest in found["records"]}
    assert records.pop("half_damped") == [
        "scorekit-half-damped", "0.1", "half_damped", {"proposals": ["half-damped"]}, None
    ]  # fmt: skip
    assert records.pop("scorekit")[1:3] == [sk.__version__, None]
    assert list(records) == list(BROKEN)
    for name, (distribution, version, entry_point, components, error) in records.items():
        assert (distribution, version, entry_point, components) == (name, "0.2", name, {})
        assert re.search(REASONS[name], error), error
        assert re.search(rf"'{name}' \({name}\): .*{REASONS[name]}", found["miss"])


def test_the_environment_variable_leaves_installed_plugins_out(half_damped, broken):
    code = """
        import scorekit as sk
        print([record.name for record in sk.plugins()], list(sk.registry("proposals")))
    """
    printed = run(code, half_damped, broken, **{DISABLE: "1"}).strip()
    assert printed == "['scorekit'] ['langevin', 'hamiltonian', 'random-walk']"


HEAVY = ("matplotlib", "accelerate", "PIL", "sklearn", "pooch", "tqdm", "scipy.stats", "half_damped", *BROKEN)
LOADED = """
    import sys, torch, numpy, einops, pluggy
    before = set(sys.modules)
    import scorekit
    print(*sorted(set(sys.modules) - before))
    {then}
    print(*sorted(set(sys.modules) - before))
"""


def test_import_scorekit_is_light_and_loads_no_plugin(half_damped, broken):
    """It loads nothing at all. The mutant: a look-up, which loads the plugin, though nothing else that is heavy."""
    imported, used = run(LOADED.format(then="scorekit.registry('proposals')"), half_damped, broken).splitlines()
    assert imported.split() == ["scorekit"]
    assert {"scorekit.registry", "half_damped"} <= set(used.split())
    assert not (set(HEAVY) - {"half_damped", *BROKEN}) & set(used.split())


# -------------------------------------------------------------------------------------------------------- the documents


def test_the_page_on_extending_covers_every_hook_and_this_projects_entry_point():
    page = (ROOT / "docs" / "extending.md").read_text()
    headings = re.findall(r"^### (\w+)$", page, flags=re.MULTILINE)
    assert sorted(headings) == sorted(f"scorekit_{kind}" for kind in KINDS)
    defined = set(re.findall(r"def (scorekit_\w+)\(self\)", page)) - {"scorekit_proposal"}  # the misspelt one
    assert defined == set(headings)
    project = tomllib.loads(re.search(r"```toml\n(.*?)```", page, flags=re.DOTALL)[1])["project"]
    assert project["entry-points"] == tomllib.loads(PROJECT)["project"]["entry-points"]
    assert project["name"] == tomllib.loads(PROJECT)["project"]["name"]


@pytest.fixture
def example(monkeypatch):
    """examples/register_a_sampler.py, with a registry of its own."""
    spec = importlib.util.spec_from_file_location("register_a_sampler", ROOT / "examples" / "register_a_sampler.py")
    module = importlib.util.module_from_spec(spec)
    own = Registry()
    for name in ("register", "make"):
        monkeypatch.setattr(sk, name, getattr(own, name))
    monkeypatch.setitem(sys.modules, "register_a_sampler", module)
    spec.loader.exec_module(module)
    return module


def test_the_example_samples_the_mixture(example, capsys):
    """5,000 chains; the new kernel's mean and variance are within 4.9 standard errors. The mutant is Euler's kernel,
    off by 33 % in the second variance."""
    moments = example.main()
    assert "LeimkuhlerMatthews()" in capsys.readouterr().out
    (mean, std), (_, euler), (found, spread) = moments.values()
    count = 5_000
    assert ((found - mean).abs() < 4.9 * std / count**0.5).all()
    bound = 4.9 * (2 / count) ** 0.5  # of a relative variance, for kurtosis <= 3 as both marginals have
    assert ((spread / std).square() - 1).abs().max() < bound
    assert (euler / std).square()[1] - 1 > bound


def test_the_examples_kernel_is_exact_on_a_gaussian_where_eulers_is_not(example):
    """h / v = 1/2: Euler's variance is v / (1 - h / 2v) = 4/3 v. 20,000 chains, so 4.9 standard errors are 4.9 %."""
    generator = torch.Generator().manual_seed(1)
    ratios = {}
    for kernel in (example.LeimkuhlerMatthews(), sk.Unadjusted(sk.Langevin())):
        sampler = sk.AnnealedMCMC(kernel, sk.SingleLevel(0.0), sk.Constant(0.5), steps_per_level=30)
        x = sk.sample(sampler, sk.densities.Gaussian((0.0,)), (20_000, 1), generator=generator)
        ratios[type(kernel).__name__] = x.var().item()
    assert abs(ratios["LeimkuhlerMatthews"] - 1) < 0.049
    assert abs(ratios["Unadjusted"] - 4 / 3) < 0.049 * 4 / 3
