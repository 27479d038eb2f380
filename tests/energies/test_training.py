"""An energy model is trained by every form of score matching."""

from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn

from scorekit import (
    DenoisingScoreMatching,
    Objective,
)
from scorekit.base import expand, sum_event
from scorekit.densities import Gaussian
from scorekit.energies import EnergyModel
from tests.energies.cases import draws, levels, scalar
from tests.laws import losses
from tests.laws.statistics import ALPHA
from tests.laws.targets import gauss3


def written_out(net: nn.Module, x: Tensor, sigma: Tensor) -> Tensor:
    """The score by plain autograd, at an x that is a leaf or depends on one."""
    y = x if x.requires_grad else x.detach().requires_grad_()
    return -torch.autograd.grad(net(y, sigma).sum(), y, create_graph=True)[0]


def denoising(score: Callable[[Tensor], Tensor], x: Tensor, sigma: Tensor, eps: Tensor) -> Tensor:
    return sum_event((score(x) + eps / expand(sigma, x)).square()) / 2


def sliced(score: Callable[[Tensor], Tensor], x: Tensor, sigma: Tensor, eps: Tensor) -> Tensor:
    """v' J v + |s|^2 / 2 by double backward."""
    x = x.detach().requires_grad_()
    value = score(x)
    (pulled,) = torch.autograd.grad((value * eps).sum(), x, create_graph=True)
    return sum_event(pulled * eps) + sum_event(value.square()) / 2


def implicit(score: Callable[[Tensor], Tensor], x: Tensor, sigma: Tensor, eps: Tensor) -> Tensor:
    """tr J + |s|^2 / 2, a row of the Jacobian at a time."""
    x = x.detach().requires_grad_()
    value = score(x)
    rows = value.flatten(1).unbind(1)
    trace = sum(torch.autograd.grad(row.sum(), x, create_graph=True)[0].flatten(1)[:, i] for i, row in enumerate(rows))
    return trace + sum_event(value.square()) / 2


def forward_mode(score: Callable[[Tensor], Tensor], x: Tensor, sigma: Tensor, eps: Tensor) -> Tensor:
    """v' J v + |s|^2 / 2 by torch.func.jvp."""
    value, pushed = torch.func.jvp(score, (x,), (eps,))
    return sum_event(pushed * eps) + sum_event(value.square()) / 2


FORMS = {"denoising": denoising, "sliced": sliced, "implicit": implicit, "forward mode": forward_mode}


@pytest.mark.parametrize("form", FORMS)
def test_every_form_of_estimator_trains_it(form):
    """The gradient in the parameters is that of the loss written out by plain autograd, and is not 0."""
    estimate, net = FORMS[form], scalar((3,))
    x, sigma, eps = draws(0, 5, 3), levels(0, 5), draws(1, 5, 3)
    model, weights = EnergyModel(net), list(net.parameters())
    ours = torch.autograd.grad(estimate(lambda y: model(y, sigma), x, sigma, eps).mean(), weights)
    plain = sliced if form == "forward mode" else estimate
    expected = torch.autograd.grad(plain(lambda y: written_out(net, y, sigma), x, sigma, eps).mean(), weights)
    for mine, theirs in zip(ours, expected, strict=True):
        torch.testing.assert_close(mine, theirs, rtol=1e-10, atol=1e-12)
        assert theirs.abs().max() > 1e-6


@pytest.mark.parametrize("form", FORMS)
def test_a_few_steps_lower_every_forms_loss(form):
    """Adam on one batch of standard normals at sigma = 1: the estimate falls by .1 at least, where the true score is
    worth .25 a dimension."""
    model = EnergyModel(scalar((2,)))
    clean, sigma, eps = draws(0, 256, 2), torch.ones(256, dtype=torch.float64), draws(1, 256, 2)
    x = clean + eps if form == "denoising" else 2**0.5 * clean  # elsewhere eps is a probe, independent of x
    optimizer = torch.optim.Adam(model.parameters(), lr=0.02)
    values = []
    for _ in range(25):
        loss = FORMS[form](lambda y: model(y, sigma), x, sigma, eps).mean()
        values.append(loss.item())
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    assert values[-1] < values[0] - 0.1


class ProbeEnergy(nn.Module):
    """The energy of a Gaussian, plus theta times functions of x and sigma: exact at theta = 0."""

    def __init__(self, density: Gaussian, theta: nn.Parameter, sign: float = 1.0):
        super().__init__()
        self.theta, self.sign = theta, sign
        covariance = torch.tensor(density.covariance, dtype=torch.float64)
        self.mean = torch.tensor(density.mean, dtype=torch.float64)
        self.variances, self.basis = torch.linalg.eigh(covariance)

    def forward(self, x: Tensor, sigma: Tensor) -> Tensor:
        z = (x - self.mean) @ self.basis
        exact = self.sign * (z.square() / (self.variances + sigma.square().unsqueeze(1))).sum(1) / 2
        d = x.shape[1]
        frequencies = 1 + torch.arange(d, dtype=x.dtype) / 2
        waves = (x.unsqueeze(2) * frequencies).sin().flatten(1)
        a, e, f = self.theta[:3]
        linear = waves @ self.theta[3 : 3 + d * d] + x @ self.theta[3 + d * d :]
        return exact * (1 + a + f * sigma.log()) + e * x.cosh().log().sum(1) + linear


@pytest.mark.parametrize("mutant", [False, True])
def test_the_expected_gradient_is_zero_at_the_true_energy(seed, mutant):
    """Denoising through the model object, 60 batches of 200; the mutant has the energy's sign wrong."""

    def make(model, noise):
        net = ProbeEnergy(gauss3(), model.theta, -1.0 if mutant else 1.0)
        return Objective(EnergyModel(net), DenoisingScoreMatching(), noise)

    p = losses.fixpoint(make, gauss3(), seed, batches=60)
    assert (p < ALPHA) is mutant
