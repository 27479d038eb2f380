"""to_config and from_config: the round trip is exact, and what is not configuration is refused with its place."""

import json
import math
import sys
from collections.abc import Callable
from dataclasses import dataclass, fields, is_dataclass
from fractions import Fraction
from functools import partial
from importlib.metadata import EntryPoint
from itertools import chain
from typing import Any, Literal

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from scorekit.base import Kernel, Start
from scorekit.config import from_config, to_config
from scorekit.densities import Gaussian, GaussianMixture
from scorekit.estimators import DenoisingScoreMatching
from scorekit.hookspecs import KINDS, hookimpl
from scorekit.kernels import Unadjusted
from scorekit.models import DirectScore, RoundToLevels, ScaledScore
from scorekit.noise import Geometric, SingleLevel
from scorekit.proposals import Langevin
from scorekit.registry import DuplicateNameError, Registry, UnknownNameError
from scorekit.samplers import AnnealedMCMC, annealed_langevin, langevin
from scorekit.starts import Matched, Uniform
from scorekit.step_sizes import Constant, SigmaSquared
from scorekit.transitions import Denoise, Stay

# ----------------------------------------------------------------------------------------------------------- components


@dataclass(frozen=True)
class Layered(Start):
    """A third party's component with every type that is configuration."""

    inner: tuple[Start, ...] = ()
    shape: tuple[tuple[int, ...], ...] = ()
    mode: Literal["a", "b"] = "a"
    flag: bool = False
    level: float | None = None

    def draw(self, like, sigma, *, family=None, generator=None): ...


class Affine(nn.Module):
    def __init__(self, num_features: int, shape: tuple[int, ...] = ()):
        super().__init__()
        self.num_features, self.shape = num_features, shape
        self.linear = nn.Linear(num_features, num_features)
        self.register_buffer("noise_levels", torch.tensor([1.0, 0.1], dtype=torch.float64))

    def forward(self, x, sigma):
        return self.linear(x)


class Forgetful(nn.Module):
    def __init__(self, num_features: int):
        super().__init__()


@dataclass(frozen=True)
class Loose(Start):
    """Takes whatever it is given."""

    value: Any

    def draw(self, like, sigma, *, family=None, generator=None): ...


class Plugin:
    @hookimpl
    def scorekit_starts(self):
        return {"layered": Layered, "loose": Loose}

    @hookimpl
    def scorekit_networks(self):
        return {"affine": Affine, "forgetful": Forgetful}


@pytest.fixture(scope="module")
def registry() -> Registry:
    made = Registry()
    made.register(Plugin(), "third-party")
    return made


positive = st.floats(1e-6, 1e6)
noise_schedules = st.one_of(
    st.builds(lambda low, ratio, n: Geometric(low * ratio, low, n), positive, st.floats(1.5, 1e3), st.integers(2, 999)),
    st.builds(SingleLevel, st.floats(0, 1e6)),
)
step_sizes = st.one_of(st.builds(Constant, positive), st.builds(SigmaSquared, positive, positive))
uniforms = st.builds(lambda low, width: Uniform(low, low + width), st.floats(-1e6, 1e6), st.floats(1, 1e6))
starts = st.recursive(
    st.one_of(st.just(Matched()), uniforms),
    lambda inner: st.builds(
        Layered,
        st.lists(inner, max_size=3).map(tuple),
        st.lists(st.lists(st.integers(), max_size=3).map(tuple), max_size=3).map(tuple),
        st.sampled_from(["a", "b"]),
        st.booleans(),
        st.none() | st.floats(allow_nan=False, allow_infinity=False),
    ),
    max_leaves=6,
)
kernels = st.builds(Unadjusted, st.just(Langevin()))
samplers = st.one_of(
    st.builds(
        AnnealedMCMC, kernels, noise_schedules, step_sizes, st.integers(0, 10**6), st.just(Stay()), starts,
        st.sampled_from([Stay(), Denoise()]),
    ),
    st.builds(annealed_langevin, noise_schedules, step_size=step_sizes | positive | st.none(), start=starts),
    st.builds(langevin, sigma=st.floats(0, 1e6), step_size=step_sizes | st.none(), num_steps=st.integers(0, 99)),
)  # fmt: skip
coordinates = st.floats(-1e6, 1e6)
densities = st.one_of(
    st.builds(Gaussian, st.lists(coordinates, min_size=1, max_size=4).map(tuple), positive),
    st.builds(Gaussian, st.tuples(st.tuples(coordinates, coordinates)), st.tuples(positive, positive)),
    st.builds(
        GaussianMixture, st.tuples(*[st.tuples(coordinates, coordinates)] * 2),
        st.sampled_from([None, (0.25, 0.75)]), positive | st.tuples(positive, st.just(0.0)),
    ),
)  # fmt: skip
components = st.one_of(
    noise_schedules,
    step_sizes,
    starts,
    kernels,
    samplers,
    densities,
    st.just(DenoisingScoreMatching()),
    st.just(Denoise()),
)

# ------------------------------------------------------------------------------------------------------------- the laws


def round_trip(component: object, to: Callable[[object], Any], back: Callable[[Any], object]) -> None:
    """The law: through strict JSON and back, the same component, and each field of the same type all the way down."""
    again = back(json.loads(json.dumps(to(component), allow_nan=False)))
    assert again == component
    assert same_types(again, component)


def same_types(one: object, other: object) -> bool:
    if type(one) is not type(other):
        return False
    if is_dataclass(one):
        return all(same_types(getattr(one, f.name), getattr(other, f.name)) for f in fields(one))
    return not isinstance(one, tuple) or all(map(same_types, one, other))


@settings(max_examples=25, derandomize=True, deadline=None)
@given(component=components)
def test_the_round_trip_is_exact(registry, component):
    round_trip(component, partial(to_config, registry=registry), partial(from_config, registry=registry))


def walk(config: Any, change: Callable[[dict], dict]) -> Any:
    """A configuration with every component's dict changed."""
    if isinstance(config, dict):
        return change({key: walk(value, change) for key, value in config.items()})
    return [walk(value, change) for value in config] if isinstance(config, list) else config


MUTANTS = {
    "nested parameters are lost": lambda d: d | {"params": {}} if d.get("kind") == "noise_schedules" else d,
    "floats are rounded": lambda d: {k: round(v, 3) if isinstance(v, float) else v for k, v in d.items()},
    "numbers become floats": lambda d: {k: float(v) if type(v) is int else v for k, v in d.items()},
    "flags become numbers": lambda d: {k: int(v) if type(v) is bool else v for k, v in d.items()},
    "the wrong name": lambda d: d | {"name": "stay"} if d.get("name") == "denoise" else d,
    "tuples are flattened": lambda d: {k: list(chain(*v)) if k == "shape" else v for k, v in d.items()},
}
RICH = AnnealedMCMC(
    Unadjusted(Langevin()),
    Geometric(1.23456789, 0.0123456789, 7),
    start=Layered((Matched(), Uniform(-0.1, 1 / 3)), ((1, 2), ()), "b", True, 2.0),
    final=Denoise(),
)


@pytest.mark.parametrize("name", MUTANTS)
def test_the_law_rejects_a_broken_config(registry, name):
    def mutant(component: object) -> dict[str, Any]:
        return walk(to_config(component, registry=registry), MUTANTS[name])

    read = partial(from_config, registry=registry)
    round_trip(RICH, partial(to_config, registry=registry), read)
    with pytest.raises((AssertionError, TypeError)):
        round_trip(RICH, mutant, read)


def test_the_law_rejects_lists_that_stay_lists(registry):
    def mutant(config: Any) -> object:
        return Layered(shape=config["params"]["shape"])

    component = Layered(shape=((1, 2), ()))
    round_trip(component, partial(to_config, registry=registry), partial(from_config, registry=registry))
    with pytest.raises(AssertionError):
        round_trip(component, partial(to_config, registry=registry), mutant)


# -------------------------------------------------------------------------------------------------------- what it looks


def test_a_configuration_is_kind_name_and_parameters_all_the_way_down():
    assert to_config(Unadjusted(Langevin())) == {
        "kind": "kernels",
        "name": "unadjusted",
        "params": {"proposal": {"kind": "proposals", "name": "langevin", "params": {}}},
    }
    sampler = to_config(langevin(sigma=0.5, step_size=0.25, num_steps=3))
    assert list(sampler["params"]) == [field.name for field in fields(AnnealedMCMC)]
    assert sampler["params"]["noise"]["params"] == {"sigma": 0.5}


@pytest.mark.parametrize("kind", [kind for kind in KINDS if kind != "recipes"])  # written down by scorekit.runs
def test_every_built_in_class_that_needs_no_argument_round_trips(kind):
    registry = Registry()
    for name in registry.names(kind):
        parameters = registry.component(kind, name).parameters.values()
        if all(p.default is not p.empty for p in parameters):
            made = registry.make(kind, name)
            assert from_config(to_config(made)) == made


def test_a_modules_configuration_is_its_constructors_arguments(registry):
    models = {
        "direct": DirectScore(Affine(2, (1, 2)), Geometric(1.0, 0.1, 2)),
        "scaled": ScaledScore(Affine(3), min_sigma=0.25),
        "rounded": RoundToLevels(DirectScore(Affine(2))),
    }
    for model in models.values():
        config = json.loads(json.dumps(to_config(model, registry=registry), allow_nan=False))
        again = from_config(config, registry=registry)
        assert type(again) is type(model)
        assert to_config(again, registry=registry) == config
        again.load_state_dict(model.state_dict())  # the weights have the same names and shapes
    scaled = to_config(models["scaled"], registry=registry)
    assert scaled["params"]["net"] == {
        "kind": "networks", "name": "affine", "params": {"num_features": 3, "shape": []}
    }  # fmt: skip
    assert (scaled["params"]["min_sigma"], scaled["params"]["noise"]) == (0.25, None)


@pytest.mark.parametrize(
    ("value", "written"),
    [
        (np.float64(0.1), 0.1),
        (np.float32(0.1), float(np.float32(0.1))),
        (np.int64(3), 3),
        (torch.Size([2, 3]), [2, 3]),
        (2**70, 2**70),
        ((), []),
        ("\u03c3", "\u03c3"),
    ],
)
def test_scalars_of_other_libraries_are_numbers(registry, value, written):
    config = to_config(Loose(value), registry=registry)
    assert config["params"]["value"] == written
    assert type(config["params"]["value"]) is type(written)
    assert from_config(json.loads(json.dumps(config)), registry=registry).value == value


# ---------------------------------------------------------------------------------------------------------- what is not


@pytest.mark.parametrize(
    ("component", "error", "parts"),
    [
        (Loose(lambda x: x), TypeError, ["start.value = <function", "is not configuration", "is a function"]),
        (
            AnnealedMCMC(Unadjusted(Langevin()), SingleLevel(1.0), start=Loose(len)),
            TypeError,
            ["sampler.start.value = <built-in"],
        ),
        (Uniform(0.0, torch.tensor(1.0)), TypeError, ["start.high = tensor(1.)", "is a torch.Tensor"]),
        (Loose(np.zeros(2)), TypeError, ["start.value = array([0., 0.])", "is a numpy.ndarray"]),
        (Loose([1, 2]), TypeError, ["start.value = [1, 2]", "a tuple of these", "is a list"]),
        (Loose({"a": 1}), TypeError, ["start.value = {'a': 1}", "is a dict"]),
        (Loose(Fraction(1, 3)), TypeError, ["start.value = Fraction(1, 3)", "it is no float"]),
        (Loose(1j), TypeError, ["start.value = 1j"]),
        (Loose(math.nan), ValueError, ["start.value = nan", "finite"]),
        (Loose(-math.inf), ValueError, ["start.value = -inf", "finite"]),
        (Loose(((1, 2), (3, {4}))), TypeError, ["start.value[1][1] = {4}", "is a set"]),
        (Layered((Matched(), Loose(math.inf))), ValueError, ["start.inner[1].value = inf"]),
        (DirectScore(nn.Linear(2, 2)), TypeError, ["model.net = Linear(", "torch.nn.modules.linear.Linear"]),
        (DirectScore(Forgetful(3)), TypeError, ["model.net: Forgetful does not keep its argument 'num_features'"]),
        (3, TypeError, ["config = 3 is not configuration"]),
        (Langevin, TypeError, ["config = <class", "is not configuration"]),
    ],
)
def test_what_is_not_configuration_is_refused_with_its_place(registry, component, error, parts):
    with pytest.raises(error) as caught:
        to_config(component, registry=registry)
    for part in parts:
        assert part in str(caught.value)


def config_of(kind: object = "starts", name: object = "uniform", **params: object) -> dict[str, object]:
    return {"kind": kind, "name": name, "params": params}


@pytest.mark.parametrize(
    ("config", "error", "parts"),
    [
        (None, TypeError, ["config = None: expected {"]),
        ([config_of()], TypeError, ["config = [{"]),
        ({"kind": "starts", "name": "uniform"}, TypeError, ["config = {'kind'", "no other key"]),
        (config_of() | {"version": 2}, TypeError, ["'version': 2", "no other key"]),
        (config_of(kind="start"), UnknownNameError, ["no kind is named 'start'; did you mean 'starts'"]),
        (config_of(kind=3), TypeError, ["strings for kind and name"]),
        (config_of(kind=["starts"]), TypeError, ["strings for kind and name"]),
        (config_of(name="unifrm"), UnknownNameError, ["start: no start is named 'unifrm'; did you mean 'uniform'"]),
        (config_of(name=None), TypeError, ["strings for kind and name"]),
        (config_of(name="os.system"), UnknownNameError, ["no start is named 'os.system'"]),
        (config_of() | {"params": []}, TypeError, ["config = {"]),
        (config_of() | {"params": {1: 2}}, TypeError, ["config = {"]),
        (config_of(hihg=2.0), TypeError, ["start: unknown parameter 'hihg'; did you mean 'high'?"]),
        (config_of(high="one"), TypeError, ["start.high = 'one': expected float"]),
        (config_of(high=math.nan), ValueError, ["start.high = nan"]),
        (config_of(high=math.inf), ValueError, ["start.high = inf"]),
        (config_of(high=-1.0), ValueError, ["Uniform(low=0.0, high=-1.0)"]),
        (config_of(name="loose", value=b"x"), TypeError, ["start.value = b'x': expected {"]),
        (config_of(name="loose", value=(1, 2)), TypeError, ["start.value = (1, 2): expected {"]),
        (config_of(name="loose", value=[1, {}]), TypeError, ["start.value[1] = {}: expected {"]),
        (
            config_of("kernels", "unadjusted", proposal=config_of("starts", "matched")),
            TypeError,
            ["kernel.proposal = Matched(): expected", "Proposal"],
        ),
        (
            config_of(name="layered", inner=[config_of(name="layered", inner=[config_of(name="mached")])]),
            UnknownNameError,
            ["start.inner[0].inner[0]: no start is named 'mached'; did you mean 'matched'"],
        ),
    ],
)
def test_a_wrong_configuration_is_refused_with_its_place(registry, config, error, parts):
    with pytest.raises(error) as caught:
        from_config(config, registry=registry)
    for part in parts:
        assert part in str(caught.value)


def test_a_contested_name_is_not_written(monkeypatch):
    class Other:
        @hookimpl
        def scorekit_kernels(self):
            return {"mine": Mine}

    class Mine(Kernel):
        def init(self, point, *, generator=None): ...
        def step(self, point, state, step_size, *, generator=None): ...

    class Clashing:
        @hookimpl
        def scorekit_kernels(self):
            return {"mine": Unadjusted}

    for name, plugin in {"one": Other(), "two": Clashing()}.items():
        monkeypatch.setitem(sys.modules, f"clashing_{name}", plugin)
    both = Registry(lambda: [EntryPoint(name, f"clashing_{name}", "scorekit") for name in ("one", "two")])
    with pytest.raises(DuplicateNameError, match="'mine' of a kernel is given by the plugins 'one' and 'two'"):
        to_config(Mine(), registry=both)
    assert to_config(Unadjusted(Langevin()), registry=both)["name"] == "unadjusted"
