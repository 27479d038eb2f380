r"""Halving and doubling images, channel by channel.

    mean    down: the mean of each 2x2 square            up: each pixel four times
    fir     the filter (1 3 3 1) along each axis, where the image goes on beyond its edge with the edge's own values:

        down(x)_i = (x_{2i-1} + 3 x_{2i} + 3 x_{2i+1} + x_{2i+2}) / 8
        up(x)_{2i} = (x_{i-1} + 3 x_i) / 4,    up(x)_{2i+1} = (3 x_i + x_{i+1}) / 4

Both keep constants, up to the edge, and commute with a 1x1 convolution; both have up = 4 down^T, so that a shift of the
image by one pixel changes the halved one little (Zhang, arXiv 1904.11486) and doubling has no checkerboard. The
fir doubling is bilinear interpolation.
"""

from typing import Literal, TypeAlias

import torch
import torch.nn.functional as F
from torch import Tensor

Resampling: TypeAlias = Literal["fir", "mean"]
RESAMPLINGS: tuple[Resampling, ...] = ("fir", "mean")


def halve(x: Tensor, resampling: Resampling) -> Tensor:
    """(B, C, 2 H, 2 W) -> (B, C, H, W)."""
    if resampling == "mean":
        return F.avg_pool2d(x, 2)
    return F.conv2d(_extended(x), _kernel(x), stride=2, groups=x.shape[1])


def double(x: Tensor, resampling: Resampling) -> Tensor:
    """(B, C, H, W) -> (B, C, 2 H, 2 W)."""
    if resampling == "mean":
        return F.interpolate(x, scale_factor=2, mode="nearest")
    return F.conv_transpose2d(_extended(x), 4 * _kernel(x), stride=2, padding=3, groups=x.shape[1])


def _kernel(x: Tensor) -> Tensor:
    """(1 3 3 1) / 8 times itself, for each channel: made where x is, since a copy from the host would wait for it."""
    taps = (2 - (torch.arange(4, dtype=x.dtype, device=x.device) - 1.5).abs()) / 4
    return torch.outer(taps, taps).expand(x.shape[1], 1, 4, 4).contiguous()


def _extended(x: Tensor) -> Tensor:
    """One more pixel on each side, the edge's own; slices, because the gradient of torch's padding by edge values is
    not deterministic on a GPU."""
    x = torch.cat((x[:, :, :1], x, x[:, :, -1:]), dim=2)
    return torch.cat((x[..., :1], x, x[..., -1:]), dim=3)
