"""The interfaces: what is checked once, what wrappers delegate, what a Gaussian proposal derives, and the records."""

import dataclasses
import inspect
from dataclasses import dataclass
from importlib import import_module
from typing import final

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor, nn

import scorekit as sk
from scorekit import densities, metrics
from scorekit.base import (
    GaussianProposal,
    Move,
    Point,
    ScoreModel,
    Target,
    TargetFamily,
    WrappedFamily,
    expand,
)
from tests.laws.components import Deciding, Moody
from tests.laws.statistics import ALPHA, hotelling
from tests.laws.targets import gauss3, mixture3


@final
class Table(TargetFamily):
    """Valid at .1 and 1 only."""

    @property
    def noise_levels(self) -> Tensor:
        return torch.tensor([1.0, 0.1])

    def at(self, sigma: float, *, like: Tensor | None = None, generator: object = None) -> Target:
        return Target(lambda x: -x)


@final
class Thin(WrappedFamily):
    def __init__(self, family: TargetFamily):
        self._family = family

    @property
    def family(self) -> TargetFamily:
        return self._family

    def at(self, sigma: float, *, like: Tensor | None = None, generator: object = None) -> Target:
        return self._family.at(sigma, like=like)


@final
class Odd(TargetFamily):
    """Every property unlike its default."""

    noise_levels = torch.tensor([2.0, 1.0])
    min_sigma = 0.25
    moments = (torch.zeros(2), torch.ones(2))
    refresh = "step"
    inference_mode = True
    device = torch.device("meta")
    dtype = torch.float16

    def at(self, sigma: float, *, like: Tensor | None = None, generator: object = None) -> Target:
        return Target(lambda x: -x)


# ---------------------------------------------------------------------------------------------------------- families


@pytest.mark.parametrize("levels", [[1.0, 0.1], [1.0], [0.1 * (1 + 9e-5)]])
def test_a_family_accepts_its_own_levels_to_one_part_in_ten_thousand(levels):
    Table().require(torch.tensor(levels, dtype=torch.float64))


def test_the_smallest_level_may_be_off_by_a_rounding_in_single_precision():
    least = float(torch.tensor(0.01))  # above .01 or below it
    sk.ScaledScore(nn.Identity(), min_sigma=max(least, 0.01)).require(torch.tensor([min(least, 0.01)]).double())
    with pytest.raises(ValueError, match="below the smallest level"):
        sk.ScaledScore(nn.Identity(), min_sigma=0.01).require(torch.tensor([0.01 * (1 - 1e-5)], dtype=torch.float64))


@pytest.mark.parametrize("sigma", [0.0, 0.1 * (1 + 2e-4), 0.5, 2.0])
def test_a_family_refuses_other_levels_and_names_the_remedy(sigma):
    with pytest.raises(ValueError, match=rf"sigma = {sigma:g} is not one of the 2 levels that Table.*RoundToLevels"):
        Table().require(torch.tensor([1.0, sigma], dtype=torch.float64))


def test_a_family_refuses_levels_below_its_smallest():
    model = sk.ScaledScore(nn.Identity(), min_sigma=0.01)
    model.require(torch.tensor([0.01], dtype=torch.float64))
    with pytest.raises(ValueError, match=r"sigma = 0.005 is below the smallest level 0.01 at which ScaledScore"):
        model.require(torch.tensor([0.01, 0.005], dtype=torch.float64))


def test_a_wrapped_family_delegates_every_property():
    names = [name for name, value in vars(TargetFamily).items() if isinstance(value, property)]
    assert len(names) >= 7
    for name in names:
        assert getattr(Thin(Odd()), name) is getattr(Odd(), name), name
        assert name in vars(WrappedFamily), f"WrappedFamily does not delegate {name}"


def test_a_wrapped_family_puts_the_modules_underneath_in_evaluation_mode():
    model = sk.DirectScore(Moody())
    with Thin(Thin(model)).evaluating():
        assert not any(module.training for module in model.modules())
    assert model.training


# ------------------------------------------------------------------------------------------------------ score models


def test_each_submodule_gets_its_own_mode_back():
    model = sk.DirectScore(Moody())
    before = [module.training for module in model.modules()]
    assert len(set(before)) == 2  # some train, some do not
    with model.evaluating():
        assert not any(module.training for module in model.modules())
    assert [module.training for module in model.modules()] == before
    with pytest.raises(KeyboardInterrupt), model.evaluating():
        raise KeyboardInterrupt
    assert [module.training for module in model.modules()] == before
    model.train()  # the mutant: one mode for all
    assert [module.training for module in model.modules()] != before


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_moments_travel_in_the_state_dict(dtype):
    model, other = (sk.DirectScore(nn.Linear(2, 2).to(dtype)) for _ in range(2))
    assert model.moments is None
    assert "data_mean" not in model.state_dict()
    model.set_moments(torch.tensor([1.0, 2.0]), torch.tensor([0.0, 3.0]))
    other.load_state_dict(model.state_dict())
    mean, std = other.moments
    assert mean.dtype == std.dtype == dtype
    assert mean.tolist() == [1.0, 2.0]
    assert std.tolist() == [0.0, 3.0]
    other.load_state_dict(model.state_dict())  # a second time, into buffers that are there already
    with pytest.raises(RuntimeError, match="data_mean"):
        other.load_state_dict({key: value for key, value in model.state_dict().items() if "data" not in key})


def test_moments_are_copies():
    model, mean = sk.DirectScore(nn.Identity()), torch.zeros(2)
    model.set_moments(mean, torch.ones(2))
    mean += 1
    assert model.moments[0].tolist() == [0.0, 0.0]


@pytest.mark.parametrize(
    ("mean", "std"),
    [
        (torch.zeros(2), torch.zeros(3)),
        (torch.tensor([torch.nan]), torch.ones(1)),
        (torch.zeros(1), torch.tensor([torch.inf])),
        (torch.zeros(1), -torch.ones(1)),
    ],
)
def test_bad_moments_are_refused(mean, std):
    with pytest.raises(ValueError, match="one shape, finite values and std >= 0"):
        sk.DirectScore(nn.Identity()).set_moments(mean, std)


def test_a_model_answers_with_its_own_device_and_dtype():
    model = sk.DirectScore(nn.Linear(2, 2).double())
    assert (model.device, model.dtype) == (torch.device("cpu"), torch.float64)
    empty = sk.DirectScore(nn.Identity())
    assert (empty.device, empty.dtype) == (None, None)


def test_a_model_is_asked_with_one_sigma_per_chain_in_the_type_of_x():
    asked = []

    @final
    class Log(ScoreModel):
        def forward(self, x: Tensor, sigma: Tensor, condition: Tensor | None = None) -> Tensor:
            asked.append(sigma)
            return -x

    target = Log().at(0.3)
    assert asked == []  # `at` evaluates nothing
    target.point(torch.zeros(4, 2, dtype=torch.float64)).score  # noqa: B018
    assert asked[0].dtype == torch.float64
    assert asked[0].tolist() == [0.3] * 4


# --------------------------------------------------------------------------------------------------------- proposals


@final
@dataclass(frozen=True)
class Quadratic(GaussianProposal):
    """A mean that is no gradient step: x + h x^2 / 4."""

    def mean(self, point: Point, step_size: Tensor) -> Tensor:
        return point.x + expand(step_size, point.x) * point.x.square() / 4


def _step(kind: str, batch: int, event: tuple[int, ...], k: int, generator: torch.Generator) -> Tensor:
    h = 2.0**-k
    if kind == "one":
        return torch.tensor(h, dtype=torch.float64)
    shape = (batch,) if kind == "chain" else (batch, *event)
    return h * (0.5 + torch.rand(shape, dtype=torch.float64, generator=generator))


@given(
    batch=st.integers(1, 5),
    event=st.lists(st.integers(1, 4), min_size=1, max_size=3).map(tuple),
    k=st.integers(0, 6),
    kind=st.sampled_from(["one", "chain", "coordinate"]),
    seed=st.integers(0, 2**16 - 1),
    proposal=st.sampled_from([sk.Langevin(), Quadratic()]),
)
def test_the_ratio_of_densities_is_its_closed_form_and_antisymmetric(batch, event, k, kind, seed, proposal):
    """log q(x|y) - log q(y|x) from torch's own normal density; 1e-10 (1 + |r|)."""
    generator = torch.Generator().manual_seed(seed)
    target = Target(lambda x: -(x**3) / 8)
    h = _step(kind, batch, event, k, generator)
    start = target.point(torch.randn(batch, *event, dtype=torch.float64, generator=generator))
    move = proposal.propose(start, h, generator=generator)
    x, y = move.path[0], move.path[-1]

    def log_q(to: Point, given: Point) -> Tensor:
        std = (2 * expand(h, x.x)).sqrt().expand_as(x.x)
        return torch.distributions.Normal(proposal.mean(given, h), std).log_prob(to.x).flatten(1).sum(1)

    ratio = proposal.log_q_ratio(move, h)
    assert ratio.shape == (batch,)
    assert ((ratio - (log_q(x, y) - log_q(y, x))).abs() <= 1e-10 * (1 + ratio.abs())).all()
    back = proposal.log_q_ratio(Move((y, x)), h)
    assert ((ratio + back).abs() <= 1e-10 * (1 + ratio.abs())).all()


@pytest.mark.parametrize("event", [(3,), (2, 3), (2, 1, 2)])
def test_a_gaussian_proposal_draws_from_its_density(event, generator):
    """Standardised displacements from n = 20,000: mean 0 and covariance I, by Hotelling; 3 % less noise
    is seen."""
    x = torch.ones(20_000, *event, dtype=torch.float64)
    h = torch.linspace(0.1, 0.3, x[0].numel(), dtype=torch.float64).reshape(1, *event).expand_as(x)
    start = Target(lambda x: -x).point(x)
    move = Quadratic().propose(start, h, generator=generator)
    z = ((move.path[-1].x - Quadratic().mean(start, h)) / (2 * h).sqrt()).flatten(1)
    i, j = torch.triu_indices(z.shape[1], z.shape[1])

    def features(z: Tensor) -> Tensor:
        return torch.cat((z, z[:, i] * z[:, j] - (i == j).double()), dim=1)

    assert hotelling(features(z)) > ALPHA
    assert hotelling(features(0.97 * z)) < ALPHA


def test_a_proposal_goes_to_projected_points():
    target = Target(lambda x: torch.zeros_like(x), project=lambda x: x.clamp(min=0))
    move = sk.Langevin().propose(target.point(torch.zeros(100, 2)), torch.tensor(1.0), generator=sk.PerChain(0))
    assert (move.path[-1].x >= 0).all()
    assert (move.path[-1].x == 0).any()


def test_a_kernel_hands_back_what_the_state_carries():
    kernel, density = Deciding(), gauss3()
    point = density.at(0.1).point(torch.zeros(2, 3, dtype=torch.float64))
    state = kernel.init(point)
    marked = state._replace(log_prob=torch.full((2,), 7.0))
    assert kernel.point(density.at(0.1), marked).log_prob.tolist() == [7.0, 7.0]
    assert torch.equal(kernel.point(density.at(0.1), marked).score, point.score)  # not carried, so evaluated
    assert kernel.point(density.at(0.1), marked).x is state.x


# ----------------------------------------------------------------------------------------------------- configuration

CONFIGURATION = [
    sk.Geometric(),
    sk.Geometric(20, 1, 7),
    sk.SingleLevel(0.0),
    sk.Linear(2, 0, 5),
    sk.Cosine(),
    sk.Karras(rho=3.0),
    sk.Levels((2, 1 / 3, 0)),
    sk.LogNormal(),
    sk.DenoisingScoreMatching("antithetic"),
    sk.ImplicitScoreMatching(),
    sk.SlicedScoreMatching(probe="sphere", num_probes=2),
    sk.FiniteDifferenceSliced(),
    sk.ExplicitScoreMatching(mixture3()),
    sk.Langevin(),
    sk.Hamiltonian(5, jitter=0.1),
    sk.RandomWalk(),
    sk.GaussLobatto(5),
    sk.FreeCubic(),
    sk.Unadjusted(sk.Langevin()),
    sk.MetropolisAdjusted(sk.Hamiltonian(2), sk.FreeCubic()),
    sk.Constant(1e-5),
    sk.SigmaSquared(2e-5, sigma_min=0.01),
    sk.SNR(),
    sk.Table((1, 0.1), (0.1, (0.2, 0.3))),
    sk.PerCoordinate(sk.Constant(1.0), (1, 10)),
    sk.Stay(),
    sk.Denoise(),
    sk.Euler(),
    sk.Heun(),
    sk.Ancestral(),
    sk.ReverseDiffusion(),
    sk.DPMSolverMultistep(0.5),
    sk.Matched(),
    sk.Uniform(-1.5, 2),
    sk.langevin(sigma=0.1, num_steps=3),
    sk.annealed_langevin(sk.Geometric(), step_size=1e-3, final=sk.Denoise()),
    sk.predictor_corrector(sk.Karras()),
    gauss3(),
    densities.Gaussian((0.1, 0.2), (0.3, 1 / 3)),
    densities.Gaussian(torch.ones(2, 2)),
    mixture3(),
    densities.GaussianMixture(torch.zeros(2, 1, 2), stds=(0.0, 1e-300)),
    densities.Ring(),
    densities.Box((0, 1), (1, 3)),
    densities.Checkerboard(),
    densities.TwoMoons(),
    densities.Banana(),
    densities.Funnel(3),
    densities.LogGamma(),
    densities.Exponential(),
    metrics.MaximumMeanDiscrepancy(),
    metrics.SlicedWasserstein(),
    metrics.ModeWeightError(((0, 1), (1, 2))),
    metrics.FrechetDistance(),
    sk.PreconditionedWeight(0.5),
]


@pytest.mark.parametrize("component", CONFIGURATION, ids=lambda component: type(component).__name__)
def test_a_repr_evaluates_back_to_an_equal_object(component):
    names = {name: getattr(sk, name) for name in sk.__all__} | vars(densities) | vars(metrics)
    again = eval(repr(component), names)
    assert again == component
    assert hash(again) == hash(component)
    assert again is not component


@pytest.mark.parametrize("component", CONFIGURATION, ids=lambda component: type(component).__name__)
def test_a_component_is_frozen_and_made_of_numbers_strings_tuples_and_components(component):
    with pytest.raises(dataclasses.FrozenInstanceError):
        component.anything = 1

    def plain(value: object) -> bool:
        if isinstance(value, tuple):
            return all(map(plain, value))
        return isinstance(value, float | int | str | None) or (
            dataclasses.is_dataclass(value) and all(plain(getattr(value, f.name)) for f in dataclasses.fields(value))
        )

    assert plain(component)


def test_every_frozen_dataclass_of_the_core_is_tried_above():
    tried = {type(component) for component in CONFIGURATION}
    names = (
        "noise", "estimators", "proposals", "line_integrals", "kernels", "transitions", "step_sizes", "starts",
        "densities", "samplers", "models", "energies", "denoisers", "preconditioned", "objective", "metrics",
    )  # fmt: skip
    for name in names:
        module = import_module(f"scorekit.{name}")
        for cls in vars(module).values():
            if inspect.isclass(cls) and cls.__module__.startswith(module.__name__) and dataclasses.is_dataclass(cls):
                parameters = cls.__dataclass_params__
                assert cls in tried or not (parameters.eq and parameters.repr), f"{cls.__name__} is not tried"
