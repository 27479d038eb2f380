"""Derivatives of scores of every origin, in and out of autograd, and the scores that have none."""

import pytest
import torch
from torch import Tensor

from scorekit import PerChain
from tests.estimators.cases import DIFFERENTIATING, coupled, network, problem, score_of


def _energy(y: Tensor) -> Tensor:
    return -(y.square().sum(1) / 2 + y.cos().sum(1))


def _by_autograd(y: Tensor) -> Tensor:
    with torch.enable_grad():
        z = y if y.requires_grad else y.detach().requires_grad_()
        return torch.autograd.grad(_energy(z.flatten(1)).sum(), z, create_graph=True)[0]


@pytest.mark.parametrize("which", DIFFERENTIATING, ids=repr)
def test_a_score_may_be_a_closed_form_or_the_gradient_of_an_energy(which):
    """All three are sin(x) - x, in and out of autograd."""
    x, sigma, eps = problem(0, 6, (2, 3))
    functional = torch.func.grad(lambda y: _energy(y.flatten(1)).sum())
    scores = (score_of, functional, _by_autograd)
    values = [which(score, x, sigma, eps, generator=PerChain(0)).detach() for score in scores]
    with torch.no_grad():
        values += [which(score, x, sigma, eps, generator=PerChain(0)) for score in scores]
    assert all(torch.allclose(value, values[0], rtol=1e-12) for value in values)


@pytest.mark.parametrize("which", DIFFERENTIATING, ids=repr)
def test_a_held_out_loss_is_the_training_loss_without_a_graph(which):
    model = network(3, 0)
    x = torch.randn(4, 3, generator=torch.Generator().manual_seed(0))
    sigma = torch.zeros(4)
    train = which(lambda y: model(y, sigma), x, sigma, x, generator=PerChain(0))
    with torch.no_grad():
        held_out = which(lambda y: model(y, sigma), x, sigma, x, generator=PerChain(0))
    assert train.requires_grad
    assert not held_out.requires_grad
    assert torch.equal(train, held_out)


@pytest.mark.parametrize("which", DIFFERENTIATING, ids=repr)
def test_the_loss_can_be_differentiated_in_x_too(which):
    """x may come from something that is trained: its gradient arrives, and is right in a direction (1e-6)."""
    x, sigma, eps = problem(0, 3, (2,))
    x.requires_grad_()
    (gradient,) = torch.autograd.grad(which(coupled, x, sigma, eps, generator=PerChain(0)).sum(), x)
    h = 1e-5 * eps
    up, down = (which(coupled, y, sigma, eps, generator=PerChain(0)).sum() for y in (x.detach() + h, x.detach() - h))
    assert ((up - down) / 2e-5).item() == pytest.approx((gradient * eps).sum().item(), rel=1e-6)


@pytest.mark.parametrize("which", DIFFERENTIATING, ids=repr)
@pytest.mark.parametrize(
    "score",
    [
        lambda y: torch.zeros_like(y),
        lambda y: y.detach(),
        lambda y: torch.ones(1, requires_grad=True).expand_as(y),
        lambda y: torch.autograd.grad(_energy(y).sum(), y)[0],
    ],
    ids=["constant", "detached", "parameters alone", "gradient without create_graph"],
)
def test_a_score_without_a_differentiable_path_from_x_is_refused(which, score):
    x, sigma, eps = (value.float() for value in problem(0, 3, (2,)))
    with pytest.raises(ValueError, match="no differentiable path from x to the score"):
        which(score, x, sigma, eps)


@pytest.mark.parametrize("which", DIFFERENTIATING, ids=repr)
def test_inference_mode_is_refused(which):
    x, sigma, eps = problem(0, 3, (2,))
    with torch.inference_mode(), pytest.raises(ValueError, match=r"rules out: evaluate it under torch\.no_grad"):
        which(score_of, x, sigma, eps)
