import pytest
import torch

from scorekit import Denoise, Stay
from tests.laws.components import Watch
from tests.laws.targets import gauss3, mixture3


def test_stay_returns_the_very_tensor_and_evaluates_nothing():
    watch = Watch(gauss3())
    target = watch.at(0.5)
    point = target.point(torch.zeros(2, 3))
    x, carry = Stay().move(watch, point, target, 0.5, 0.1, "anything")
    assert x is point.x
    assert carry is None
    assert watch.evaluated == []


def test_denoise_is_the_posterior_mean_of_a_gaussian():
    """E[x0 | x] = mu + S (S + sigma^2 I)^-1 (x - mu), solved here by a plain inverse."""
    density, sigma = gauss3(), 0.7
    x = torch.randn(50, 3, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    point = density.at(sigma).point(x)
    moved, carry = Denoise().move(density, point, density.at(0.0), sigma, 0.0)
    covariance = torch.tensor(density.covariance, dtype=torch.float64)
    gain = covariance @ torch.linalg.inv(covariance + sigma**2 * torch.eye(3, dtype=torch.float64))
    mean = torch.tensor(density.mean, dtype=torch.float64)
    expected = mean + (x - mean) @ gain.T
    assert (moved - expected).abs().max() < 1e-13
    assert carry is None
    for mutant in (x + sigma * point.score, x - sigma**2 * point.score, x + sigma**2 / 2 * point.score):
        assert (mutant - expected).abs().max() > 0.05


def test_denoise_is_the_posterior_mean_of_a_mixture():
    """By brute force: the mean of 400,000 clean draws near each x, weighted with N(x; x0, sigma^2 I)."""
    density, sigma = mixture3(), 0.8
    x = torch.tensor([[0.5, 0.5], [2.5, -2.0]], dtype=torch.float64)
    clean = density.sample(400_000, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    weights = (-(x.unsqueeze(1) - clean).square().sum(2) / (2 * sigma**2)).softmax(1)
    moved, _ = Denoise().move(density, density.at(sigma).point(x), density.at(0.0), sigma, 0.0)
    assert (moved - weights @ clean).abs().max() < 0.02


def test_denoise_uses_the_score_that_is_there():
    watch = Watch(gauss3())
    target = watch.at(0.5)
    point = target.point(torch.zeros(2, 3))
    point.score  # noqa: B018
    Denoise().move(watch, point, watch.at(0.0), 0.5, 0.0)
    assert len(watch.evaluated) == 1


@pytest.mark.parametrize(("transition", "only_final"), [(Stay(), False), (Denoise(), True)])
def test_only_denoise_is_bound_to_the_end(transition, only_final):
    assert transition.only_final is only_final
