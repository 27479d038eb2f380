"""The portable filling of a network: no generator, so that the figures hold on any machine.

Tensor k of shape S, entries j = 1..n in C order: u_j = sin(12.9898 j + crc32(k) mod 1000). A 4-D weight is
u sqrt(2 / (S1 S2 S3)); gamma and alpha of a norm, in its table or as vectors, 1 + .1 u; any other tensor .1 u.
"""

import math
import zlib
from typing import NamedTuple, TypeVar

import pytest
import torch
from torch import Tensor, nn

import scorekit as sk
from scorekit.networks import norm

NOISE = sk.Geometric(1.0, 0.01, 10)
NetT = TypeVar("NetT", bound=nn.Module)


def filled(image_shape: tuple[int, int, int], dtype: torch.dtype = torch.float64) -> nn.Module:
    """The RefineNet of width 8 with the portable weights."""
    return fill(sk.networks.RefineNet(image_shape, NOISE, width=8), dtype)


def fill(net: NetT, dtype: torch.dtype = torch.float64) -> NetT:
    """The network with the portable weights."""
    state = net.double().state_dict()
    net.load_state_dict({key: value if key == "noise_levels" else _fill(key, value) for key, value in state.items()})
    return net.to(dtype)


def _fill(key: str, value: Tensor) -> Tensor:
    j = torch.arange(1, value.numel() + 1, dtype=torch.float64)
    u = torch.sin(12.9898 * j + zlib.crc32(key.encode()) % 1000).reshape(value.shape)
    if value.ndim == 4:
        return u * math.sqrt(2 / value[0].numel())
    if key.endswith("embed.weight"):
        table = 0.1 * u
        table[:, : 2 * value.shape[1] // 3] += 1
        return table
    return 0.1 * u + (1 if key.endswith((".alpha", ".gamma")) else 0)


def images(image_shape: tuple[int, int, int], count: int = 2) -> Tensor:
    """(count, *image_shape): 0.5 + 0.5 sin(0.37 j + 1), j from 0."""
    j = torch.arange(count * math.prod(image_shape), dtype=torch.float64)
    return (0.5 + 0.5 * torch.sin(0.37 * j + 1)).reshape(count, *image_shape)


def sigmas(labels: list[int], noise: sk.base.NoiseSchedule = NOISE) -> Tensor:
    """The levels with these indices, 0 the largest."""
    return noise.levels()[labels]


class Figures(NamedTuple):
    """What is known of an output, to eight decimals; of the norms, to six."""

    total: float
    first: tuple[float, float, float]
    last: float
    norms: tuple[float, ...]


def check_figures(y: Tensor, figures: Figures, tolerance: float = 1e-6) -> None:
    """Refuse an output (B, *E) that is further than `tolerance` (relative) from its figures."""
    y = y.double()
    assert y.flatten(1).norm(dim=1).tolist() == pytest.approx(figures.norms, rel=tolerance)
    assert y.sum().item() == pytest.approx(figures.total, rel=tolerance)
    assert y.flatten()[:3].tolist() == pytest.approx(figures.first, rel=tolerance, abs=max(6e-9, 5e-3 * tolerance))
    assert y.flatten()[-1].item() == pytest.approx(figures.last, rel=tolerance, abs=6e-9)


# ----------------------------------------------------------------------------------------------- wrong norms, to patch


def _alpha_outside(centred, known, style):
    gamma, alpha, beta = norm.split(style)
    return gamma * centred * known.inverse_std + alpha * known.relative_mean + beta


def _without_alpha(centred, known, style):
    gamma, _, beta = norm.split(style)
    return gamma * centred * known.inverse_std + beta


def _biased_over_channels(x):
    known, centred = STATISTICS(x)
    channels = x.shape[1]
    offset = known.mean - known.mean.mean(1, keepdim=True)
    spread = (offset.square().sum(1, keepdim=True) / channels + norm.EPS).rsqrt()
    return known._replace(relative_mean=offset * spread, inverse_spread=spread), centred


def _no_eps_over_channels(x):
    known, centred = STATISTICS(x)
    offset = known.mean - known.mean.mean(1, keepdim=True)
    spread = (offset.square().sum(1, keepdim=True) / (x.shape[1] - 1)).rsqrt()
    return known._replace(relative_mean=offset * spread, inverse_spread=spread), centred


def _alpha_first(style):
    gamma, alpha, beta = SPLIT(style)
    return alpha, gamma, beta


STATISTICS, SPLIT = norm.statistics, norm.split

WRONG_NORMS = {
    "alpha not multiplied by gamma": (norm, "affine", _alpha_outside),
    "no alpha": (norm, "affine", _without_alpha),
    "biased variance over the channels": (norm, "statistics", _biased_over_channels),
    "no eps over the channels": (norm, "statistics", _no_eps_over_channels),
    "alpha and gamma swapped": (norm, "split", _alpha_first),
}
