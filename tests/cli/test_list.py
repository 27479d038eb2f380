"""`scorekit list` and `scorekit plugins`."""

import re
import sys
from importlib.metadata import EntryPoint

import pytest

import scorekit as sk
from scorekit.hookspecs import KINDS
from scorekit.registry import Registry
from tests.registry.cases import REGISTRY, HalfDamped, plugin_with

OTHERS = {
    "good": plugin_with(proposals={"half-damped": HalfDamped}),
    "greedy": plugin_with(proposals={"langevin": HalfDamped, "greedy": HalfDamped}),
    "gone": None,  # its import fails
}


@pytest.fixture
def installed(monkeypatch: pytest.MonkeyPatch) -> None:
    """Three plugins: one that works, one that takes a built-in name, one that cannot be imported."""
    points = [EntryPoint(name, f"module_of_{name}", "scorekit") for name in OTHERS]
    for name, module in OTHERS.items():
        monkeypatch.setitem(sys.modules, f"module_of_{name}", module)
    made = Registry(lambda: points)
    monkeypatch.setattr(REGISTRY, "default_registry", lambda: made)


def listed(text: str) -> dict[str, dict[str, list[str]]]:
    """{kind: {name: [plugin, remark...]}}"""
    found: dict[str, dict[str, list[str]]] = {}
    for line in text.splitlines():
        if not line.startswith(" "):
            found[line] = here = {}
        else:
            name, *rest = line.split()
            here[name] = rest
    return found


def test_every_component_of_every_kind_is_listed_with_its_plugin(cli):
    result = cli("list")
    assert (result.code, result.err) == (0, "")
    found = listed(result.out)
    assert {kind: list(names) for kind, names in found.items()} == {kind: list(sk.registry(kind)) for kind in KINDS}
    assert found["samplers"]["heun"] == ["scorekit"]


def test_plugins_components_are_listed_and_a_contested_name_hides_no_other(cli, installed):
    proposals = cli("list").out.split("proposals\n")[1].split("line_integrals\n")[0].splitlines()
    assert [line.split() for line in proposals] == [
        ["langevin", "scorekit", *["contested:", "no", "plugin", "has", "it"]],
        ["hamiltonian", "scorekit"],
        ["random-walk", "scorekit"],
        ["half-damped", "good"],
        ["langevin", "greedy", *["contested:", "no", "plugin", "has", "it"]],
        ["greedy", "greedy"],
    ]


def test_one_kind_is_listed_with_summaries_and_parameters(cli, installed):
    lines = cli("list", "samplers").out.splitlines()
    place = next(i for i, line in enumerate(lines) if line.startswith("heun "))
    assert re.match(r"heun +scorekit +Heun's method on the flow \(Karras et al", lines[place])
    assert lines[place + 1].split() == ["noise,", "start,", "final"]
    assert len(lines) == 2 * len(sk.registry("samplers"))
    proposals = cli("list", "proposals").out.splitlines()
    assert proposals[-1].strip() == "damping"
    assert sum("contested" in line for line in proposals) == 2


def test_an_unknown_kind_is_refused_with_those_there_are(cli):
    assert cli("list", "smaplers").fails(2, "did you mean 'samplers'", *KINDS)


def test_plugins_are_shown_with_their_versions_and_the_broken_ones_with_the_reason(cli, installed):
    result = cli("plugins")
    assert (result.code, result.err) == (0, "")  # a broken plugin harms no other
    rows = {line.split()[0]: line for line in result.out.splitlines()}
    assert list(rows) == ["scorekit", *OTHERS]
    assert f"scorekit {sk.__version__}" in rows["scorekit"]
    assert "13 samplers" in rows["scorekit"]
    assert "1 proposals" in rows["good"]
    assert "broken" not in rows["good"]
    assert "broken: ModuleNotFoundError" in rows["gone"]
    assert "'langevin'" in rows["greedy"]
    assert "broken" not in rows["greedy"]


def test_it_says_when_installed_plugins_are_left_out(cli, monkeypatch):
    assert "SCOREKIT_DISABLE_PLUGINS" not in cli("plugins").out
    monkeypatch.setenv("SCOREKIT_DISABLE_PLUGINS", "1")
    assert cli("plugins").out.splitlines()[-1].endswith("because SCOREKIT_DISABLE_PLUGINS is set")
