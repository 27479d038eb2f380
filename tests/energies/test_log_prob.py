"""A function for the log density as a family of targets."""

import math

import pytest
import torch
from torch import Tensor

from scorekit import (
    Constant,
    PerChain,
    Uniform,
    from_score,
    langevin,
    sample,
)
from scorekit.base import sum_event
from scorekit.densities import GaussianMixture
from scorekit.energies import from_log_prob
from tests.energies.cases import MODES, draws
from tests.laws.targets import gauss3, mixture3


@pytest.mark.parametrize("density", [gauss3(), mixture3()], ids=["gaussian", "mixture"])
@pytest.mark.parametrize("mode", MODES)
def test_a_log_densitys_score_is_the_closed_form(density, mode):
    family = from_log_prob(density.log_prob)
    with mode():
        x = draws(0, 7, *density.event_shape)
        for sigma in (0.0, 0.3, 2.0):
            point = family.at(sigma).point(x)
            assert torch.equal(point.log_prob, density.log_prob(x, sigma))
            torch.testing.assert_close(point.score, density.score(x, sigma), rtol=1e-10, atol=1e-10)
            torch.testing.assert_close(family.at(sigma).score(x), density.score(x, sigma), rtol=1e-10, atol=1e-10)


def test_a_log_density_is_handed_the_float_and_evaluated_once_for_both():
    seen = []

    def function(x: Tensor, sigma: float) -> Tensor:
        seen.append(sigma)
        return -sum_event(x.square()) / 2 / (1 + sigma**2)

    point = from_log_prob(function).at(2.0).point(torch.ones(2, 2))
    assert point.score.tolist() == [[pytest.approx(-0.2)] * 2] * 2
    assert point.log_prob.tolist() == pytest.approx([-0.2] * 2)
    assert seen == [2.0]
    assert isinstance(seen[0], float)


@pytest.mark.parametrize("batch", [2, 3])  # with two chains of two coordinates all of a shape's numbers are alike
def test_a_score_in_the_place_of_a_log_density_is_refused_with_both_shapes(batch):
    target = from_log_prob(lambda x, sigma: -x / (1 + sigma**2)).at(1.0)
    shape = rf"\({batch}, 2\)"
    text = rf"maps x of shape {shape} to {shape}: expected one number per example, here \({batch},\) \(a score"
    for ask in (target.score, target.log_prob, target.value_and_score):
        with pytest.raises(ValueError, match=text):
            ask(torch.ones(batch, 2))
    with pytest.raises(ValueError, match=rf"to \({batch}, 1\): expected one number per example"):
        from_log_prob(lambda x, sigma: -x[:, :1]).at(1.0).log_prob(torch.ones(batch, 2))
    with pytest.raises(ValueError, match=rf"to \({batch},\): a score has the shape of x"):
        from_score(lambda x, sigma: -sum_event(x)).at(1.0).score(torch.ones(batch, 2))


@pytest.mark.parametrize(
    "function",
    [
        torch.no_grad()(lambda x, sigma: -sum_event(x.square())),
        lambda x, sigma: -sum_event(x.detach().square()),
        lambda x, sigma: torch.where(x[:, 0] > 0, 0.0, -math.inf),
    ],
    ids=["no_grad", "detached", "flat"],
)
def test_a_log_density_without_a_gradient_is_refused_rather_than_given_the_score_zero(function):
    target = from_log_prob(function).at(1.0)
    assert target.log_prob(torch.ones(3, 2)).shape == (3,)
    with pytest.raises(
        ValueError, match=r"shape \(3,\) that cannot be differentiated.*add 0 \* x.flatten\(1\).sum\(1\)"
    ):
        target.score(torch.ones(3, 2))


def test_a_flat_density_says_so():
    family = from_log_prob(lambda x, sigma: torch.where(x[:, 0] > 0, 0.0, -math.inf) + 0 * x.flatten(1).sum(1))
    point = family.at(1.0).point(torch.tensor([[1.0], [-1.0]]))
    assert point.log_prob.tolist() == [0.0, -math.inf]
    assert point.score.tolist() == [[0.0], [0.0]]


def test_the_score_keeps_the_type_of_x_where_the_log_density_is_wider():
    weights = torch.ones(2, dtype=torch.float64)
    point = from_log_prob(lambda x, sigma: -sum_event(x.square() * weights)).at(1.0).point(torch.ones(2, 2))
    assert point.score.dtype == torch.float32
    assert point.log_prob.dtype == torch.float64


def test_chains_by_a_log_density_are_those_by_its_score():
    sampler = langevin(step_size=Constant(0.05), num_steps=20, start=Uniform(-1.0, 1.0))
    density = GaussianMixture(((1.0, 1.0), (-1.0, 0.0)), stds=0.6)
    one, two = (
        sample(sampler, family, (20, 2), generator=PerChain(3), dtype=torch.float64)
        for family in (from_log_prob(density.log_prob), from_score(density.score))
    )
    torch.testing.assert_close(one, two, rtol=1e-10, atol=1e-10)


@pytest.mark.parametrize(
    ("arguments", "error", "text"),
    [
        ({"function": 3}, TypeError, r"from_log_prob\(3\): expected a function \(x, sigma\) -> log density"),
        ({"min_sigma": -1}, ValueError, r"from_log_prob\(min_sigma=-1\): expected 0 <= min_sigma < inf"),
        ({"moments": (0.0, -1.0)}, ValueError, r"from_log_prob\(moments=\(0.0, -1.0\)\): expected finite values"),
    ],
)
def test_bad_arguments_are_refused(arguments, error, text):
    with pytest.raises(error, match=text):
        from_log_prob(**{"function": lambda x, sigma: -sum_event(x), **arguments})


def test_a_log_density_states_its_limits():
    family = from_log_prob(lambda x, sigma: -sum_event(x), min_sigma=0.1, moments=(0.5, 2.0))
    assert family.min_sigma == 0.1
    assert [moment.item() for moment in family.moments] == [0.5, 2.0]
    assert family.inference_mode is False
    assert repr(family).startswith("from_log_prob(<function")
    with pytest.raises(ValueError, match=r"sigma = 0.05 is below the smallest level 0.1 at which LogProbFunction"):
        family.require(torch.tensor([0.05], dtype=torch.float64))
