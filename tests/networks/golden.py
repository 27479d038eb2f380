"""The portable filling of a network: no generator, so that the figures hold on any machine.

Tensor k of shape S, entries j = 1..n in C order: u_j = sin(12.9898 j + crc32(k) mod 1000). A 4-D weight is
u sqrt(2 / (S1 S2 S3)); a norm's table .1 u, plus 1 on gamma and alpha; any other tensor .1 u.
"""

import math
import zlib

import torch
from torch import Tensor, nn

import scorekit as sk

NOISE = sk.Geometric(1.0, 0.01, 10)


def filled(image_shape: tuple[int, int, int], dtype: torch.dtype = torch.float64) -> nn.Module:
    """The RefineNet of width 8 with the portable weights."""
    net = sk.networks.RefineNet(image_shape, NOISE, width=8).double()
    state = net.state_dict()
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
    return 0.1 * u


def images(image_shape: tuple[int, int, int]) -> Tensor:
    """(2, *image_shape): 0.5 + 0.5 sin(0.37 j + 1), j from 0."""
    j = torch.arange(2 * math.prod(image_shape), dtype=torch.float64)
    return (0.5 + 0.5 * torch.sin(0.37 * j + 1)).reshape(2, *image_shape)


def sigmas(labels: list[int]) -> Tensor:
    """The levels with these indices, 0 the largest."""
    return NOISE.levels()[labels]
