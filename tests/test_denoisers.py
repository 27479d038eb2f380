import json
import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor, nn

import scorekit as sk
from scorekit import Denoise, Geometric, PerChain, Uniform, annealed_langevin, sample
from scorekit.base import expand
from scorekit.config import from_config, to_config
from scorekit.denoisers import Denoiser, from_denoiser
from scorekit.densities import Gaussian
from scorekit.hookspecs import hookimpl
from scorekit.networks import MLP
from scorekit.registry import Registry
from tests.laws.targets import figure3, gauss3, mixture3

EVENTS = st.lists(st.integers(1, 3), min_size=1, max_size=3).map(tuple)
SEEDS = st.integers(0, 2**16 - 1)


def draws(seed: int, *shape: int) -> Tensor:
    return torch.randn(*shape, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))


class Shrink(nn.Module):
    """The denoiser of a standard normal: D = x / (1 + sigma^2)."""

    def forward(self, x: Tensor, sigma: Tensor, condition: Tensor | None = None) -> Tensor:
        return x / (1 + expand(sigma, x) ** 2) + (0 if condition is None else expand(condition, x))


def posterior_mean(x: Tensor, sigma: float) -> Tensor:
    """E[x0 | x] of `mixture3`, from its components: Bayes' rule, without a score."""
    density = mixture3()
    means, weights, stds = (torch.tensor(v, dtype=x.dtype) for v in (density.means, density.weights, density.stds))
    total = stds**2 + sigma**2
    distances = torch.cdist(x, means).square()
    responsible = (weights.log() - distances / (2 * total) - total.log()).softmax(1)
    gain = (stds**2 / total).unsqueeze(1)
    each = means + gain * (x.unsqueeze(1) - means)
    return (responsible.unsqueeze(2) * each).sum(1)


# ------------------------------------------------------------------------------------------------------------ Denoiser


@given(seed=SEEDS, batch=st.integers(1, 4), event=EVENTS)
def test_the_score_of_the_denoiser_of_a_standard_normal(seed, batch, event):
    x = draws(seed, batch, *event)
    sigma = 0.1 + torch.rand(batch, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))
    expected = -x / (1 + expand(sigma, x) ** 2)
    torch.testing.assert_close(Denoiser(Shrink())(x, sigma), expected, rtol=1e-10, atol=1e-10)


def test_another_power_of_sigma_or_another_sign_is_not_its_score():
    x, sigma = draws(0, 3, 2), torch.tensor([0.5, 1.5, 2.0], dtype=torch.float64)
    score, scale = Denoiser(Shrink())(x, sigma), sigma.unsqueeze(1)
    denoised = Shrink()(x, sigma)
    for mutant in ((denoised - x) / scale, (x - denoised) / scale**2, denoised / scale**2, (denoised - x) / scale**4):
        assert (mutant - score).abs().max() > 0.1
    torch.testing.assert_close(score, (denoised - x) / scale**2)


@pytest.mark.parametrize("sigma", [0.05, 0.5, 3.0])
def test_bayes_rule_and_the_score_in_closed_form_agree(sigma):
    """Tweedie's formula itself, on a mixture: two derivations of one score."""
    x = 2 * draws(0, 50, 2)
    point = from_denoiser(posterior_mean).at(sigma).point(x)
    torch.testing.assert_close(point.score, mixture3().score(x, sigma), rtol=1e-9, atol=1e-9)


def test_half_precision_has_digits_where_the_square_of_sigma_has_none():
    """At sigma = 2e-4 the square is 4e-8, which float16 rounds to 6e-8."""
    x, sigma = torch.zeros(1, 1, dtype=torch.float16), torch.tensor([2e-4], dtype=torch.float16)

    class Noise(nn.Module):
        def forward(self, x: Tensor, sigma: Tensor) -> Tensor:
            return x - expand(sigma, x)

    score = Denoiser(Noise(), min_sigma=1e-4)(x, sigma)
    assert score.item() == pytest.approx(-1 / 2e-4, rel=1e-2)
    assert (-sigma / sigma**2).item() != pytest.approx(-1 / 2e-4, rel=0.2)


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
def test_the_score_has_the_type_of_x_whatever_autocast_did(dtype):
    net = MLP((3,), 4).to(dtype)
    x, sigma = torch.ones(2, 3, dtype=dtype), torch.full((2,), 0.5, dtype=dtype)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert Denoiser(net)(x, sigma).dtype == dtype
        assert net(x, sigma).dtype == (torch.bfloat16 if dtype == torch.float32 else dtype)


def test_denoising_a_denoisers_target_gives_what_the_network_gives():
    x = draws(0, 4, 2)
    model = Denoiser(Shrink())
    point = model.at(0.5).point(x)
    moved, _ = Denoise().move(model, point, model.at(0.0), 0.5, 0.0)
    torch.testing.assert_close(moved, Shrink()(x, torch.full((4,), 0.5, dtype=torch.float64)), rtol=1e-12, atol=1e-12)


def test_the_condition_is_passed_on():
    x, sigma, condition = draws(0, 3, 2), torch.ones(3, dtype=torch.float64), torch.tensor([1.0, 2.0, 3.0])
    difference = Denoiser(Shrink())(x, sigma, condition) - Denoiser(Shrink())(x, sigma)
    torch.testing.assert_close(difference, condition.double().unsqueeze(1).expand(3, 2))


def test_the_levels_are_the_schedules_and_the_smallest_is_given():
    assert Denoiser(Shrink()).noise_levels is None
    assert torch.equal(Denoiser(Shrink(), Geometric()).noise_levels, Geometric().levels())
    assert Denoiser(Shrink()).min_sigma == 1e-3
    model = Denoiser(Shrink(), min_sigma=0.1)
    assert model.min_sigma == 0.1
    assert model.inference_mode
    with pytest.raises(ValueError, match=r"sigma = 0.05 is below the smallest level 0.1 at which Denoiser is valid"):
        model.require(torch.tensor([0.05], dtype=torch.float64))


@pytest.mark.parametrize("min_sigma", [0.0, -1.0, math.inf, math.nan])
def test_a_smallest_level_of_0_is_refused(min_sigma):
    text = rf"\(min_sigma={min_sigma}\): the score \(D - x\) / sigma\^2 needs 0 < min_sigma < inf"
    with pytest.raises(ValueError, match="Denoiser" + text):
        Denoiser(Shrink(), min_sigma=min_sigma)
    with pytest.raises(ValueError, match="from_denoiser" + text):
        from_denoiser(lambda x, sigma: x, min_sigma=min_sigma)


def test_a_network_that_changes_the_shape_is_refused():
    class Flat(nn.Module):
        def forward(self, x: Tensor, sigma: Tensor) -> Tensor:
            return x.sum(1)

    with pytest.raises(ValueError, match=r"Flat maps x of shape \(3, 2\) to \(3,\)"):
        Denoiser(Flat())(torch.zeros(3, 2), torch.ones(3))
    with pytest.raises(ValueError, match=r"x of shape \(B, \*E\) and sigma of shape \(B,\); got \(3, 2\) and \(\)"):
        Denoiser(Flat())(torch.zeros(3, 2), torch.tensor(1.0))


def test_it_learns_to_denoise():
    """300 steps of Adam bring the objective within 10 % of its optimum, 1/2 s^2 / (s^2 + sigma^2) a dimension, and the
    network to x / (1 + sigma^2)."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = Denoiser(MLP((2,), width=32))
    objective = sk.Objective(model, sk.DenoisingScoreMatching(), sk.SingleLevel(1.0), weight="sigma^2")
    data = Gaussian((0.0, 0.0), 1.0).sample(4000, generator=torch.Generator().manual_seed(0))
    losses = [step.loss for step in sk.fit(objective, data, num_steps=300, batch_size=256, learning_rate=1e-2)]
    assert sum(losses[-100:]) / 100 == pytest.approx(2 * 0.25, rel=0.1)
    assert losses[0] > 0.7
    x = torch.tensor([[1.0, -1.0], [0.5, 1.0]])
    torch.testing.assert_close(model.net(x, torch.ones(2)), x / 2, rtol=0, atol=0.15)


class Plugin:
    @hookimpl
    def scorekit_models(self):
        return {"a-denoiser": Denoiser}


def test_its_configuration_is_its_constructors_arguments_and_a_saved_one_comes_back(tmp_path, monkeypatch):
    registry = Registry()
    registry.register(Plugin(), "denoisers")
    model = Denoiser(MLP((2,), 5), Geometric(2.0, 0.1, 3), 0.05).double()
    config = json.loads(json.dumps(to_config(model, registry=registry), allow_nan=False))
    assert config["params"]["min_sigma"] == 0.05
    assert config["params"]["noise"]["params"]["num_levels"] == 3
    assert to_config(from_config(config, registry=registry), registry=registry) == config
    monkeypatch.setattr("scorekit.config.default_registry", lambda: registry)
    sk.save(tmp_path, model)
    x, sigma = draws(0, 3, 2), torch.tensor([0.1, 1.0, 2.0], dtype=torch.float64)
    again = sk.load(tmp_path)
    assert isinstance(again, Denoiser)
    assert torch.equal(again(x, sigma), model(x, sigma))


# ------------------------------------------------------------------------------------------------------- from_denoiser


def test_a_denoiser_is_handed_the_float():
    seen = []

    def function(x: Tensor, sigma: float) -> Tensor:
        seen.append(sigma)
        return x / (1 + sigma**2)

    score = from_denoiser(function).at(2.0).point(torch.ones(2, 2)).score
    torch.testing.assert_close(score, torch.full((2, 2), -0.2))
    assert seen == [2.0]
    assert isinstance(seen[0], float)


@pytest.mark.parametrize("density", [gauss3(), figure3()], ids=["gaussian", "point masses"])
def test_chains_by_a_denoiser_are_those_by_the_score(density):
    def denoiser(x: Tensor, sigma: float) -> Tensor:
        return x + sigma**2 * density.score(x, sigma)

    sampler = annealed_langevin(Geometric(2.0, 0.1, 4), steps_per_level=5, start=Uniform(-1.0, 1.0), final=Denoise())
    one, two = (
        sample(sampler, family, (20, *density.event_shape), generator=PerChain(3), dtype=torch.float64)
        for family in (from_denoiser(denoiser), density)
    )
    torch.testing.assert_close(one, two, rtol=1e-8, atol=1e-8)


@pytest.mark.parametrize(
    ("function", "text"),
    [
        (
            lambda x, sigma: x.sum(1),
            r"shape \(2, 3\) and type torch.float32 to \(2,\) and torch.float32: what is denoised",
        ),
        (lambda x, sigma: x.double(), r"to \(2, 3\) and torch.float64"),
    ],
)
def test_a_denoiser_that_changes_the_shape_or_the_type_is_refused(function, text):
    with pytest.raises(ValueError, match=text):
        from_denoiser(function).at(1.0).score(torch.ones(2, 3))


def test_bad_arguments_are_refused():
    with pytest.raises(TypeError, match=r"from_denoiser\(3\): expected a function \(x, sigma\) -> denoised x"):
        from_denoiser(3)
    with pytest.raises(
        ValueError, match=r"from_denoiser\(moments=\(0.0, -1.0\)\): expected finite values and std >= 0"
    ):
        from_denoiser(lambda x, sigma: x, moments=(0.0, -1.0))


def test_a_denoiser_function_states_its_limits():
    family = from_denoiser(lambda x, sigma: x, min_sigma=0.1, moments=(0.5, 2.0))
    assert family.min_sigma == 0.1
    assert from_denoiser(lambda x, sigma: x).min_sigma == 1e-3
    assert [moment.item() for moment in family.moments] == [0.5, 2.0]
    assert repr(family).startswith("from_denoiser(<function")
    with pytest.raises(ValueError, match=r"below the smallest level 0.1 at which DenoiserFunction is valid"):
        family.require(torch.tensor([0.05], dtype=torch.float64))
