"""Look-up, and components made by name from the annotations of their parameters."""

import sys
import types
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any

import pytest
from torch import nn

from scorekit.base import Kernel, Point, Proposal, StepSize
from scorekit.component import admits, kind_of, read_parameters
from scorekit.kernels import Unadjusted
from scorekit.noise import Geometric, SingleLevel
from scorekit.proposals import Langevin
from scorekit.registry import UnknownNameError
from scorekit.samplers import annealed_langevin
from scorekit.starts import Matched
from scorekit.step_sizes import Constant, SigmaSquared
from scorekit.transitions import Denoise, Stay

if TYPE_CHECKING:
    pass
from tests.registry.cases import BUILT_IN, HalfDamped, Pair, plugin_with


def test_a_kind_is_a_read_only_mapping(registry):
    proposals = registry.components("proposals")
    assert list(proposals) == [*BUILT_IN["proposals"], "half-damped"]
    assert (proposals["langevin"], proposals["half-damped"]) == (Langevin, HalfDamped)
    assert len(proposals) == 4
    assert "langevin" in proposals
    assert "nothing" not in proposals
    assert 3 not in proposals
    assert proposals.get("nothing") is None
    assert "__setitem__" not in dir(proposals)


@pytest.mark.parametrize(
    ("call", "error", "parts"),
    [
        (lambda r: r.components("sampler"), UnknownNameError, ["'sampler'", "did you mean 'samplers'?", "densities"]),
        (lambda r: r.make("sampler", "langevin"), UnknownNameError, ["did you mean 'samplers'?"]),
        (lambda r: r.make("proposals", "half-dmped"), UnknownNameError, ["'half-dmped'", "mean 'half-damped'?"]),
        (lambda r: r.make("proposals", "zzz"), UnknownNameError, ["random-walk (scorekit), half-damped (third-party)"]),
        (lambda r: r.components("proposals")["lngevin"], UnknownNameError, ["did you mean 'langevin'?"]),
        (
            lambda r: r.make("proposals", "half-damped", dampng=1.0),
            TypeError,
            ["'dampng'", "mean 'damping'?", "third-"],
        ),
        (lambda r: r.make("proposals", "langevin", h=1.0), TypeError, ["'h'", "takes no parameters"]),
        (lambda r: r.make("samplers", "annealed-langevin"), TypeError, ["missing 'noise'", "takes noise, step_size"]),
        (lambda r: r.make("samplers", "langevin", num_steps="ten"), TypeError, ["sampler.num_steps = 'ten'", "int"]),
        (lambda r: r.make("samplers", "langevin", num_steps=True), TypeError, ["sampler.num_steps = True"]),
        (lambda r: r.make("samplers", "langevin", num_steps=1.5), TypeError, ["sampler.num_steps = 1.5"]),
        (lambda r: r.make("samplers", "langevin", start=Stay()), TypeError, ["sampler.start = Stay()", "Start"]),
        (
            lambda r: r.make("samplers", "langevin", start="stay"),
            UnknownNameError,
            ["sampler.start: no start is named"],
        ),
        (lambda r: r.make("samplers", "langevin", step_size="constant"), TypeError, ["sampler.step_size: missing"]),
        (
            lambda r: r.make("kernels", "pair", first={"nam": "langevin"}),
            TypeError,
            ["kernel.first = {'nam'", '"name"'],
        ),
        (lambda r: r.make("kernels", "pair", first={"name": 3}), TypeError, ["kernel.first = {'name': 3}"]),
        (
            lambda r: r.make("kernels", "pair", first={"kind": "starts", "name": "matched"}),
            TypeError,
            ["kernel.first = {'kind': 'starts'", "\"kind\": 'proposals'"],
        ),
        (lambda r: r.make("noise_schedules", "geometric", sigma_min=-1.0), ValueError, ["0 < sigma_min < sigma_max"]),
    ],
)
def test_a_wrong_name_or_parameter_is_refused_with_what_was_given_and_what_may_be(registry, call, error, parts):
    with pytest.raises(error) as caught:
        call(registry)
    for part in parts:
        assert part in str(caught.value)


def test_a_constructors_error_says_where(registry):
    with pytest.raises(ValueError, match="sigma_min") as caught:
        registry.make("samplers", "annealed-langevin", noise={"name": "geometric", "params": {"sigma_min": 2.0}})
    assert "at sampler.noise" in "".join(caught.value.__notes__)


@pytest.mark.parametrize(
    ("kind", "name", "params", "expected"),
    [
        ("proposals", "langevin", {}, Langevin()),
        ("noise_schedules", "geometric", {"num_levels": 3}, Geometric(num_levels=3)),
        ("kernels", "unadjusted", {"proposal": "langevin"}, Unadjusted(Langevin())),
        ("kernels", "unadjusted", {"proposal": HalfDamped(0.1)}, Unadjusted(HalfDamped(0.1))),
        ("kernels", "pair", {"first": "half-damped"}, Pair(HalfDamped())),
        ("kernels", "pair", {"first": "langevin", "rule": "sigma-squared"}, Pair(Langevin(), SigmaSquared())),
        ("kernels", "pair", {"first": "langevin", "rule": 0.5}, Pair(Langevin(), 0.5)),
        ("kernels", "pair", {"first": "langevin", "label": "langevin"}, Pair(Langevin(), label="langevin")),
        (
            "kernels",
            "pair",
            {"first": {"kind": "proposals", "name": "half-damped", "params": {"damping": 2}}, "rule": None},
            Pair(HalfDamped(2)),
        ),
        (
            "samplers",
            "annealed-langevin",
            {"noise": {"name": "single-level", "params": {"sigma": 0.5}}, "step_size": 0.1, "final": "denoise"},
            annealed_langevin(SingleLevel(0.5), step_size=Constant(0.1), final=Denoise()),
        ),
    ],
)
def test_making_by_name_equals_making_by_hand(registry, kind, name, params, expected):
    assert registry.make(kind, name, **params) == expected


def test_a_factory_must_make_its_kind(registry):
    def langevin_by_mistake() -> Proposal:
        return Matched()

    registry.register(plugin_with(proposals={"mistaken": langevin_by_mistake}), "mistaken")
    with pytest.raises(TypeError, match=r"mistaken.* made Matched\(\): expected a Proposal"):
        registry.make("proposals", "mistaken")


def test_a_partial_is_a_factory(registry):
    registry.register(plugin_with(proposals={"weak": partial(HalfDamped, damping=0.1)}), "weak")
    assert registry.make("proposals", "weak") == HalfDamped(0.1)


@pytest.mark.parametrize(
    ("hint", "kind"),
    [
        (Proposal, "proposals"),
        (Kernel[Any], "kernels"),
        (StepSize | float | None, "step_sizes"),
        (Langevin, "proposals"),
        (nn.Module, "networks"),
        (str, None),
        (str | StepSize, None),
        (tuple[Proposal, ...], None),
        (Any, None),
        (None, None),
    ],
)
def test_the_kind_that_a_string_names(hint, kind):
    assert kind_of(hint) == kind


@pytest.mark.parametrize(
    ("hint", "value", "admitted"),
    [
        (float, 1, True),
        (float, 1.5, True),
        (float, True, False),
        (int, 1.0, False),
        (bool, True, True),
        (bool, 1, False),
        (str, "a", True),
        (str | None, None, True),
        (str | None, 1, False),
        (Proposal, Langevin(), True),
        (Kernel[Any], Langevin(), False),
        (StepSize | float | None, Langevin(), False),
        (tuple[int, ...], "anything", True),
        (Any, "anything", True),
        (Point, "anything", True),
    ],
)
def test_what_an_annotation_admits(hint, value, admitted):
    assert admits(hint, value) is admitted


def test_inherited_annotations_resolve_in_the_module_that_wrote_them(monkeypatch):
    """A dataclass's __init__ belongs to the module of the class, which need not know the names of its base's module."""
    base = types.ModuleType("the_base")
    monkeypatch.setitem(sys.modules, "the_base", base)
    exec_in(base, "from dataclasses import dataclass\nfrom scorekit.base import Proposal as Hidden\n")
    exec_in(base, "@dataclass(frozen=True)\nclass Base:\n    inner: 'Hidden'\n")

    @dataclass(frozen=True)
    class Derived(base.Base):
        pass

    assert read_parameters(Derived)["inner"].annotation is Proposal


def exec_in(module: types.ModuleType, source: str) -> None:
    exec(compile(source, f"{module.__name__}.py", "exec"), vars(module))
