"""The step of every RefineNet: normalise, activate, convolve."""

from collections.abc import Iterable, Iterator
from typing import cast, final

import torch.nn.functional as F
from torch import Tensor, nn

from scorekit.networks.convolution import Geometry, convolve
from scorekit.networks.norm import Norm
from scorekit.networks.norm_conv import ELU, Elementwise, norm_conv


@final
class Conv(nn.Conv2d):
    """A square convolution that keeps the size of the image."""

    def __init__(self, channels_in: int, channels_out: int, *, dilation: int = 1, bias: bool = True):
        super().__init__(channels_in, channels_out, 3, padding=dilation, dilation=dilation, bias=bias)
        self.geometry = Geometry(1, dilation, dilation)

    def form(self) -> tuple[Tensor, Tensor | None, Geometry]:
        """The kernel, the bias and where the kernel is laid."""
        return self.weight, self.bias, self.geometry

    def forward(self, input: Tensor) -> Tensor:
        """input (B, C, H, W) -> (B, C', H, W)."""
        return convolve(input, *self.form())


@final
class ConvMeanPool(nn.Module):
    """A convolution, then the mean over each 2x2 square: one convolution of stride 2 by the mean of four shifted
    kernels."""

    def __init__(self, channels_in: int, channels_out: int, kernel_size: int):
        super().__init__()
        self.conv = nn.Conv2d(channels_in, channels_out, kernel_size, padding=kernel_size // 2)
        self.geometry = Geometry(2, kernel_size // 2)

    def form(self) -> tuple[Tensor, Tensor | None, Geometry]:
        """The kernel, the bias and where the kernel is laid."""
        kernel = F.avg_pool2d(F.pad(self.conv.weight, (1, 1, 1, 1)), 2, stride=1)
        return kernel, self.conv.bias, self.geometry

    def forward(self, x: Tensor) -> Tensor:
        """x (B, C, H, W) -> (B, C', H/2, W/2)."""
        return convolve(x, *self.form())


def step(
    x: Tensor, level: Tensor, norm: Norm, conv: Conv | ConvMeanPool, parts: Elementwise = ELU, *, pool: bool = False
) -> Tensor:
    """conv(ELU(norm(x))), or conv(mean_pool(norm(x)))."""
    weight, bias, geometry = conv.form()
    return norm_conv(x, norm.style(level), weight, bias, parts, geometry._replace(pool=pool))


def pairs(norms: Iterable[object], convs: Iterable[object]) -> Iterator[tuple[Norm, Conv]]:
    """norm and conv of each step; a module list does not know what it holds."""
    return cast("Iterator[tuple[Norm, Conv]]", zip(norms, convs, strict=True))
