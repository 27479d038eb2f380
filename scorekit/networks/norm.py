r"""Instance normalisation ++, conditional or not: instance norm that keeps the channels' means.

For one example x (C, H, W) at noise level i, with mu_k and v_k the mean and the biased variance of channel k over
its pixels, and m and w the mean and the unbiased variance of mu_1..mu_C over the channels,

    h_k   = (x_k - mu_k) / sqrt(v_k + 1e-5)
    t_k   = (mu_k - m) / sqrt(w + 1e-5)
    out_k = gamma_ik (h_k + alpha_ik t_k) + beta_ik

gamma, alpha and beta are the column blocks, in this order, of one table with a row per level; without condition they
are three vectors. This is the form that the published NCSN checkpoints were trained with; the paper (arXiv 1907.05600,
appendix A) prints it with alpha outside the product with gamma.

Seen from x it is one multiply-add. With r = 1 / sqrt(v + 1e-5) and q = 1 / sqrt(w + 1e-5),

    out = scale (x - mu) + shift,    scale = gamma r,    shift = beta + gamma alpha t

and the gradient, where g is the one at `out`, N the number of pixels, and sums without index run over the pixels, is

    dbeta = sum g    dgamma = r sum g (x - mu) + alpha t sum g    dalpha = gamma t sum g
    dt    = gamma alpha sum g                  dmu = q (dt - mean_k dt - t sum_k(t dt) / (C - 1))
    dx    = scale g - (scale r^2 / N) (x - mu) sum g (x - mu) + (dmu - scale sum g) / N
"""

from abc import ABC, abstractmethod
from typing import NamedTuple, final

import torch
from torch import Tensor, nn

from scorekit.base import wide

EPS = 1e-5
"""Added to both variances."""


class Statistics(NamedTuple):
    """What the norm needs of x, (B, C, 1, 1) each, but q (B, 1, 1, 1)."""

    mean: Tensor
    inverse_std: Tensor
    relative_mean: Tensor
    inverse_spread: Tensor


def statistics(x: Tensor) -> tuple[Statistics, Tensor]:
    """mu, r, t and q of x (B, C, H, W), and x - mu.

    Elementary operations only: the variances come from centred values, because the one-pass E x^2 - (E x)^2 has lost
    its digits where a mean is large; `torch.var_mean` costs a CPU ten times as much; and torch's layer norm, which
    could stand for t, is wrong from the third derivative on, and from the second where forward mode is involved
    (torch 2.13). Squares are taken in float32 at least: that of 256 is infinite in float16.
    """
    mean = x.mean((2, 3), keepdim=True)
    centred = x - mean
    inverse_std = (wide(centred).square().mean((2, 3), keepdim=True) + EPS).rsqrt().to(x.dtype)
    offset = mean - mean.mean(1, keepdim=True)
    inverse_spread = (wide(offset).square().sum(1, keepdim=True) / (x.shape[1] - 1) + EPS).rsqrt().to(x.dtype)
    return Statistics(mean, inverse_std, offset * inverse_spread, inverse_spread), centred


def split(style: Tensor) -> tuple[Tensor, ...]:
    """gamma, alpha and beta, each (B, C, 1, 1), of rows (B, 3 C) of the table."""
    return style.unflatten(1, (3, -1, 1, 1)).unbind(1)


def affine(centred: Tensor, known: Statistics, style: Tensor) -> Tensor:
    """scale (x - mu) + shift."""
    gamma, alpha, beta = split(style)
    return torch.addcmul(torch.addcmul(beta, gamma * alpha, known.relative_mean), centred, gamma * known.inverse_std)


def normalise(x: Tensor, style: Tensor) -> tuple[Tensor, Statistics]:
    """The norm of x (B, C, H, W) by the rows `style` (B, 3 C), and the statistics of x."""
    known, centred = statistics(x)
    return affine(centred, known, style), known


def normalise_again(x: Tensor, style: Tensor, known: Statistics) -> Tensor:
    """The norm of x whose statistics are known."""
    return affine(x - known.mean, known, style)


def normalise_backward(grad: Tensor, x: Tensor, style: Tensor, known: Statistics) -> tuple[Tensor, Tensor]:
    """The gradients at x and style from `grad`, the one at the norm's output."""
    (gamma, alpha, _), (mean, r, t, q) = split(style), known
    channels, pixels = x.shape[1], x.shape[2] * x.shape[3]
    centred, scale = x - mean, gamma * r
    total = grad.sum((2, 3), keepdim=True)
    slope = (grad * centred).sum((2, 3), keepdim=True) * r
    dalpha = total * gamma * t
    dt = total * gamma * alpha
    dmean = q * (dt - dt.mean(1, keepdim=True) - t * ((dt * t).sum(1, keepdim=True) / (channels - 1)))
    dstyle = torch.cat((slope + total * alpha * t, dalpha, total), 1).reshape(style.shape)
    linear = torch.addcmul((dmean - scale * total) / pixels, centred, scale * r * slope, value=-1 / pixels)
    return torch.addcmul(linear, grad, scale), dstyle


class Norm(nn.Module, ABC):
    """What a RefineNet puts before an activation. It reads the rows, by `style`, and normalises within `norm_conv`."""

    @abstractmethod
    def style(self, level: Tensor) -> Tensor | None:
        """The rows gamma | alpha | beta, (B, 3 C), of the examples with what `level` (B,) says; None for no norm."""


@final
class ConditionalInstanceNorm(Norm):
    """CondInstanceNorm++: a row gamma | alpha | beta for each noise level, and the arithmetic at the top of this file.

    Calling the module normalises.

    Args:
        num_channels: C >= 2.
        num_levels: L, the rows of the table.

    Raises:
        ValueError: for fewer than two channels. The variance of a single mean over channels is 0/0; and a norm that
            removes the mean of the only channel leaves a network blind to it, so that no value put in place of 0/0
            would be of use.
    """

    def __init__(self, num_channels: int, num_levels: int):
        super().__init__()
        _require_two("ConditionalInstanceNorm", num_channels)
        self.num_channels, self.num_levels = num_channels, num_levels
        self.embed = nn.Embedding(num_levels, 3 * num_channels)
        with torch.no_grad():
            self.embed.weight[:, : 2 * num_channels].normal_(1.0, 0.02)
            self.embed.weight[:, 2 * num_channels :].zero_()

    def style(self, level: Tensor) -> Tensor:
        """The rows (B, 3 C) at the levels with index `level` (B,), int64; 0 is the largest sigma."""
        return self.embed(level)

    def forward(self, x: Tensor, level: Tensor) -> Tensor:
        """The norm of x (B, C, H, W) at the levels with index `level` (B,)."""
        return normalise(x, self.style(level))[0]


@final
class InstanceNorm(Norm):
    """InstanceNorm++: one row, as the vectors alpha, gamma and beta (C,), for every level.

    Calling the module normalises.

    Args:
        num_channels: C >= 2.

    Raises:
        ValueError: for fewer than two channels, as `ConditionalInstanceNorm`.
    """

    def __init__(self, num_channels: int):
        super().__init__()
        _require_two("InstanceNorm", num_channels)
        self.num_channels = num_channels
        self.alpha = nn.Parameter(torch.empty(num_channels).normal_(1.0, 0.02))
        self.gamma = nn.Parameter(torch.empty(num_channels).normal_(1.0, 0.02))
        self.beta = nn.Parameter(torch.zeros(num_channels))

    def style(self, level: Tensor) -> Tensor:
        """The same row (B, 3 C) for each example; of `level` (B,) only the length counts."""
        return torch.cat((self.gamma, self.alpha, self.beta)).expand(len(level), -1)

    def forward(self, x: Tensor) -> Tensor:
        """The norm of x (B, C, H, W)."""
        return normalise(x, self.style(x))[0]


@final
class NoNorm(Norm):
    """No norm, where another RefineNet has one."""

    def style(self, level: Tensor) -> Tensor | None:
        """None: nothing is normalised."""
        return None


def _require_two(name: str, num_channels: int) -> None:
    if num_channels < 2:
        raise ValueError(
            f"{name}(num_channels={num_channels}): at least 2, because it divides by the unbiased variance of the "
            "channels' means, which is 0/0 for one"
        )
