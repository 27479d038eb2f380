r"""A small residual classifier of images, clean or noisy: it guides samplers, and its features judge samples.

    logits(x, sigma) = W f + b,    f = features(x, sigma) = the mean over pixels of silu(norm(h))    D = len(f) numbers

h comes from x / sqrt(sigma^2 + data_std^2), which is of order 1 at every level, by a convolution and one residual block
for each resolution,

    h <- S(h) + conv1(silu(norm1(conv0(silu(norm0(h))) + A e)))

where conv0 halves the image, but in the first block, S takes 2x2 means and a 1x1 convolution where the shape changes,
and e embeds the noise level by

    c = log(sigma^2 + sigma_0^2) / 2,  sigma_0 = .01    through    sin(w_k c), cos(w_k c),  w_k = 2^(k/2) pi / 8

so that sigma = 0 is a level like any other, and next to it lie those too small to matter to pixels in [0, 1]. Norms are
group norms: an image's numbers never depend on the other images of its batch. All parts are smooth, so that log
p(label | x, sigma) has derivatives of every order in x (Song et al., arXiv 2011.13456, section 5, train such a
classifier for p(label | x, sigma); its gradient added to the score samples the images of one class).
"""

import math
from collections.abc import Sequence
from typing import final

import torch
import torch.nn.functional as F
from einops import rearrange
from torch import Tensor, nn

from scorekit._kinds import require_kind
from scorekit.base import expand, wide

_SIGMA_0 = 1e-2
_NUM_FREQUENCIES = 8  # periods from 16 down to 1.4 in log sigma; from .01 to 50 are 8.5
_LARGE, _SMALL = 16, 4  # the first convolution halves images larger than 16 pixels; a block does down to 4


@final
class ConvClassifier(nn.Module):
    """(x, sigma) -> the logits of `num_classes` labels; valid at every sigma >= 0, and without one for clean images.

    The images may have any size; those of 8x8 to 64x64 are what the numbers of blocks are chosen for. D is 2 `width`
    where the smaller side has 5 to 8 pixels, and 4 `width` where it has more.

    Args:
        image_shape: (C, H, W).
        num_classes: K >= 2.
        width: channels at the first resolution, a multiple of 4; twice as many at the second, then four times.
        data_std: about that of the clean pixels, > 0: x is divided by it at sigma = 0.

    Raises:
        TypeError: if the image's shape is no sequence.
        ValueError: if a size is out of range; when called, if x is not (B, C, H, W) or sigma not (B,).
    """

    def __init__(self, image_shape: tuple[int, int, int], num_classes: int, width: int = 32, data_std: float = 0.5):
        super().__init__()
        require_kind("ConvClassifier", Sequence, "(1, 28, 28), say", image_shape=image_shape)
        image_shape = tuple(image_shape)
        _check(image_shape, num_classes, width, data_std)
        self.image_shape, self.num_classes, self.width, self.data_std = image_shape, num_classes, width, data_std
        channels, *size = image_shape
        widths = _widths(min(size), width)
        self.level = NoiseLevel(2 * width)
        self.stem = _stem(channels, width, halve=min(size) > _LARGE)
        self.blocks = nn.ModuleList(
            Block(before, after, 2 * width, halve=place > 0)
            for place, (before, after) in enumerate(zip((width, *widths), widths, strict=False))
        )
        self.norm = _norm(widths[-1])
        self.head = nn.Linear(widths[-1], num_classes)

    @property
    def num_features(self) -> int:
        """D."""
        return self.head.in_features

    def features(self, x: Tensor, sigma: Tensor | None = None) -> Tensor:
        """(B, C, H, W), (B,) -> (B, D): what the logits are linear in. Without a sigma: clean images."""
        sigma = self._checked(x, sigma)
        scale = (wide(sigma).square() + self.data_std**2).rsqrt()
        embedding = self.level(sigma)
        h = self.stem(x.contiguous() * expand(scale, x))  # torch's group norm has no forward mode with channels last
        for block in self.blocks:
            h = block(h, embedding)
        return F.silu(self.norm(h)).mean((2, 3))

    def forward(self, x: Tensor, sigma: Tensor | None = None) -> Tensor:
        """(B, C, H, W), (B,) -> logits (B, K); log p(label | x, sigma) is their `log_softmax`."""
        return self.head(self.features(x, sigma))

    def _checked(self, x: Tensor, sigma: Tensor | None) -> Tensor:
        if x.shape[1:] != self.image_shape:
            shape = ", ".join(map(str, self.image_shape))
            raise ValueError(f"ConvClassifier: x of shape {tuple(x.shape)}, expected (B, {shape})")
        if sigma is None:
            return x.new_zeros(len(x))
        if sigma.shape != x.shape[:1]:
            raise ValueError(
                f"ConvClassifier: sigma of shape {tuple(sigma.shape)}, expected (B,) = {tuple(x.shape[:1])}"
            )
        return sigma


@final
class NoiseLevel(nn.Module):
    """sigma (B,) -> e (B, `width`): sines and cosines of the noise level's logarithm, a linear map and a SiLU.

    Args:
        width: how many numbers.
    """

    def __init__(self, width: int):
        super().__init__()
        self.linear = nn.Linear(2 * _NUM_FREQUENCIES, width)

    def forward(self, sigma: Tensor) -> Tensor:
        """(B,) -> (B, width), in the type of the weights."""
        level = torch.log(wide(sigma).square() + _SIGMA_0**2) / 2
        places = torch.arange(_NUM_FREQUENCIES, dtype=level.dtype, device=level.device)
        angle = level.unsqueeze(1) * (math.pi / 8 * 2 ** (places / 2))
        waves = torch.cat((angle.sin(), angle.cos()), dim=1)
        return F.silu(self.linear(waves.to(self.linear.weight.dtype)))


@final
class Block(nn.Module):
    """(h (B, C, H, W), e (B, D)) -> (B, C', H', W'): the formula at the top of this file.

    Args:
        channels_in: C, a multiple of 4.
        channels_out: C', a multiple of 4.
        embedding_dim: D.
        halve: whether H' and W' are half of H and W, rounded up; else they are the same.
    """

    def __init__(self, channels_in: int, channels_out: int, embedding_dim: int, *, halve: bool):
        super().__init__()
        self.halve = halve
        self.norm0 = _norm(channels_in)
        self.conv0 = nn.Conv2d(channels_in, channels_out, 3, stride=1 + halve, padding=1)
        self.linear = nn.Linear(embedding_dim, channels_out)
        self.norm1 = _norm(channels_out)
        self.conv1 = nn.Conv2d(channels_out, channels_out, 3, padding=1)
        self.shortcut = nn.Identity() if channels_in == channels_out else nn.Conv2d(channels_in, channels_out, 1)

    def forward(self, h: Tensor, embedding: Tensor) -> Tensor:
        """The next feature map."""
        inner = self.conv0(F.silu(self.norm0(h)))
        inner = inner + rearrange(self.linear(embedding), "b c -> b c 1 1")
        outer = F.avg_pool2d(h, 2, ceil_mode=True) if self.halve else h
        return self.shortcut(outer) + self.conv1(F.silu(self.norm1(inner)))


def _widths(size: int, width: int) -> tuple[int, ...]:
    """The channels of each block, for images whose smaller side is `size`."""
    size = math.ceil(size / 2) if size > _LARGE else size
    widths = [width]
    while size > _SMALL:
        size = math.ceil(size / 2)
        widths.append(min(2 * widths[-1], 4 * width))
    return tuple(widths)


def _stem(channels: int, width: int, *, halve: bool) -> nn.Conv2d:
    return nn.Conv2d(channels, width, 5, stride=2, padding=2) if halve else nn.Conv2d(channels, width, 3, padding=1)


def _norm(channels: int) -> nn.GroupNorm:
    """Of at most 8 groups, of 4 channels at least: a group of one channel and one pixel would be blind."""
    return nn.GroupNorm(math.gcd(8, channels // 4), channels)


def _check(image_shape: tuple[int, ...], num_classes: int, width: int, data_std: float) -> None:
    if len(image_shape) != 3 or min(image_shape) < 1:
        raise ValueError(f"ConvClassifier(image_shape={image_shape}): expected (C, H, W), each >= 1")
    if num_classes < 2:
        raise ValueError(f"ConvClassifier(num_classes={num_classes}): expected at least 2")
    if width < 4 or width % 4:
        raise ValueError(f"ConvClassifier(width={width}): expected a multiple of 4, at least 4")
    if not 0 < data_std < math.inf:
        raise ValueError(f"ConvClassifier(data_std={data_std}): expected 0 < data_std < inf")
