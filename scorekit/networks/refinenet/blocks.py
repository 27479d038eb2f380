"""The blocks of the RefineNets.

`level` (B,) is what the norms look up: the index of each example's noise level, or anything of that shape where they
have no table.
"""

from collections.abc import Callable
from typing import NamedTuple, final

import torch.nn.functional as F
from torch import Tensor, nn

from scorekit.networks.norm import InstanceNorm, NoNorm, Norm
from scorekit.networks.norm_conv import LINEAR
from scorekit.networks.refinenet.layers import Conv, ConvMeanPool, pairs, step


class Parts(NamedTuple):
    """What tells the RefineNets apart within their blocks; each part is made for a number of channels."""

    norm: Callable[[int], Norm]  # in the residual blocks and before the last convolution
    refine_norm: Callable[[int], Norm]  # in the refine blocks
    pooling: Callable[[int], nn.Module]  # of the refine blocks, called with (x, level)


def normalised(norm: Callable[[int], Norm]) -> Parts:
    """NCSN's: one norm everywhere, and means in the chained pooling."""
    return Parts(norm, norm, lambda channels: ChainedMeans(channels, norm))


def sparsely_normalised() -> Parts:
    """NCSNv2's: norms in the residual blocks only, and maxima in the chained pooling."""
    return Parts(InstanceNorm, lambda channels: NoNorm(), ChainedMaxima)


@final
class ResidualBlock(nn.Module):
    """norm, ELU, conv1, norm, ELU, conv2, plus the shortcut of the raw input.

    With `down`, the number of channels may change: without dilation by convolutions with a 2x2 mean, with dilation by
    dilated ones, at full size; the shortcut is then learned even where the number stays.
    """

    def __init__(self, channels_in: int, channels_out: int, parts: Parts, *, down: bool = False, dilation: int = 1):
        super().__init__()
        pooled = down and dilation == 1
        self.conv1 = Conv(channels_in, channels_in, dilation=dilation)
        self.normalize2 = parts.norm(channels_in)
        if pooled:
            self.conv2 = ConvMeanPool(channels_in, channels_out, 3)
            self.shortcut = ConvMeanPool(channels_in, channels_out, 1)
        else:
            self.conv2 = Conv(channels_in, channels_out, dilation=dilation)
            self.shortcut = Conv(channels_in, channels_out, dilation=dilation) if down else nn.Identity()
        self.normalize1 = parts.norm(channels_in)

    def forward(self, x: Tensor, level: Tensor) -> Tensor:
        """x (B, C, H, W), level (B,) -> (B, C', H', W')."""
        h = step(x, level, self.normalize1, self.conv1)
        return step(h, level, self.normalize2, self.conv2) + self.shortcut(x)


@final
class ResidualUnits(nn.Module):
    """RCU: blocks of two steps (norm, ELU, conv without bias), each block on top of its input."""

    def __init__(self, channels: int, parts: Parts, *, num_blocks: int):
        super().__init__()
        self._names = [[f"{block}_{stage}" for stage in (1, 2)] for block in range(1, num_blocks + 1)]
        for name in (name for block in self._names for name in block):
            self.add_module(f"{name}_norm", parts.refine_norm(channels))
            self.add_module(f"{name}_conv", Conv(channels, channels, bias=False))

    def forward(self, x: Tensor, level: Tensor) -> Tensor:
        """x (B, C, H, W), level (B,) -> (B, C, H, W)."""
        for block in self._names:
            h = x
            for norm, conv in pairs(
                *([self._modules[f"{name}_{kind}"] for name in block] for kind in ("norm", "conv"))
            ):
                h = step(h, level, norm, conv)
            x = x + h
        return x


@final
class ChainedMeans(nn.Module):
    """CRP: ELU, then twice norm, 5x5 mean, conv without bias along a chain; the sum of all links."""

    def __init__(self, channels: int, norm: Callable[[int], Norm]):
        super().__init__()
        self.convs = nn.ModuleList(Conv(channels, channels, bias=False) for _ in range(2))
        self.norms = nn.ModuleList(norm(channels) for _ in range(2))

    def forward(self, x: Tensor, level: Tensor) -> Tensor:
        """x (B, C, H, W), overwritten, and level (B,) -> (B, C, H, W)."""
        x = path = F.elu_(x)
        for norm, conv in pairs(self.norms, self.convs):
            path = step(path, level, norm, conv, LINEAR, pool=True)
            x = x + path
        return x


@final
class ChainedMaxima(nn.Module):
    """CRP without norms: ELU, then twice 5x5 maximum, conv without bias along a chain; the sum of all links."""

    def __init__(self, channels: int):
        super().__init__()
        self.convs = nn.ModuleList(Conv(channels, channels, bias=False) for _ in range(2))

    def forward(self, x: Tensor, level: Tensor) -> Tensor:
        """x (B, C, H, W), overwritten, and level (B,) -> (B, C, H, W)."""
        x = path = F.elu_(x)
        for conv in self.convs:
            path = conv(F.max_pool2d(path, 5, stride=1, padding=2))
            x = x + path
        return x


@final
class Fusion(nn.Module):
    """MSF: norm and conv of each input, enlarged to the size of the first (bilinear, corners aligned), summed."""

    def __init__(self, channels_in: tuple[int, ...], channels_out: int, parts: Parts):
        super().__init__()
        self.convs = nn.ModuleList(Conv(channels, channels_out) for channels in channels_in)
        self.norms = nn.ModuleList(parts.refine_norm(channels) for channels in channels_in)

    def forward(self, inputs: list[Tensor], level: Tensor) -> Tensor:
        """inputs (B, C_i, H_i, W_i), level (B,) -> (B, C', H_1, W_1)."""
        size = inputs[0].shape[2:]
        outputs = [
            step(x, level, norm, conv, LINEAR)
            for x, (norm, conv) in zip(inputs, pairs(self.norms, self.convs), strict=True)
        ]
        first, *others = (
            h if h.shape[2:] == size else F.interpolate(h, size=size, mode="bilinear", align_corners=True)
            for h in outputs
        )
        return sum(others, first)


@final
class RefineBlock(nn.Module):
    """Residual units for each input, fusion where there are several, chained pooling, residual units."""

    def __init__(self, channels_in: tuple[int, ...], channels_out: int, parts: Parts, *, num_output_blocks: int = 1):
        super().__init__()
        self.adapt_convs = nn.ModuleList(ResidualUnits(c, parts, num_blocks=2) for c in channels_in)
        self.output_convs = ResidualUnits(channels_out, parts, num_blocks=num_output_blocks)
        self.msf = Fusion(channels_in, channels_out, parts) if len(channels_in) > 1 else None
        self.crp = parts.pooling(channels_out)

    def forward(self, inputs: list[Tensor], level: Tensor) -> Tensor:
        """inputs (B, C_i, H_i, W_i), level (B,) -> (B, C', H_1, W_1)."""
        adapted = [units(x, level) for units, x in zip(self.adapt_convs, inputs, strict=True)]
        h = adapted[0] if self.msf is None else self.msf(adapted, level)
        return self.output_convs(self.crp(h, level), level)  # nothing else needs h, so the pooling may overwrite it
