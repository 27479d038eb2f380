"""The score of an energy model is minus the gradient of its energy, with autograd on or off."""

from collections.abc import Callable

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor, nn

from scorekit import (
    DirectScore,
)
from scorekit.base import sum_event
from scorekit.energies import EnergyModel, value_and_score
from scorekit.networks import MLP, InnerProduct
from tests.energies.cases import EVENTS, MODES, SEEDS, Closed, draws, levels, scalar


def gradient_error(score: Callable[[Tensor, Tensor], Tensor], net: Closed, x: Tensor, sigma: Tensor) -> float:
    """The law: the largest difference between a score and -grad E in closed form."""
    return (score(x, sigma) - net.score(x, sigma)).abs().max().item()


@pytest.mark.parametrize("mode", MODES)
@given(seed=SEEDS, batch=st.integers(1, 4), event=EVENTS)
def test_the_score_is_minus_the_gradient_of_the_energy_with_autograd_on_or_off(mode, seed, batch, event):
    net = Closed()
    with mode():
        assert gradient_error(EnergyModel(net), net, draws(seed, batch, *event), levels(seed, batch)) < 1e-10


def test_the_law_of_the_gradient_rejects_its_mutants():
    net = Closed()
    x, sigma = draws(1, 3, 2), levels(1, 3)

    def broken(reduce: Callable[[Tensor], Tensor]) -> Callable[[Tensor, Tensor], Tensor]:
        return lambda x, sigma: torch.func.grad(lambda y: reduce(net(y, sigma)))(x)

    assert gradient_error(broken(lambda energy: -energy.sum()), net, x, sigma) < 1e-10
    for reduce in (torch.sum, lambda energy: -energy.mean(), lambda energy: -energy[0], lambda e: -(e**2).sum() / 2):
        assert gradient_error(broken(reduce), net, x, sigma) > 1e-3


@given(seed=SEEDS, batch=st.integers(1, 3), event=EVENTS)
def test_the_score_is_the_slope_of_the_energy_by_finite_differences(seed, batch, event):
    model, x, sigma = EnergyModel(scalar(event)), draws(seed, batch, *event), levels(seed, batch)
    v, step = draws(seed + 1, batch, *event), 1e-5
    with torch.no_grad():
        slope = (model.energy(x + step * v, sigma) - model.energy(x - step * v, sigma)) / (2 * step)
        assert torch.allclose(sum_event(model(x, sigma) * v), -slope, rtol=1e-6, atol=1e-8)


def test_its_jacobian_is_symmetric_and_a_score_networks_is_not():
    def asymmetry(model: nn.Module) -> float:
        sigma = torch.ones(1, dtype=torch.float64)
        jacobian = torch.func.jacrev(lambda x: model(x, sigma))(draws(0, 1, 3)).reshape(3, 3)
        return (jacobian - jacobian.T).abs().max().item()

    assert asymmetry(EnergyModel(scalar((3,)))) < 1e-12
    assert asymmetry(EnergyModel(InnerProduct(MLP((3,), 6).double()))) < 1e-12
    assert asymmetry(DirectScore(MLP((3,), 6).double())) > 1e-3


@pytest.mark.parametrize("mode", MODES)
def test_a_chain_depends_on_its_own_row_only(mode):
    model, x, sigma = EnergyModel(scalar((2,))), draws(0, 4, 2), levels(0, 4)
    with mode():
        others = torch.cat((x[:1], 7 * x[1:]))
        torch.testing.assert_close(model(others, sigma)[0], model(x, sigma)[0], rtol=1e-12, atol=1e-12)


def test_nothing_is_recorded_or_left_behind_where_autograd_is_off():
    model, x = EnergyModel(Closed()), draws(0, 3, 2)
    with torch.no_grad():
        score = model(x, levels(0, 3))
        target = model.at(0.5).point(x)
        assert not any(value.requires_grad for value in (score, target.score, target.log_prob))
    assert not x.requires_grad
    assert model.net.a.grad is None
    assert model(x, levels(0, 3)).requires_grad  # and it is where autograd is on
    with torch.inference_mode():  # where x is an inference tensor
        inside = model(x.clone(), levels(0, 3))
    assert torch.equal(inside, score)


def test_value_and_score_differentiates_again():
    x = draws(0, 3, 2).requires_grad_()
    value, score = value_and_score(lambda y: -sum_event(y**4) / 4, x)
    torch.testing.assert_close(value, -sum_event(x**4) / 4)
    (curvature,) = torch.autograd.grad(score.sum(), x)
    torch.testing.assert_close(curvature, -3 * x**2)
