import math
from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn

import scorekit as sk
from scorekit import Geometric, PerChain, sample
from scorekit.base import ScoreModel, sum_event
from scorekit.diffusion import (
    from_noise_prediction,
    from_variance_preserving,
    simple_weight,
    variance_preserving_levels,
)
from scorekit.preconditioned import Preconditioned, PreconditionedWeight
from tests.diffusion.exact import (
    ALPHAS_BAR,
    BETAS,
    EXACT,
    STEPS,
    T,
    clean,
    draws,
    noise,
    posterior_mean,
    score,
    sigma_of,
    signal,
    velocity,
)  # fmt: skip
from tests.laws.targets import mixture3


def worst_error(function: Callable[[Tensor, int], Tensor], predicts: str) -> float:
    """The largest error of the score, relative to 1 + |score|, over points and steps."""
    family = from_variance_preserving(function, predicts=predicts, alphas_bar=ALPHAS_BAR)
    worst = 0.0
    for t in STEPS:
        x = 2 * draws(t, 30, 2)
        true = mixture3().score(x, sigma_of(t))
        found = family.at(sigma_of(t)).point(x).score
        worst = max(worst, ((found - true).abs() / (1 + true.abs())).max().item())
    return worst


# ---------------------------------------------------------------------------------------------------------- the scores


@pytest.mark.parametrize("predicts", EXACT)
def test_each_prediction_in_closed_form_gives_the_exact_score_at_every_step(predicts):
    assert worst_error(EXACT[predicts], predicts) < 1e-10


MUTANTS: dict[str, tuple[Callable[[Tensor, int], Tensor], str]] = {
    "noise of the wrong sign": (lambda x, t: -noise(x, t), "noise"),
    "velocity of the wrong sign": (lambda x, t: -velocity(x, t), "velocity"),
    "noise called velocity": (noise, "velocity"),
    "clean called score": (clean, "score"),
    "velocity called noise": (velocity, "noise"),
    "score of x called the score of x_t": (lambda x, t: score(x, t) * signal(t)[0], "score"),
    "one step late": (lambda x, t: noise(x, min(t + 1, T - 1)), "noise"),
    "one step early": (lambda x, t: clean(x, max(t - 1, 0)), "clean"),
    "steps counted backwards": (lambda x, t: noise(x, T - 1 - t), "noise"),
    "handed x in the place of x_t": (lambda x, t: noise(x / signal(t)[0], t), "noise"),
}


@pytest.mark.parametrize("name", MUTANTS)
def test_another_prediction_step_or_scale_does_not(name):
    assert worst_error(*MUTANTS[name]) > 1e-2


def test_a_predictor_of_noise_at_every_sigma_gives_the_score():
    def eps(x: Tensor, sigma: float) -> Tensor:
        a = 1 / math.sqrt(1 + sigma**2)
        return (x - posterior_mean(a * x, a, a * sigma)) / sigma

    x = 2 * draws(0, 50, 2)
    for sigma in (0.05, 0.5, 3.0):
        found, true = from_noise_prediction(eps).at(sigma).point(x).score, mixture3().score(x, sigma)
        torch.testing.assert_close(found, true, rtol=1e-9, atol=1e-9)
        for mutant in (eps(x, sigma) / sigma, -eps(x, sigma), -eps(x, sigma) / sigma**2):
            assert (mutant - true).abs().max() > 0.1


def test_the_network_is_handed_x_t_and_the_step_as_an_int():
    seen = []

    def function(x_t: Tensor, t: int) -> Tensor:
        seen.append((x_t, t))
        return x_t

    x = draws(0, 3, 2)
    family = from_variance_preserving(function, predicts="noise", alphas_bar=ALPHAS_BAR)
    for t in range(T):
        family.at(sigma_of(t) * (1 + 5e-5 * (-1) ** t)).point(x).score  # noqa: B018 (evaluates)
        torch.testing.assert_close(seen[-1][0], ALPHAS_BAR[t].sqrt() * x)
    assert [t for _, t in seen] == list(range(T))
    assert {type(t) for _, t in seen} == {int}


def test_the_nearest_step_is_taken_where_steps_are_closer_than_the_tolerance():
    seen = []
    table = torch.linspace(0.9, 0.9 - 1e-4, 50, dtype=torch.float64)
    family = from_variance_preserving(lambda x, t: seen.append(t) or x, predicts="noise", alphas_bar=table)
    for sigma in family.noise.levels().tolist():
        family.at(sigma).score(torch.ones(1, 1))
    assert seen == list(range(49, -1, -1))


def test_a_level_between_the_steps_is_refused_before_sampling_and_when_asked():
    family = from_variance_preserving(noise, predicts="noise", alphas_bar=ALPHAS_BAR, moments=(0.0, 1.0))
    between = math.sqrt(sigma_of(3) * sigma_of(4))
    with pytest.raises(ValueError, match=rf"sigma = {between:g} is not one of the 40 levels of this network's table"):
        family.at(between).score(draws(0, 2, 2))
    with pytest.raises(ValueError, match=r"is not one of the 40 levels that VariancePreservingFunction was made for"):
        sample(sk.heun(Geometric(1.0, 0.1, 4)), family, (2, 2))
    with pytest.raises(ValueError, match=r"below the smallest level 0.0316"):
        family.require(torch.tensor([0.01], dtype=torch.float64))
    assert family.at(0.0).project(draws(0, 2, 2)).shape == (2, 2)  # asked there for its projection only


def test_a_family_states_its_table_and_its_moments():
    family = from_variance_preserving(noise, predicts="noise", alphas_bar=ALPHAS_BAR, moments=(0.5, 2.0))
    torch.testing.assert_close(
        family.noise_levels.flip(0), torch.tensor([sigma_of(t) for t in range(T)], dtype=torch.float64)
    )
    assert torch.equal(family.noise.levels(), family.noise_levels)
    assert family.min_sigma == pytest.approx(sigma_of(0))
    assert [moment.item() for moment in family.moments] == [0.5, 2.0]
    assert repr(family).startswith("from_variance_preserving(<function noise")
    assert "predicts='noise', T=40" in repr(family)
    plain = from_noise_prediction(lambda x, sigma: x, min_sigma=0.1, moments=(0.5, 2.0))
    assert (plain.min_sigma, plain.noise_levels) == (0.1, None)
    assert from_noise_prediction(lambda x, sigma: x).moments is None
    assert repr(plain).startswith("from_noise_prediction(<function")


@pytest.mark.parametrize("given", [ALPHAS_BAR, ALPHAS_BAR.numpy(), ALPHAS_BAR.tolist(), tuple(ALPHAS_BAR.tolist())])
def test_the_table_may_be_a_tensor_an_array_or_a_sequence(given):
    assert variance_preserving_levels(given) == variance_preserving_levels(ALPHAS_BAR)


@pytest.mark.parametrize(
    ("table", "text"),
    [
        (0.5, r"alphas_bar of shape \(\): expected \(T,\), T >= 1"),
        ([], r"alphas_bar of shape \(0,\): expected \(T,\)"),
        ([[0.5]], r"alphas_bar of shape \(1, 1\): expected \(T,\)"),
        ([0.9, 0.5, 0.0], r"alphas_bar\[2\] = 0.0: expected 0 < alphas_bar < 1; at 0 sigma is infinite"),
        ([1.0, 0.5], r"alphas_bar\[0\] = 1.0: expected 0 < alphas_bar < 1"),
        ([0.9, math.nan], r"alphas_bar\[1\] = nan: expected 0 < alphas_bar < 1"),
        ([0.9, 0.5, 0.5], r"alphas_bar\[2\] = 0.5 after 0.5: expected falling values"),
        ([0.1, 0.5], r"alphas_bar\[1\] = 0.5 after 0.1: expected falling values"),
    ],
)
def test_a_table_that_is_none_is_refused(table, text):
    with pytest.raises(ValueError, match=text):
        from_variance_preserving(noise, predicts="noise", alphas_bar=table)


def test_bad_arguments_are_refused():
    with pytest.raises(TypeError, match=r"from_variance_preserving\(3\): expected a function \(x_t, t\) -> prediction"):
        from_variance_preserving(3, predicts="noise", alphas_bar=ALPHAS_BAR)
    with pytest.raises(ValueError, match=r"predicts='x0'\): expected one of 'noise', 'clean', 'velocity', 'score'"):
        from_variance_preserving(noise, predicts="x0", alphas_bar=ALPHAS_BAR)
    with pytest.raises(ValueError, match=r"from_variance_preserving\(moments=\(0.0, -1.0\)\)"):
        from_variance_preserving(noise, predicts="noise", alphas_bar=ALPHAS_BAR, moments=(0.0, -1.0))
    with pytest.raises(TypeError, match=r"from_noise_prediction\(3\): expected a function \(x, sigma\) -> noise in x"):
        from_noise_prediction(3)


@pytest.mark.parametrize("min_sigma", [0.0, -1.0, math.inf, math.nan])
def test_a_smallest_level_of_0_is_refused(min_sigma):
    with pytest.raises(ValueError, match=rf"from_noise_prediction\(min_sigma={min_sigma}\): the score -eps / sigma"):
        from_noise_prediction(lambda x, sigma: x, min_sigma=min_sigma)


@pytest.mark.parametrize(
    ("function", "text"),
    [
        (lambda x, _: x.sum(1), r"shape \(2, 3\) and type torch.float32 to \(2,\) and torch.float32: a prediction"),
        (lambda x, _: x.double(), r"to \(2, 3\) and torch.float64"),
    ],
)
def test_a_network_that_changes_the_shape_or_the_type_is_refused(function, text):
    with pytest.raises(ValueError, match=text):
        from_noise_prediction(function).at(1.0).score(torch.ones(2, 3))
    preserving = from_variance_preserving(function, predicts="clean", alphas_bar=[0.9, 0.5])
    with pytest.raises(ValueError, match=text):
        preserving.at(1.0).score(torch.ones(2, 3))


# ------------------------------------------------------------------------------------------------------------ samplers


@pytest.mark.parametrize("name", ["ancestral", "dpm-solver", "annealed-mala"])
@pytest.mark.parametrize("predicts", EXACT)
def test_chains_of_a_registered_sampler_are_those_by_the_score(name, predicts):
    """On every fourth step of the table, the same draws: the family is the density."""
    some = variance_preserving_levels(ALPHAS_BAR[::4])
    params = {"steps_per_level": 2, "final": sk.Denoise()} if name == "annealed-mala" else {}
    sampler = sk.make("samplers", name, noise=some, start=sk.Uniform(-3.0, 3.0), **params)
    family = from_variance_preserving(EXACT[predicts], predicts=predicts, alphas_bar=ALPHAS_BAR)
    one, two = (
        sample(sampler, each, (20, 2), generator=PerChain(3), dtype=torch.float64)
        for each in (family, sk.ScoreOnly(mixture3()))
    )
    torch.testing.assert_close(one, two, rtol=1e-8, atol=1e-8)


def ddpm(x_t: Tensor, z: list[Tensor], *, smaller: bool = True) -> Tensor:
    """Ho et al.'s Algorithm 2 with eps in closed form, in their coordinates; the last step adds no noise."""
    for t in range(T - 1, -1, -1):
        beta, before = BETAS[t], ALPHAS_BAR[t - 1] if t else torch.tensor(1.0)
        mean = (x_t - beta / (1 - ALPHAS_BAR[t]).sqrt() * noise(x_t, t)) / (1 - beta).sqrt()
        variance = (1 - before) / (1 - ALPHAS_BAR[t]) * beta if smaller else beta
        x_t = mean + (variance.sqrt() * z[T - 1 - t] if t else 0)
    return x_t


def test_ancestral_sampling_from_the_matched_start_is_ddpms_algorithm(seed):
    """From x_T ~ N(0, I), with the same draws in both coordinates; with DDPM's other variance it is another one."""
    family = from_variance_preserving(noise, predicts="noise", alphas_bar=ALPHAS_BAR, moments=(0.0, 1.0))
    x = sample(
        sk.ancestral(family.noise), family, (10, 2), generator=torch.Generator().manual_seed(seed), dtype=torch.float64
    )
    stream = torch.Generator().manual_seed(seed)
    start, *z = (torch.randn(10, 2, dtype=torch.float64, generator=stream) for _ in range(T))
    torch.testing.assert_close(x, ddpm(start, z), rtol=1e-9, atol=1e-9)
    assert (x - ddpm(start, z, smaller=False)).abs().max() > 0.05


def test_eulers_step_along_the_flow_is_ddims(seed):
    """Song et al., arXiv 2010.02502, eq. 12 without noise."""
    x_t = draws(seed, 10, 2)
    family = from_variance_preserving(velocity, predicts="velocity", alphas_bar=ALPHAS_BAR)
    (a, b), (a_next, b_next) = signal(20), signal(13)
    expected = a_next * clean(x_t, 20) + b_next * noise(x_t, 20)
    point = family.at(sigma_of(20)).point(x_t / a)
    moved, _ = sk.Euler().move(family, point, family.at(sigma_of(13)), sigma_of(20), sigma_of(13))
    torch.testing.assert_close(a_next * moved, expected, rtol=1e-10, atol=1e-10)
    assert (a_next * moved - (a_next * clean(x_t, 20) + b * noise(x_t, 20))).abs().max() > 0.05


# ---------------------------------------------------------------------------------- what scorekit's own models predict


def scores_of(model: ScoreModel, x: Tensor, t: int) -> Tensor:
    return model(x, x.new_full((len(x),), sigma_of(t)))


class Predicts(nn.Module):
    """A prediction in closed form as a network of (x, sigma), times a sign."""

    def __init__(self, predicts: str, sign: int, *, scaled: bool):
        super().__init__()
        self.predicts, self.sign, self.scaled = predicts, sign, scaled

    def forward(self, x: Tensor, sigma: Tensor) -> Tensor:
        t = min(range(T), key=lambda step: abs(sigma_of(step) - sigma[0].item()))
        x_t = signal(t)[0] * x if self.scaled else x
        return self.sign * EXACT[self.predicts](x_t, t)


def test_the_wrappers_of_networks_are_the_four_predictions():
    """ScaledScore has minus the noise, Denoiser the clean data, Preconditioned around N(0, I) minus the velocity, given
    x_t itself."""
    x = 2 * draws(0, 20, 2)
    models = {
        "noise": sk.ScaledScore(Predicts("noise", -1, scaled=True)),
        "clean": sk.Denoiser(Predicts("clean", 1, scaled=True)),
        "velocity": Preconditioned(Predicts("velocity", -1, scaled=False), scale=1.0),
    }
    for t in STEPS:
        for model in models.values():
            torch.testing.assert_close(scores_of(model, x, t), mixture3().score(x, sigma_of(t)), rtol=1e-8, atol=1e-8)
    wrong = Preconditioned(Predicts("velocity", 1, scaled=False), scale=1.0)
    assert (scores_of(wrong, x, 7) - mixture3().score(x, sigma_of(7))).abs().max() > 0.1


def test_the_weights_of_the_squared_errors_of_all_predictions():
    """1/2 |s - s*|^2 times sigma^2, sigma^4, sigma^2 (1 + sigma^2): noise, clean, velocity."""
    x, other = 2 * draws(0, 20, 2), 0.1 * draws(1, 20, 2)
    weights = {
        "noise": simple_weight,
        "clean": lambda sigma: 2 * sigma**4,
        "velocity": lambda sigma: 2 * PreconditionedWeight(1.0)(sigma),
    }
    for t in STEPS:
        sigma = torch.tensor(sigma_of(t), dtype=torch.float64)
        for predicts, weight in weights.items():
            off = from_variance_preserving(
                lambda x, t, exact=EXACT[predicts]: exact(x, t) + other, predicts=predicts, alphas_bar=ALPHAS_BAR
            )
            error = off.at(sigma.item()).score(x) - mixture3().score(x, sigma.item())
            found = weight(sigma) * sum_event(error.square()) / 2
            torch.testing.assert_close(found, sum_event(other.square()), rtol=1e-6, atol=1e-12)
            assert ((found * sigma / sum_event(other.square()) - 1).abs() > 0.01).all()
