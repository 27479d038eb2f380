"""What is refused of a model before training: coupled batches, and derivatives that vanish."""

import pytest
import torch
from torch import nn

from scorekit import DirectScore, PerChain
from scorekit.estimators import (
    FiniteDifferenceSliced,
    ImplicitScoreMatching,
    check_curvature,
)
from tests.estimators.cases import DIFFERENTIATING, problem


def _energy_score(activation: nn.Module) -> DirectScore:
    net = nn.Sequential(nn.Linear(3, 16), activation, nn.Linear(16, 1)).double()
    gradient = torch.func.grad(lambda y: net(y).sum())
    return lambda y: gradient(y)


def test_an_energy_whose_second_derivative_vanishes_is_found_on_a_batch():
    """ReLU's is exactly 0, softplus's is not; as a score network ReLU is fine."""
    x, _, _ = problem(0, 8, (3,))
    with pytest.raises(ValueError, match="derivative of the score in x is exactly 0 at all 8 examples"):
        check_curvature(_energy_score(nn.ReLU()), x)
    check_curvature(_energy_score(nn.Softplus()), x)
    check_curvature(nn.Sequential(nn.Linear(3, 8), nn.ReLU(), nn.Linear(8, 3)).double(), x)
    check_curvature(lambda y: y - y.mean(1, keepdim=True), x)  # its rows and columns sum to 0
    with pytest.raises(ValueError, match="no differentiable path"):
        check_curvature(torch.zeros_like, x)


@pytest.mark.parametrize("which", DIFFERENTIATING, ids=repr)
def test_a_network_whose_last_layer_starts_at_zero_is_trained(which):
    """Its derivative is exactly 0 as well, until the first step; a ReLU energy's stays 0, whatever is trained."""
    x, sigma, eps = problem(0, 8, (3,))
    net = nn.Sequential(nn.Linear(3, 8), nn.SiLU(), nn.Linear(8, 3)).double()
    for weight in net[2].parameters():
        nn.init.zeros_(weight)
    with torch.no_grad():
        which.check_score(net, x)
    assert all(weight.grad is None for weight in net.parameters())
    which(net, x, sigma, eps, generator=PerChain(0)).sum().backward()
    assert net[2].weight.grad.abs().max() > 0.1
    flat = nn.Sequential(nn.Linear(3, 16), nn.ReLU(), nn.Linear(16, 1)).double()
    with pytest.raises(ValueError, match="exactly 0 at all 8 examples"):
        which.check_score(lambda y: torch.func.grad(lambda z: flat(z).sum())(y), x)


@pytest.mark.parametrize("which", [*DIFFERENTIATING, FiniteDifferenceSliced()], ids=repr)
@pytest.mark.parametrize("layer", [nn.BatchNorm2d(4), nn.BatchNorm2d(4).eval(), nn.SyncBatchNorm(4)], ids=repr)
def test_a_model_that_couples_the_batch_is_refused(which, layer):
    model = DirectScore(nn.Sequential(nn.Conv2d(4, 4, 1), layer))
    with pytest.raises(
        ValueError, match=rf"the layer 'net\.1' is a {type(layer).__name__}, which couples the examples"
    ):
        which.check(model)
    which.check(DirectScore(nn.Sequential(nn.GroupNorm(2, 4), nn.InstanceNorm2d(4), nn.LayerNorm(3))))


def test_batch_normalisation_does_break_the_trace(seed):
    """Why it is refused: in training mode the exact trace takes in the other examples, and depends on them."""
    norm = nn.BatchNorm1d(2, affine=False, track_running_stats=False).double()
    x, sigma, eps = problem(seed, 4, (2,))
    one = ImplicitScoreMatching()(norm, x, sigma, eps)
    other = ImplicitScoreMatching()(norm, torch.cat((x[:1], 3 * x[1:])), sigma, eps)
    assert (one[0] - other[0]).abs() > 1e-3 * one[0].abs()
