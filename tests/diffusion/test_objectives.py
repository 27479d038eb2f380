import math

import pytest
import torch
from torch import Tensor, nn

import scorekit as sk
from scorekit import Geometric, Levels, Objective, PerChain, ScaledScore
from scorekit.base import ScoreModel, expand, fork, normal, sum_event
from scorekit.densities import Gaussian
from scorekit.diffusion import ELBOWeight, simple_weight, variance_preserving_levels
from tests.diffusion.exact import ALPHAS_BAR, BETAS, STEPS, T, draws, sigma_of, signal


class Bumpy(nn.Module):
    """Some predictor of noise, in variance-preserving coordinates, far from the best one."""

    def eps(self, x_t: Tensor, a: Tensor) -> Tensor:
        return torch.sin(3 * x_t) + 0.5 * a * x_t - 0.2

    def forward(self, x: Tensor, sigma: Tensor) -> Tensor:
        """For `ScaledScore`: -eps, at x = x_t / a."""
        a = 1 / expand(1 + sigma.square(), x).sqrt()
        return -self.eps(a * x, a)


def loss_at(weight, t: int, x0: Tensor) -> tuple[Tensor, Tensor]:
    """The objective's loss of each example at one step, and the draws eps that it made."""
    schedule = variance_preserving_levels(ALPHAS_BAR)
    objective = Objective(ScaledScore(Bumpy()), sk.DenoisingScoreMatching(), schedule, weight=weight)
    sigma = x0.new_full((len(x0),), sigma_of(t))
    loss = objective.loss_at(x0, sigma, generator=PerChain(5)).per_example
    return loss, normal(x0, generator=fork(PerChain(5), "eps"))


def divergence(t: int, x0: Tensor, eps: Tensor, *, forward: bool) -> Tensor:
    """The t-th term of minus the ELBO, less what the model cannot change, from Ho et al.'s means (eq. 7 and 11)."""
    alpha, beta, abar = 1 - BETAS[t], BETAS[t], ALPHAS_BAR[t]
    before = ALPHAS_BAR[t - 1] if t else torch.tensor(1.0, dtype=torch.float64)
    x_t = abar.sqrt() * x0 + (1 - abar).sqrt() * eps
    predicted = (x_t - beta / (1 - abar).sqrt() * Bumpy().eps(x_t, abar.sqrt())) / alpha.sqrt()
    if t == 0:  # -log N(x0; predicted, beta_1)
        return sum_event((x0 - predicted).square()) / (2 * beta)
    posterior = (before.sqrt() * beta * x0 + alpha.sqrt() * (1 - before) * x_t) / (1 - abar)
    variance = beta if forward else (1 - before) / (1 - abar) * beta
    return sum_event((posterior - predicted).square()) / (2 * variance)


@pytest.mark.parametrize("variance", ["posterior", "forward"])
def test_with_the_elbos_weight_the_loss_at_each_step_is_the_divergence_of_ddpms_gaussians(variance):
    weight = ELBOWeight(variance_preserving_levels(ALPHAS_BAR), variance=variance)
    x0 = draws(0, 6, 3)
    for t in range(T):
        loss, eps = loss_at(weight, t, x0)
        expected = T * divergence(t, x0, eps, forward=variance == "forward")
        torch.testing.assert_close(loss, expected, rtol=1e-10, atol=0)
        other = T * divergence(t, x0, eps, forward=variance != "forward")
        assert t == 0 or ((other / expected - 1).abs() > 1e-5).all()


def test_other_weights_are_not_the_elbos():
    """sigma^2, a neighbour's, the one without 1 / sigma_t^2, and one that forgets the number of levels."""
    schedule = variance_preserving_levels(ALPHAS_BAR)
    right, square = ELBOWeight(schedule), schedule.levels().square()
    mutants = {
        "the simple one": simple_weight(schedule.levels()),
        "a neighbour's": right.weights.roll(1),
        "not a difference": T * square.square() / square.roll(-1),
        "of a mean": right.weights / T,
    }
    x0 = draws(0, 6, 3)
    for t in (1, 5, 20):
        row = T - 1 - t
        loss, eps = loss_at(right, t, x0)
        expected = T * divergence(t, x0, eps, forward=False)
        for weights in mutants.values():
            assert ((loss / right.weights[row] * weights[row] / expected - 1).abs() > 1e-2).all()


def test_with_the_simple_weight_the_loss_is_the_squared_error_of_the_noise():
    """L_simple of Ho et al., summed over the event; "sigma^2" is half of it, and sigma is not it."""
    x0 = draws(0, 6, 3)
    for t in STEPS:
        loss, eps = loss_at(simple_weight, t, x0)
        a, b = signal(t)
        expected = sum_event((eps - Bumpy().eps(a * x0 + b * eps, torch.tensor(a, dtype=torch.float64))).square())
        torch.testing.assert_close(loss, expected, rtol=1e-10, atol=0)
        torch.testing.assert_close(2 * loss_at("sigma^2", t, x0)[0], expected, rtol=1e-10, atol=0)
        assert ((2 * loss_at("sigma", t, x0)[0] / expected - 1).abs() > 1e-2).all()


def minus_elbo(weights: Tensor, constants: Tensor, variance: float) -> float:
    """Of N(0, variance) in one dimension, with its exact score: the weighted loss, the divergence at x_T, the last
    step's constant and those of the others."""
    square = variance_preserving_levels(ALPHAS_BAR).levels().square()
    matched = variance / (2 * square * (variance + square))  # E 1/2 |s + eps / sigma|^2
    abar = ALPHAS_BAR[-1]
    prior = (abar * variance - abar - (1 - abar).log()) / 2  # E KL(q(x_T | x0) | N(0, 1))
    last = (2 * math.pi * BETAS[0]).log() / 2
    return ((weights / T * matched).sum() + prior + last + constants.sum()).item()


def divergence_of_chains(variances: Tensor, variance: float) -> float:
    """KL(q(x_0, ..., x_T) | p(x_0, ..., x_T)) for the same data, from the exact conditional laws of x_(t-1) given x_t.

    Their means are the model's, so each step counts by the ratio of its variances.
    """
    before = torch.cat((torch.ones(1, dtype=torch.float64), ALPHAS_BAR[:-1]))
    marginal = before * variance + 1 - before  # of x_(t-1)
    conditional = marginal * BETAS / ((1 - BETAS) * marginal + BETAS)
    ratio = conditional / variances
    final = ALPHAS_BAR[-1] * variance + 1 - ALPHAS_BAR[-1]
    return ((ratio - 1 - ratio.log()).sum() / 2 + (final - 1 - final.log()) / 2).item()


@pytest.mark.parametrize("variance", [0.25, 1.0, 2.0])
@pytest.mark.parametrize("kind", ["posterior", "forward"])
def test_the_whole_bound_is_the_entropy_and_the_divergence_of_the_chains(kind, variance):
    """In nats and with every constant, for Gaussian data: two derivations of one number."""
    small = BETAS.clone()
    small[1:] *= (1 - ALPHAS_BAR[:-1]) / (1 - ALPHAS_BAR[1:])
    used = BETAS if kind == "forward" else small
    constants = (small / used - 1 - (small / used).log()) / 2  # of KL(q(x_(t-1) | x_t, x0) | p) where variances differ
    weights = ELBOWeight(variance_preserving_levels(ALPHAS_BAR), variance=kind).weights
    entropy = math.log(2 * math.pi * math.e * variance) / 2
    expected = entropy + divergence_of_chains(used, variance)
    assert minus_elbo(weights, constants, variance) == pytest.approx(expected, abs=1e-10)
    for mutant in (weights / 2, weights * 2, weights / T, weights.roll(1)):
        assert minus_elbo(mutant, constants, variance) != pytest.approx(expected, abs=0.1)


def test_the_forward_variance_is_exact_for_a_standard_normal():
    """Ho et al., section 3.2: the bound is then the entropy."""
    assert divergence_of_chains(BETAS, 1.0) == pytest.approx(0.0, abs=1e-12)
    assert divergence_of_chains(BETAS, 0.25) > 0.01


def test_on_geometric_levels_the_elbos_weight_is_ncsns_up_to_a_factor():
    noise = Geometric(50.0, 0.01, 232)
    ratio = noise.levels()[0] / noise.levels()[1]
    weights = ELBOWeight(noise).weights
    torch.testing.assert_close(weights[:-1], 232 * (ratio**2 - 1) * noise.levels()[:-1].square(), rtol=1e-9, atol=0)
    linear = sk.Linear(50.0, 0.01, 232)
    assert (ELBOWeight(linear).weights[:-1] / linear.levels()[:-1].square()).std() > 0.1


def test_the_last_steps_std_counts_for_the_smallest_level_alone():
    noise = Levels((2.0, 1.0, 0.5))
    plain, given = ELBOWeight(noise).weights, ELBOWeight(noise, decoder_std=0.1).weights
    assert torch.equal(plain[:-1], given[:-1])
    assert given[-1].item() == pytest.approx(3 * 0.5**4 / 0.1**2)
    assert plain[-1].item() == pytest.approx(3 * 0.5**2 * (1 + 0.5**2))


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.bfloat16])
def test_each_level_has_its_weight_and_any_other_sigma_none(dtype):
    noise = Geometric(3.0, 0.1, 12)
    weight = ELBOWeight(noise)
    order = torch.randperm(12, generator=torch.Generator().manual_seed(0))
    found = weight(noise.levels()[order].to(dtype))
    assert found.dtype == torch.promote_types(dtype, torch.float32)
    torch.testing.assert_close(found.double(), weight.weights[order], rtol=1e-6, atol=0)
    between = (noise.levels()[1:] * noise.levels()[:-1]).sqrt().to(dtype)
    assert weight(between).isnan().all()
    assert weight(torch.tensor([10.0, 0.01], dtype=dtype)).isnan().all()


def test_an_objective_on_other_levels_than_the_weights_is_refused():
    weight = ELBOWeight(Geometric(3.0, 0.1, 12))
    with pytest.raises(ValueError, match=r"is nan at the level sigma = 2.05587: expected a finite weight > 0"):
        Objective(ScaledScore(Bumpy()), sk.DenoisingScoreMatching(), Geometric(3.0, 0.1, 10), weight=weight)


@pytest.mark.parametrize(
    ("params", "error", "text"),
    [
        ({"noise": 3.0}, TypeError, r"ELBOWeight\(noise=3.0\): expected NoiseSchedule"),
        ({"noise": sk.LogNormal(-1.2, 1.2)}, ValueError, r"expected a schedule that draws its levels, all of them > 0"),
        ({"noise": sk.Linear(1.0, 0.0, 5)}, ValueError, r"sigma_min=0.0, num_levels=5\)\): expected a schedule"),
        ({"decoder_std": 0.0}, ValueError, r"ELBOWeight\(decoder_std=0.0\): expected 0 < decoder_std < inf"),
        ({"decoder_std": math.nan}, ValueError, r"ELBOWeight\(decoder_std=nan\)"),
        ({"variance": "learned"}, ValueError, r"variance='learned'\): expected 'posterior' or 'forward'"),
    ],
)
def test_an_elbo_that_is_none_is_refused(params, error, text):
    with pytest.raises(error, match=text):
        ELBOWeight(**({"noise": Geometric()} | params))


def test_training_with_it_lowers_the_bound():
    """60 steps of Adam take away half of what the bound is above its optimum, at the same 4,000 examples and draws: the
    weight works in the loop, in float32."""
    noise, data = variance_preserving_levels(ALPHAS_BAR), Gaussian((0.0, 0.0), 1.0)
    x = data.sample(4000, generator=torch.Generator().manual_seed(0))

    class Best(nn.Module):
        def forward(self, x: Tensor, sigma: Tensor) -> Tensor:
            return data.score(x, sigma)

    def loss(model: ScoreModel) -> float:
        with torch.no_grad():
            return objective(model)(x, generator=PerChain(1)).loss.item()

    def objective(model: ScoreModel) -> Objective:
        return Objective(model, sk.DenoisingScoreMatching(), noise, weight=ELBOWeight(noise))

    model, best = ScaledScore(sk.networks.MLP((2,), width=16)), loss(sk.DirectScore(Best()))
    before = loss(model)
    for _ in sk.fit(objective(model), x, num_steps=60, batch_size=128, learning_rate=1e-2):
        pass
    assert best < loss(model) < best + (before - best) / 2
