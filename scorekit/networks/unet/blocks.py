r"""The blocks of the U-Net.

    residual    out = (S(h) + conv1(dropout(silu(norm1(conv0(R(silu(norm0(h)))) + A e))))) / sqrt 2
    attention   out = (h + P softmax(q^T k / sqrt C) v) / sqrt 2,    (q, k, v) = Q norm(h), over the pixels

R halves or doubles the image, or does nothing; S is R and a 1x1 convolution where the shape changes, else nothing
(Brock et al., arXiv 1809.11096); e is the embedding of what the network is told besides x. conv1 and P start at 0, so
that a new block adds nothing; over sqrt 2, a sum of two unit variances has unit variance (Song et al., arXiv
2011.13456, appendix H).

Tensors keep the standard layout in memory. With channels last a step of training takes a CPU the same time, the
convolutions less and the group norms more, and torch's group norm has no forward mode then (torch 2.13).
"""

import math
from typing import Literal, TypeVar, final

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from scorekit.networks.unet.resampling import Resampling, double, halve

LayerT = TypeVar("LayerT", nn.Conv2d, nn.Linear)


def norm(channels: int) -> nn.GroupNorm:
    """Group norm over at most 32 groups of at least 4 channels: as many as divide the channels."""
    return nn.GroupNorm(next(n for n in range(min(channels // 4, 32), 0, -1) if channels % n == 0), channels, eps=1e-6)


def started(layer: LayerT, zero: bool = False) -> LayerT:
    """The layer with uniform weights of variance 2 / (inputs + outputs), or 0, and no bias."""
    (nn.init.zeros_ if zero else nn.init.xavier_uniform_)(layer.weight)
    if layer.bias is not None:
        nn.init.zeros_(layer.bias)
    return layer


def conv(channels_in: int, channels_out: int, *, size: int = 3, zero: bool = False) -> nn.Conv2d:
    """A convolution that keeps the size of the image."""
    return started(nn.Conv2d(channels_in, channels_out, size, padding=size // 2), zero)


@final
class ResidualBlock(nn.Module):
    """(h (B, C, H, W), e (B, D)) -> (B, C', H', W'): the first formula at the top of this file.

    Args:
        channels_in: C, >= 4.
        channels_out: C', >= 4.
        embedding_dim: D.
        dropout: the probability, in training, that an input of conv1 is dropped.
        change: "down" or "up" for an image of half or twice the size; None to keep it.
        resampling: how.
    """

    def __init__(
        self,
        channels_in: int,
        channels_out: int,
        embedding_dim: int,
        dropout: float = 0.0,
        change: Literal["down", "up"] | None = None,
        resampling: Resampling = "fir",
    ):
        super().__init__()
        self.change, self.resampling = change, resampling
        self.norm0 = norm(channels_in)
        self.conv0 = conv(channels_in, channels_out)
        self.linear = started(nn.Linear(embedding_dim, channels_out))
        self.norm1 = norm(channels_out)
        self.dropout = nn.Dropout(dropout)
        self.conv1 = conv(channels_out, channels_out, zero=True)
        same = change is None and channels_in == channels_out
        self.shortcut = nn.Identity() if same else conv(channels_in, channels_out, size=1)

    def forward(self, h: Tensor, embedding: Tensor) -> Tensor:
        """The next feature map."""
        inner = self.conv0(self._resample(F.silu(self.norm0(h))))
        inner = inner + self.linear(embedding).unsqueeze(-1).unsqueeze(-1)
        inner = self.conv1(self.dropout(F.silu(self.norm1(inner))))
        return (self._outer(h) + inner) / math.sqrt(2)

    def _outer(self, h: Tensor) -> Tensor:
        """A 1x1 convolution commutes with resampling, and costs a quarter on the smaller image."""
        return self._resample(self.shortcut(h)) if self.change == "up" else self.shortcut(self._resample(h))

    def _resample(self, h: Tensor) -> Tensor:
        if self.change is None:
            return h
        return (halve if self.change == "down" else double)(h, self.resampling)


@final
class AttentionBlock(nn.Module):
    """h (B, C, H, W) -> the same shape: the second formula at the top of this file, with one head.

    Written out, because torch's fused attention has no second derivative and no forward mode.

    Args:
        channels: C, >= 4.
    """

    def __init__(self, channels: int):
        super().__init__()
        self.norm = norm(channels)
        self.query_key_value = started(nn.Linear(channels, 3 * channels))
        self.project = started(nn.Linear(channels, channels), zero=True)

    def forward(self, h: Tensor) -> Tensor:
        """The next feature map."""
        pixels = self.norm(h).movedim(1, -1).flatten(1, 2)
        query, key, value = self.query_key_value(pixels).chunk(3, dim=-1)
        weights = torch.softmax(query @ key.mT / math.sqrt(h.shape[1]), dim=-1)
        found = self.project(weights.to(value.dtype) @ value)
        return (h + found.unflatten(1, h.shape[2:]).movedim(-1, 1)) / math.sqrt(2)
