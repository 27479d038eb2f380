"""The preconditioned parametrisation against Karras et al.'s own form and the closed form of a Gaussian."""

import pytest
import torch
from torch import Tensor, nn

import scorekit as sk
from scorekit.base import expand
from scorekit.preconditioned import Preconditioned, PreconditionedWeight

SCALE, CENTER = 0.4, 0.3
SIGMA = torch.tensor([17.0, 1.0, 0.3, 0.02], dtype=torch.float64)


class Given(nn.Module):
    """f(x, sigma) = a x + b sigma + c: something of every argument."""

    def forward(self, x: Tensor, sigma: Tensor) -> Tensor:
        return 0.7 * x + 0.2 * expand(sigma, x) + 0.1


class Zero(nn.Module):
    def forward(self, x: Tensor, sigma: Tensor) -> Tensor:
        return torch.zeros_like(x)


class Narrow(nn.Module):
    def forward(self, x: Tensor, sigma: Tensor) -> Tensor:
        return x[:, :-1]


def states(generator) -> Tensor:
    return torch.empty(4, 3, dtype=torch.float64).normal_(generator=generator) * 3


def karras(net: nn.Module, x: Tensor, sigma: Tensor) -> Tensor:
    """The score by table 1 of arXiv 2206.00364, c_skip, c_out and c_in written out."""
    total = expand(sigma.square() + SCALE**2, x)
    skip, out, scale_in = SCALE**2 / total, expand(sigma, x) * SCALE / total.sqrt(), 1 / total.sqrt()
    u = x - CENTER
    denoised = CENTER + skip * u + out * net(scale_in * u, sigma)
    return (denoised - x) / expand(sigma, x).square()


def test_it_is_karras_form(generator):
    x = states(generator)
    score = Preconditioned(Given(), SCALE, CENTER)(x, SIGMA)
    torch.testing.assert_close(score, karras(Given(), x, SIGMA), rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("mutant", [(SCALE * 1.1, CENTER), (SCALE, 0.0)])
def test_another_scale_or_center_is_not(mutant, generator):
    x = states(generator)
    assert not torch.allclose(Preconditioned(Given(), *mutant)(x, SIGMA), karras(Given(), x, SIGMA), rtol=1e-2)


def test_a_network_of_zeros_is_the_gaussian_of_its_moments(generator):
    x = states(generator)
    density = sk.densities.Gaussian((CENTER,) * 3, SCALE**2)
    score = Preconditioned(Zero(), SCALE, CENTER)(x, SIGMA)
    for row, level in enumerate(SIGMA.tolist()):
        torch.testing.assert_close(score[row : row + 1], density.at(level).score(x[row : row + 1]), rtol=1e-12, atol=0)


def test_float32_keeps_its_digits_at_a_small_sigma(generator):
    """The difference (D - x) / sigma^2 would lose all but two of them here."""
    x, sigma = CENTER + states(generator), torch.full((4,), 1e-3, dtype=torch.float64)
    exact = Preconditioned(Given(), SCALE, CENTER)(x, sigma)
    single = Preconditioned(Given(), SCALE, CENTER)(x.float(), sigma.float())
    assert ((single - exact).abs() / exact.abs().clamp(min=1)).max() < 1e-4


def test_the_weighted_loss_is_the_mean_square_of_what_the_network_is_off_by(generator):
    x, eps = states(generator), states(generator)
    y = x + expand(SIGMA, x) * eps
    model, weight = Preconditioned(Given(), SCALE, CENTER), PreconditionedWeight(SCALE)
    fisher = (model(y, SIGMA) + eps / expand(SIGMA, x)).square().sum(1)
    r = expand((SIGMA.square() + SCALE**2).sqrt(), x)
    target = (x - CENTER - SCALE**2 / r.square() * (y - CENTER)) / (expand(SIGMA, x) * SCALE / r)
    off = (Given()((y - CENTER) / r, SIGMA) - target).square().sum(1)
    torch.testing.assert_close(weight(SIGMA) * fisher, off, rtol=1e-9, atol=0)
    assert not torch.allclose(SIGMA.square() * fisher, off, rtol=0.1)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: Preconditioned(Zero(), 0.0), "scale=0.0"),
        (lambda: Preconditioned(Zero(), 1.0, float("nan")), "center=nan"),
        (lambda: Preconditioned(Zero(), 1.0, min_sigma=0.0), "min_sigma=0.0"),
        (lambda: PreconditionedWeight(-1.0), "scale=-1.0"),
        (lambda: Preconditioned(Narrow(), 1.0)(torch.zeros(2, 3), torch.ones(2)), r"\(2, 3\) to \(2, 2\)"),
    ],
)
def test_bad_values(make, message):
    with pytest.raises(ValueError, match=message):
        make()


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
@pytest.mark.parametrize("sigma", [1.0, 300.0, 1000.0])
def test_a_level_whose_square_is_beyond_float16_is_a_level_like_any_other(dtype, sigma, generator):
    """300^2 is infinite in float16, and the score was then 0."""
    x = sigma * states(generator)
    exact = Preconditioned(Given(), SCALE, CENTER)(x, x.new_full((4,), sigma))
    rough = Preconditioned(Given(), SCALE, CENTER)(x.to(dtype), torch.full((4,), sigma, dtype=dtype))
    assert rough.dtype == dtype
    assert (rough - exact).norm() < 8 * torch.finfo(dtype).eps * exact.norm()
