"""Conditional instance normalisation."""

import math

import pytest
import torch

from scorekit.networks.norm import ConditionalInstanceNorm, InstanceNorm


def test_norm_vectors():
    x = (torch.arange(12, dtype=torch.float64) ** 1.5).reshape(1, 3, 2, 2)
    layer = ConditionalInstanceNorm(3, 1).double()
    layer.embed.weight.data = torch.tensor([[1, 2, 3, 0.5, -0.5, 1, 0, 0.1, 0.2]], dtype=torch.float64)
    expected = [-1.60419543, -1.09846207, -0.17376547, 1.02367221, -2.36458824, -0.74405991, 1.04780757, 2.99596398,
                -0.57217499, 1.96729674, 4.65207378, 7.47467923]  # fmt: skip
    assert layer(x, torch.tensor([0])).flatten().tolist() == pytest.approx(expected, abs=6e-9)
    layer.embed.weight.data = torch.tensor([[1, 1, 1, 1, 1, 1, 0, 0, 0]], dtype=torch.float64)
    expected = [-2.06738312, -1.56164976, -0.63695316, 0.56048452, -1.43296539, -0.62270123, 0.27323251, 1.24731072,
                -0.25739166, 0.58909891, 1.48402459, 2.42489308]  # fmt: skip
    assert layer(x, torch.tensor([0])).flatten().tolist() == pytest.approx(expected, abs=6e-9)


def test_the_unconditional_norm_is_the_conditional_one_with_one_row():
    x = (torch.arange(24, dtype=torch.float64) ** 1.5).reshape(2, 3, 2, 2)
    conditional, layer = ConditionalInstanceNorm(3, 1).double(), InstanceNorm(3).double()
    gamma, alpha, beta = ([1, 2, 3], [0.5, -0.5, 1], [0, 0.1, 0.2])
    conditional.embed.weight.data = torch.tensor([[*gamma, *alpha, *beta]], dtype=torch.float64)
    state = {"gamma": gamma, "alpha": alpha, "beta": beta}
    layer.load_state_dict({key: torch.tensor(value, dtype=torch.float64) for key, value in state.items()})
    expected = conditional(x, torch.tensor([0, 0]))
    assert torch.equal(layer(x), expected)
    assert layer(x)[0].flatten()[:2].tolist() == pytest.approx([-1.60419543, -1.09846207], abs=6e-9)
    layer.load_state_dict(layer.state_dict() | {"gamma": layer.alpha, "alpha": layer.gamma})
    assert not torch.allclose(layer(x), expected)


def test_the_unconditional_norm_starts_at_gamma_and_alpha_one_beta_zero():
    layer = InstanceNorm(2000)
    for vector in (layer.gamma, layer.alpha):  # N(1, .02^2), n = 2000: 4.9 standard errors of mean and std
        assert vector.mean().item() == pytest.approx(1, abs=4.9 * 0.02 / math.sqrt(2000))
        assert vector.std().item() == pytest.approx(0.02, abs=4.9 * 0.02 / math.sqrt(4000))
    assert not torch.equal(layer.gamma, layer.alpha)
    assert not layer.beta.any()


def test_norm_starts_at_gamma_and_alpha_one_beta_zero():
    torch.manual_seed(0)
    gamma, alpha, beta = ConditionalInstanceNorm(200, 10).embed.weight.detach().chunk(3, dim=1)
    for table in (gamma, alpha):  # N(1, .02^2), n = 2000: 4.9 standard errors of mean and std
        assert table.mean().item() == pytest.approx(1, abs=4.9 * 0.02 / math.sqrt(2000))
        assert table.std().item() == pytest.approx(0.02, abs=4.9 * 0.02 / math.sqrt(4000))
    assert not beta.any()


@pytest.mark.parametrize("scale", [1.0, 300.0, 3000.0])
def test_the_statistics_of_maps_whose_squares_are_beyond_float16(scale, generator):
    """The square of 256 is infinite in float16, and the norm of such a map was then its shift alone."""
    x = scale * torch.empty(2, 4, 6, 6, dtype=torch.float64).normal_(generator=generator)
    x = x + scale * torch.arange(4.0).reshape(4, 1, 1)
    norm = InstanceNorm(4).double()
    exact = norm(x)
    assert (norm.half()(x.half()) - exact).norm() < 0.01 * exact.norm()
