"""The NCSN objective: its values in closed form, its weights, and the laws of `laws/losses.py`."""

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor, nn

from scorekit import (
    DenoisingScoreMatching,
    DirectScore,
    Geometric,
    ImplicitScoreMatching,
    LogNormal,
    Objective,
    PerChain,
    ScaledScore,
    SingleLevel,
    SlicedScoreMatching,
    fork,
)
from scorekit.base import NoiseSchedule, ScoreModel, normal, sum_event
from scorekit.densities import Gaussian
from tests.laws import estimates, losses
from tests.laws.statistics import ALPHA, BOUND, z_score
from tests.laws.targets import gauss3, mixture3

NOISE = Geometric()
LEVELS = NOISE.levels().tolist()
# 1/2 s^2 / (s^2 + sigma^2) per dimension at the ten levels, for data of std s
OPTIMA = {
    1.0: (
        0.25, 0.36781437, 0.44280902, 0.47782149, 0.49179634, 0.49702044, 0.49892510, 0.49961317, 0.49986091, 0.49995,
    ),
    0.25: (
        0.02941176, 0.07407296, 0.16305343, 0.28691865, 0.39466536, 0.45623873, 0.48333885, 0.49388169, 0.49778382,
        0.49920128,
    ),
}  # fmt: skip
MEANS = {1.0: 0.45256108, 0.25: 0.33785665}


def ncsn(model: ScoreModel, noise: NoiseSchedule) -> Objective:
    return Objective(model, DenoisingScoreMatching(), noise)


# ---------------------------------------------------------------------------------------------------- closed forms


@pytest.mark.parametrize("event", [(2,), (1, 28, 28), (3, 32, 32), (3, 4, 4)])
def test_with_a_zero_score_the_loss_is_half_the_dimension_at_every_level(event, streams):
    """Exactly 1/2 |eps|^2, whatever the data and the level, so D/2 on average: 1, 392, 1536, 24."""
    x = torch.rand(200, *event, dtype=torch.float64)
    objective, d = ncsn(losses.Zero(), NOISE), math.prod(event)
    eps = normal(x, generator=fork(streams, "eps"))
    for sigma in LEVELS:
        loss = objective.loss_at(x, torch.full((200,), sigma, dtype=torch.float64), generator=streams)
        assert torch.allclose(loss.per_example, sum_event(eps.square()) / 2, rtol=1e-12)
    assert abs(z_score(loss.per_example, d / 2, math.sqrt(d / 2))) < BOUND


@pytest.mark.parametrize("std", OPTIMA)
def test_with_the_exact_score_of_a_gaussian_the_loss_is_its_closed_form(std, seed):
    """n = 2,000 examples of D = 64 at each of the ten levels; sigma s + eps ~ N(0, 2 l) with l the optimum, so one
    dimension's loss has the standard deviation l sqrt(2)."""
    d, count = 64, 2000
    density = Gaussian((0.3,) * d, std**2)
    objective = ncsn(losses.Exact(density), NOISE)
    generator = torch.Generator().manual_seed(seed)
    for sigma, optimum in zip(LEVELS, OPTIMA[std], strict=True):
        assert 0.5 * std**2 / (std**2 + sigma**2) == pytest.approx(optimum, abs=5e-9)
        x = density.sample(count, generator=generator, dtype=torch.float64)
        level = torch.full((count,), sigma, dtype=torch.float64)
        loss = objective.loss_at(x, level, generator=generator).per_example / d
        assert abs(z_score(loss, optimum, optimum * math.sqrt(2 / d))) < BOUND
        assert abs(z_score(loss, optimum * 1.04, optimum * math.sqrt(2 / d))) > BOUND  # resolution: 4 %
    assert sum(OPTIMA[std]) / 10 == pytest.approx(MEANS[std], abs=1e-8)


@pytest.mark.parametrize("std", OPTIMA)
def test_the_mean_over_the_levels_is_what_training_sees(std, seed):
    d, count = 16, 20_000
    density = Gaussian((0.3,) * d, std**2)
    generator = torch.Generator().manual_seed(seed)
    x = density.sample(count, generator=generator, dtype=torch.float64)
    loss = ncsn(losses.Exact(density), NOISE)(x, generator=generator)
    assert abs(z_score(loss.per_example / d, MEANS[std])) < BOUND
    assert loss.loss == loss.per_example.mean()


def test_one_level_without_a_weight(seed):
    """1/2 (1 / sigma^2 - 1 / (s^2 + sigma^2)) per dimension."""
    d, sigma, std = 64, 0.3, 0.5
    density = Gaussian((0.0,) * d, std**2)
    generator = torch.Generator().manual_seed(seed)
    x = density.sample(5000, generator=generator, dtype=torch.float64)
    loss = ncsn(losses.Exact(density), SingleLevel(sigma))(x, generator=generator)
    optimum = (1 / sigma**2 - 1 / (std**2 + sigma**2)) / 2
    assert abs(z_score(loss.per_example / d, optimum, optimum * math.sqrt(2 / d))) < BOUND
    assert ncsn(losses.Zero(), SingleLevel(sigma))(x).loss.item() == pytest.approx(d / 2 / sigma**2, rel=0.02)


# ------------------------------------------------------------------------------------------------------------- laws


def test_every_example_and_gradient_is_its_closed_form(seed):
    assert losses.closed_form(ncsn, seed) < 1e-10
    assert losses.closed_gradient(ncsn, seed) < 1e-12


@pytest.mark.parametrize("density", [gauss3(), mixture3()], ids=["gauss3", "mixture3"])
def test_the_truth_is_a_fixpoint_and_the_loss_is_the_fisher_divergence_and_a_constant(density, seed):
    assert losses.fixpoint(ncsn, density, seed) > ALPHA
    assert losses.affine_w(ncsn, density, seed) > ALPHA


def test_a_zero_network_has_the_mean_and_variance_of_chi_squared(seed):
    assert losses.zero_net(ncsn, seed) < BOUND
    assert losses.batch_variance(ncsn, seed) < BOUND


# ---------------------------------------------------------------------------------------------------------- weights


@pytest.mark.parametrize(
    ("weight", "function"),
    [
        (None, torch.square),
        ("sigma^2", torch.square),
        ("sigma", lambda s: s),
        ("1", torch.ones_like),
        (lambda s: 3 * s**1.5, lambda s: 3 * s**1.5),
    ],
    ids=["None", "sigma^2", "sigma", "1", "callable"],
)
def test_the_weight_multiplies_the_estimate(weight, function, seed):
    x = torch.randn(50, 3, dtype=torch.float64)
    model = losses.Zero()
    weighted, plain = (
        Objective(model, DenoisingScoreMatching(), NOISE, w)(x, generator=torch.Generator().manual_seed(seed))
        for w in (weight, "1")
    )
    assert torch.equal(weighted.sigma, plain.sigma)
    assert torch.allclose(weighted.per_example, function(plain.sigma) * plain.per_example, rtol=1e-14)
    assert weighted.loss == weighted.per_example.mean()


def test_several_levels_take_sigma_squared_and_one_level_takes_none(seed):
    x = torch.randn(50, 3, dtype=torch.float64)
    for noise, name in ((NOISE, "sigma^2"), (SingleLevel(0.3), "1")):
        default, named = (
            Objective(losses.Zero(), DenoisingScoreMatching(), noise, weight)(
                x, generator=torch.Generator().manual_seed(seed)
            )
            for weight in (None, name)
        )
        assert torch.equal(default.per_example, named.per_example)


@pytest.mark.parametrize(
    ("weight", "text"),
    [
        (lambda s: s - s, "is 0 at the level sigma = 1"),
        (lambda s: torch.where(s < 0.02, 0.0, s), r"is 0 at the level sigma = 0\.016681"),
        (lambda s: -s, "is -1 at the level"),
        (lambda s: s / 0, "is inf at the level"),
        (lambda s: s * math.nan, "is nan at the level"),
        (lambda s: s.sum(), r"maps sigma of shape \(10,\) to \(\)"),
        (lambda s: 1.0, r"maps sigma of shape \(10,\) to \(\)"),
        ("sigma^3", r"unknown weight 'sigma\^3': expected one of 'sigma\^2', 'sigma', '1'"),
        (2, "unknown weight 2"),
    ],
)
def test_bad_weights_are_refused(weight, text):
    with pytest.raises(ValueError, match=text):
        Objective(losses.Zero(), DenoisingScoreMatching(), NOISE, weight)


# ------------------------------------------------------------------------------------------------------- wrong pairs


def test_denoising_at_sigma_0_is_refused():
    with pytest.raises(ValueError, match=r"DenoisingScoreMatching\(.*\).*sigma > 0; SingleLevel\(sigma=0.0\) .* to 0"):
        ncsn(losses.Zero(), SingleLevel(0.0))


def test_a_model_is_only_trained_where_it_is_valid():
    with pytest.raises(ValueError, match=r"sigma = 0.0464159 is below the smallest level 0.05"):
        ncsn(ScaledScore(nn.Identity(), min_sigma=0.05), NOISE)
    with pytest.raises(ValueError, match=r"not one of the 3 levels that DirectScore"):
        ncsn(DirectScore(nn.Identity(), noise=Geometric(1, 0.1, 3)), NOISE)


@pytest.mark.parametrize(
    ("x", "sigma"),
    [
        (torch.zeros(3), torch.ones(3)),
        (torch.zeros(3, 2, dtype=torch.uint8), torch.ones(3)),
        (torch.zeros(3, 2), torch.ones(())),
        (torch.zeros(3, 2), torch.ones(2)),
    ],
)
def test_bad_data_is_refused(x, sigma):
    objective = ncsn(losses.Zero(), NOISE)
    with pytest.raises(ValueError, match=r"floating-point x \(B, \*E\) and sigma \(B,\); got \("):
        objective.loss_at(x, sigma)
    if sigma.shape == x.shape[:1]:
        with pytest.raises(ValueError, match="floating-point x"):
            objective(x)


# ----------------------------------------------------------------------------------------------- streams and shapes


def test_a_batch_in_chunks_is_the_batch(streams):
    """Each example draws its own level and noise, so that N processes are one; 1e-12 in float64."""
    x = torch.randn(12, 2, 3, dtype=torch.float64)
    objective = ncsn(DirectScore(_Cubic()), NOISE)
    whole = objective(x, generator=streams)
    for size in (1, 5):
        parts = [objective(x[i : i + size], generator=streams.shift(i)) for i in range(0, 12, size)]
        assert torch.equal(torch.cat([part.sigma for part in parts]), whole.sigma)
        assert (torch.cat([part.per_example for part in parts]) - whole.per_example).abs().max() < 1e-12
    assert len(whole.sigma.unique()) > 1


def test_the_streams_of_sigma_and_eps_are_their_own(streams):
    """eps is the same at given levels and at drawn ones, and no function of sigma's stream."""
    x = torch.zeros(2000, 1, dtype=torch.float64)
    objective = ncsn(losses.Zero(), NOISE)
    drawn = objective(x, generator=streams)
    given = objective.loss_at(x, drawn.sigma, generator=streams)
    assert torch.equal(drawn.per_example, given.per_example)
    correlation = torch.corrcoef(torch.stack((drawn.sigma, drawn.per_example)))[0, 1].item()
    assert abs(correlation) * math.sqrt(2000) < BOUND


@given(
    batch=st.integers(1, 5),
    event=st.lists(st.integers(1, 4), min_size=1, max_size=3).map(tuple),
    seed=st.integers(0, 2**16 - 1),
)
def test_the_loss_is_that_of_the_flattened_event_and_the_mean_of_singletons(batch, event, seed):
    x = torch.randn(batch, *event, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))
    before = x.clone()
    objective, streams = ncsn(DirectScore(_Cubic()), NOISE), PerChain(seed)
    loss = objective(x, generator=streams)
    flat = objective(x.flatten(1), generator=streams)
    assert torch.allclose(loss.per_example, flat.per_example, rtol=1e-12)
    singletons = [objective(x[i : i + 1], generator=streams.shift(i)).loss for i in range(batch)]
    assert torch.allclose(loss.loss, torch.stack(singletons).mean(), rtol=1e-12)
    assert torch.equal(x, before)


def test_the_condition_reaches_the_network():
    class Conditioned(nn.Module):
        def forward(self, x: Tensor, sigma: Tensor, condition: Tensor | None = None) -> Tensor:
            return x if condition is None else x + condition.unsqueeze(1)

    x, condition = torch.zeros(4, 2), torch.arange(4.0)
    objective = ncsn(DirectScore(Conditioned()), NOISE)
    one, two = (objective(x, c, generator=PerChain(0)).per_example for c in (None, condition))
    assert torch.equal(one[0], two[0])
    assert (one[1:] != two[1:]).all()
    with pytest.raises(ValueError, match=r"one row for each of the 4 examples; got \(3,\)"):
        objective(x, condition[:3])


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
def test_the_loss_has_the_type_of_the_data(dtype):
    loss = ncsn(DirectScore(_Cubic()), NOISE)(torch.zeros(4, 2, dtype=dtype))
    assert (loss.loss.dtype, loss.per_example.dtype, loss.sigma.dtype) == (dtype,) * 3
    assert (loss.loss.shape, loss.per_example.shape, loss.sigma.shape) == ((), (4,), (4,))


def test_the_noise_is_the_one_that_was_drawn_however_small_sigma(streams):
    """float32, sigma = 1e-5, data near 1: a score of zero leaves 1/2 |eps|^2 to rounding. What a subtraction recovers
    of eps is off by up to 6e-8 / sigma."""
    x, sigma = 1 + torch.rand(50, 3), torch.full((50,), 1e-5)
    loss = ncsn(losses.Zero(), NOISE).loss_at(x, sigma, generator=streams).per_example
    eps = normal(x, generator=fork(streams, "eps"))
    recovered = (x + 1e-5 * eps - x) / 1e-5
    right, mutant = (sum_event(noise.square()) / 2 for noise in (eps, recovered))
    assert estimates.error(loss, right) < 1e-6
    assert estimates.error(mutant, right) > 1e-4


def test_its_parameters_are_the_models_and_its_repr_names_the_parts():
    objective = ncsn(DirectScore(nn.Linear(2, 2)), NOISE)
    assert len(list(objective.parameters())) == 2
    assert "estimator=DenoisingScoreMatching(variance_reduction=None), noise=Geometric(" in repr(objective)
    assert "weight=None" in repr(objective)


class _Cubic(nn.Module):
    def forward(self, x: Tensor, sigma: Tensor) -> Tensor:
        return -(x**3) - x


class _Backwards(NoiseSchedule):
    def levels(self) -> Tensor:
        return torch.tensor([0.1, 1.0], dtype=torch.float64)

    def sample(self, like: Tensor, *, generator: object = None) -> Tensor:
        return like.new_ones(like.shape[0])


def test_levels_that_do_not_decrease_are_refused():
    with pytest.raises(ValueError, match=r"from the level 0.1 to 1.0: expected strictly decreasing"):
        ncsn(losses.Zero(), _Backwards())


def test_a_continuous_law_is_refused_for_a_model_that_knows_a_table_of_levels():
    noise = LogNormal(sigma_max=1.0, sigma_min=0.01)
    ncsn(DirectScore(nn.Linear(2, 2)), noise)
    with pytest.raises(ValueError, match=r"LogNormal.* continuous law; DirectScore knows its 18 levels"):
        ncsn(DirectScore(nn.Linear(2, 2), noise=noise), noise)


def test_an_estimator_that_differentiates_refuses_a_batch_norm():
    coupled = DirectScore(nn.BatchNorm1d(2))
    ncsn(coupled, NOISE)
    for estimator in (ImplicitScoreMatching(), SlicedScoreMatching()):
        with pytest.raises(ValueError, match=r"the layer 'net' is a BatchNorm1d"):
            Objective(coupled, estimator, NOISE)
