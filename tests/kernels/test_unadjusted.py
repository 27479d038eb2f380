"""The kernel that decides nothing: its state, its move, and the law of Langevin dynamics discretised."""

import pytest
import torch

from scorekit import AnnealedMCMC, Constant, Langevin, PerChain, SingleLevel, Unadjusted
from scorekit.densities import Gaussian
from scorekit.kernels import Position
from tests.kernels.cases import H
from tests.laws.components import Drift
from tests.laws.drivers import law_pvalue, run
from tests.laws.statistics import ALPHA, BOUND, variance_z_score, z_score
from tests.laws.targets import covariance_of, gauss3


def test_the_state_of_an_unadjusted_kernel_is_x_alone():
    point = gauss3().at(0.1).point(torch.zeros(2, 3))
    state = Unadjusted(Langevin()).init(point)
    assert isinstance(state, Position)
    assert state._fields == ("x",)
    assert state.x is point.x


def test_every_proposed_move_is_made_and_nothing_is_decided():
    kernel, point = Unadjusted(Langevin()), gauss3().at(0.1).point(torch.zeros(2, 3, dtype=torch.float64))
    state, info = kernel.step(point, kernel.init(point), H, generator=PerChain(1))
    move = Langevin().propose(point, H, generator=PerChain(1))
    assert info is None
    assert torch.equal(state.x, move.path[-1].x)


@pytest.mark.parametrize(("start", "h"), [(0.0, 0.05), (2.0, 0.05), (0.0, 0.5), (2.0, 1.5)])
def test_the_variance_of_langevin_dynamics_is_its_recursion(start, h, generator):
    """On N(0, 1): v <- (1 - h)^2 v + 2 h towards 1 / (1 - h / 2); 200,000 chains, 60 steps."""
    variance, density = start, Gaussian((0.0,))
    sampler = AnnealedMCMC(Unadjusted(Langevin()), SingleLevel(0.0), Constant(h), 60)
    x = start**0.5 * torch.randn(200_000, 1, dtype=torch.float64, generator=generator)
    x = run(sampler, density, x, generator).flatten()
    for _ in range(60):
        variance = (1 - h) ** 2 * variance + 2 * h
    assert abs(z_score(x, 0.0)) < BOUND
    assert abs(variance_z_score(x, variance)) < BOUND
    assert abs(variance_z_score(x, 1.0)) > BOUND  # the bias of the discretisation is seen, and predicted


@pytest.mark.parametrize(("proposal", "right"), [(Langevin(), True), (Drift(noise=1.9), False)])
def test_the_discretised_law_is_stationary(proposal, right, generator):
    """The covariance with C = A C A + 2 h I, A = I - h S^-1: chains that start in it stay in it; n = 40,000."""
    density, h = gauss3(), 0.1
    precision = torch.linalg.inv(covariance_of(density))
    a = torch.eye(3, dtype=torch.float64) - h * precision
    stationary = 2 * h * torch.linalg.inv(torch.eye(3) - a @ a)
    mean = torch.tensor(density.mean, dtype=torch.float64)
    z = torch.randn(40_000, 3, dtype=torch.float64, generator=generator)
    x = mean + z @ torch.linalg.cholesky(stationary).T
    x = run(AnnealedMCMC(Unadjusted(proposal), SingleLevel(0.0), Constant(h), 30), density, x, generator)
    assert (law_pvalue(x, mean, stationary) > ALPHA) is right
