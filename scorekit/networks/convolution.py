r"""A square convolution with zero padding, optionally of 5x5 means, forwards and backwards, in whichever exact form
is cheapest.

A 3x3 convolution with dilation d has two other forms on small images:

    d >= max(H, W)        every tap but the central one reads padding only: it is the 1x1 convolution by the central
    tap; d divides H and W     pixels of different phase (row mod d, column mod d) never meet: it is the undilated
                          convolution of the d^2 images of one phase each.

8x8 images meet both: the half-resolution layers of a RefineNet have dilations 2 and 4 on 4x4. There the CPU's own
gradient of a dilated kernel takes 3 to 10 times as long as these forms' (torch 2.13).
"""

from typing import NamedTuple

import torch
import torch.nn.functional as F
from einops import rearrange
from torch import Tensor


class Geometry(NamedTuple):
    """Stride, zero padding and dilation, the same along both axes; `pool` for a convolution of the 5x5 means."""

    stride: int = 1
    padding: int = 0
    dilation: int = 1
    pool: bool = False


def mean_pool(x: Tensor) -> Tensor:
    """The mean over 5x5 neighbours, where what lies outside the image counts as zeros: a symmetric matrix, so its
    own adjoint.

    On a CPU the depthwise convolution takes a quarter of the pooling's time, but has no fast form in double precision.
    """
    if x.device.type == "cpu" and x.dtype != torch.float64:
        return F.conv2d(x, x.new_full((x.shape[1], 1, 5, 5), 1 / 25), padding=2, groups=x.shape[1])
    return F.avg_pool2d(x, 5, stride=1, padding=2)


def convolve(x: Tensor, weight: Tensor, bias: Tensor | None, geometry: Geometry) -> Tensor:
    """The convolution of x (B, C, H, W) with the kernel `weight` (C', C, k, k), plus `bias` (C',)."""
    stride, padding, dilation, pool = geometry
    x = mean_pool(x) if pool else x
    if central_only(x, geometry):
        return F.conv2d(x, weight[:, :, 1:2, 1:2], bias)
    return F.conv2d(x, weight, bias, stride, padding, dilation)


def convolve_backward(
    grad: Tensor, x: Tensor, weight: Tensor, geometry: Geometry, mask: tuple[bool, bool]
) -> tuple[Tensor, Tensor | None, Tensor | None]:
    """The gradients at x, weight and bias from `grad`, the one at the output; `mask` says which of the last
    two are wanted."""
    stride, padding, dilation, pool = geometry
    if pool:
        unpooled = geometry._replace(pool=False)
        dx, dweight, dbias = convolve_backward(grad, mean_pool(x), weight, unpooled, mask)
        return mean_pool(dx), dweight, dbias
    if central_only(x, geometry):
        dx, dweight, dbias = convolve_backward(grad, x, weight[:, :, 1:2, 1:2], Geometry(), mask)
        return dx, dweight if dweight is None else F.pad(dweight, (1, 1, 1, 1)), dbias
    if phases_are_cheaper(x, dilation):
        plain = Geometry(padding=padding // dilation)
        grad, x = split_phases(grad, dilation), split_phases(x, dilation)
        dx, dweight, dbias = convolve_backward(grad, x, weight, plain, mask)
        return join_phases(dx, dilation), dweight, dbias
    sizes = [weight.shape[0]], [stride] * 2, [padding] * 2, [dilation] * 2
    return torch.ops.aten.convolution_backward(grad, x, weight, *sizes, False, [0, 0], 1, [True, *mask])


def central_only(x: Tensor, geometry: Geometry) -> bool:
    """Whether it is a 3x3 kernel of which only the central tap reaches into an image of the size of x."""
    return geometry.stride == 1 and geometry.padding == geometry.dilation >= max(x.shape[2:])


def phases_are_cheaper(x: Tensor, dilation: int) -> bool:
    """Whether the gradient of a dilated convolution is cheaper phase by phase."""
    height, width = x.shape[2:]
    divides = height % dilation == width % dilation == 0
    return dilation > 1 and divides and 2 * dilation >= min(height, width) and x.device.type == "cpu"


def split_phases(x: Tensor, dilation: int) -> Tensor:
    """Each image as its dilation^2 phase images, with the channels last in memory."""
    split = rearrange(x.movedim(1, -1), "b (h p) (w q) c -> (b p q) h w c", p=dilation, q=dilation)
    return split.movedim(-1, 1)


def join_phases(x: Tensor, dilation: int) -> Tensor:
    """The inverse of `split_phases`."""
    joined = rearrange(x.movedim(1, -1), "(b p q) h w c -> b (h p) (w q) c", p=dilation, q=dilation)
    return joined.movedim(-1, 1)
