r"""The noise-conditional RefineNet of NCSN (Song and Ermon, arXiv 1907.05600, appendix A), as its published
checkpoints have it.

    begin_conv 3x3, c -> n
    res1   two residual blocks, n                     (n, H, W)
    res2   down to 2n with a 2x2 mean, then one more  (2n, H/2, W/2)
    res3   two blocks with dilation 2                 (2n, H/2, W/2)
    res4   two blocks with dilation 4                 (2n, H/2, W/2)
    refine1(res4), refine2(res3, .), refine3(res2, .) -> n, refine4(res1, .) -> n at (H, W)
    norm, ELU, end_conv 3x3, n -> c

A residual block is norm, ELU, conv, norm, ELU, conv on top of a shortcut of its raw input; a refine block adapts
each input by residual units, sums them at the size of the first, pools in a chain and ends in residual units. Every
norm is CondInstanceNorm++ (`norm.py`), with a row for each noise level; ELU throughout. Where paper and code differ,
this is the code's form: no norm before `begin_conv` and the shortcuts, and none between a pool and its convolution.
The output is the score itself: there is no division by sigma. Parameter names are those of the published checkpoints.
"""

from collections.abc import Iterable, Iterator
from typing import cast, final

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from scorekit.base import NoiseSchedule
from scorekit.networks.convolution import Geometry, convolve
from scorekit.networks.norm import ConditionalInstanceNorm
from scorekit.networks.norm_conv import ELU, LINEAR, Elementwise, norm_conv


@final
class _Conv(nn.Conv2d):
    """A square convolution that keeps the size of the image."""

    def __init__(self, channels_in: int, channels_out: int, *, dilation: int = 1, bias: bool = True):
        super().__init__(channels_in, channels_out, 3, padding=dilation, dilation=dilation, bias=bias)
        self.geometry = Geometry(1, dilation, dilation)

    def form(self) -> tuple[Tensor, Tensor | None, Geometry]:
        return self.weight, self.bias, self.geometry

    def forward(self, input: Tensor) -> Tensor:
        return convolve(input, *self.form())


@final
class _ConvMeanPool(nn.Module):
    """A convolution, then the mean over each 2x2 square: one convolution of stride 2 by the mean of four shifted
    kernels."""

    def __init__(self, channels_in: int, channels_out: int, kernel_size: int):
        super().__init__()
        self.conv = nn.Conv2d(channels_in, channels_out, kernel_size, padding=kernel_size // 2)
        self.geometry = Geometry(2, kernel_size // 2)

    def form(self) -> tuple[Tensor, Tensor | None, Geometry]:
        kernel = F.avg_pool2d(F.pad(self.conv.weight, (1, 1, 1, 1)), 2, stride=1)
        return kernel, self.conv.bias, self.geometry

    def forward(self, x: Tensor) -> Tensor:
        return convolve(x, *self.form())


def _step(
    x: Tensor,
    level: Tensor,
    norm: ConditionalInstanceNorm,
    conv: _Conv | _ConvMeanPool,
    parts: Elementwise = ELU,
    *,
    pool: bool = False,
) -> Tensor:
    """conv(ELU(norm(x))), or conv(mean_pool(norm(x)))."""
    weight, bias, geometry = conv.form()
    return norm_conv(x, norm.style(level), weight, bias, parts, geometry._replace(pool=pool))


def _pairs(norms: Iterable[object], convs: Iterable[object]) -> Iterator[tuple[ConditionalInstanceNorm, _Conv]]:
    """norm and conv of each step; a module list does not know what it holds."""
    return cast("Iterator[tuple[ConditionalInstanceNorm, _Conv]]", zip(norms, convs, strict=True))


@final
class _ResidualBlock(nn.Module):
    """norm, ELU, conv1, norm, ELU, conv2, plus the shortcut of the raw input.

    With `down`, the number of channels may change: without dilation by convolutions with a 2x2 mean, with dilation by
    dilated ones, at full size; the shortcut is then learned even where the number stays.
    """

    def __init__(self, channels_in: int, channels_out: int, num_levels: int, *, down: bool = False, dilation: int = 1):
        super().__init__()
        pooled = down and dilation == 1
        self.conv1 = _Conv(channels_in, channels_in, dilation=dilation)
        self.normalize2 = ConditionalInstanceNorm(channels_in, num_levels)
        if pooled:
            self.conv2 = _ConvMeanPool(channels_in, channels_out, 3)
            self.shortcut = _ConvMeanPool(channels_in, channels_out, 1)
        else:
            self.conv2 = _Conv(channels_in, channels_out, dilation=dilation)
            self.shortcut = _Conv(channels_in, channels_out, dilation=dilation) if down else nn.Identity()
        self.normalize1 = ConditionalInstanceNorm(channels_in, num_levels)

    def forward(self, x: Tensor, level: Tensor) -> Tensor:
        h = _step(x, level, self.normalize1, self.conv1)
        return _step(h, level, self.normalize2, self.conv2) + self.shortcut(x)


@final
class _ResidualUnits(nn.Module):
    """RCU: blocks of two steps (norm, ELU, conv without bias), each block on top of its input."""

    def __init__(self, channels: int, num_levels: int, *, num_blocks: int):
        super().__init__()
        self._names = [[f"{block}_{stage}" for stage in (1, 2)] for block in range(1, num_blocks + 1)]
        for name in (name for block in self._names for name in block):
            self.add_module(f"{name}_norm", ConditionalInstanceNorm(channels, num_levels))
            self.add_module(f"{name}_conv", _Conv(channels, channels, bias=False))

    def forward(self, x: Tensor, level: Tensor) -> Tensor:
        for block in self._names:
            h = x
            for norm, conv in _pairs(
                *([self._modules[f"{name}_{kind}"] for name in block] for kind in ("norm", "conv"))
            ):
                h = _step(h, level, norm, conv)
            x = x + h
        return x


@final
class _ChainedPooling(nn.Module):
    """CRP: ELU, then twice norm, 5x5 mean, conv without bias along a chain; the sum of all links."""

    def __init__(self, channels: int, num_levels: int):
        super().__init__()
        self.convs = nn.ModuleList(_Conv(channels, channels, bias=False) for _ in range(2))
        self.norms = nn.ModuleList(ConditionalInstanceNorm(channels, num_levels) for _ in range(2))

    def forward(self, x: Tensor, level: Tensor) -> Tensor:
        x = path = F.elu_(x)  # nothing else needs this sum
        for norm, conv in _pairs(self.norms, self.convs):
            path = _step(path, level, norm, conv, LINEAR, pool=True)
            x = x + path
        return x


@final
class _Fusion(nn.Module):
    """MSF: norm and conv of each input, enlarged to the size of the first (bilinear, corners aligned), summed."""

    def __init__(self, channels_in: tuple[int, ...], channels_out: int, num_levels: int):
        super().__init__()
        self.convs = nn.ModuleList(_Conv(channels, channels_out) for channels in channels_in)
        self.norms = nn.ModuleList(ConditionalInstanceNorm(channels, num_levels) for channels in channels_in)

    def forward(self, inputs: list[Tensor], level: Tensor) -> Tensor:
        size = inputs[0].shape[2:]
        outputs = [
            _step(x, level, norm, conv, LINEAR)
            for x, (norm, conv) in zip(inputs, _pairs(self.norms, self.convs), strict=True)
        ]
        first, *others = (
            h if h.shape[2:] == size else F.interpolate(h, size=size, mode="bilinear", align_corners=True)
            for h in outputs
        )
        return sum(others, first)


@final
class _RefineBlock(nn.Module):
    """Residual units for each input, fusion where there are several, chained pooling, residual units."""

    def __init__(self, channels_in: tuple[int, ...], channels_out: int, num_levels: int, *, num_output_blocks: int = 1):
        super().__init__()
        self.adapt_convs = nn.ModuleList(_ResidualUnits(c, num_levels, num_blocks=2) for c in channels_in)
        self.output_convs = _ResidualUnits(channels_out, num_levels, num_blocks=num_output_blocks)
        self.msf = _Fusion(channels_in, channels_out, num_levels) if len(channels_in) > 1 else None
        self.crp = _ChainedPooling(channels_out, num_levels)

    def forward(self, inputs: list[Tensor], level: Tensor) -> Tensor:
        adapted = [units(x, level) for units, x in zip(self.adapt_convs, inputs, strict=True)]
        h = adapted[0] if self.msf is None else self.msf(adapted, level)
        return self.output_convs(self.crp(h, level), level)


@final
class RefineNet(nn.Module):
    """NCSN's network for images: (x, sigma) -> score, at the levels of one noise schedule.

    sigma is looked up in the table of levels (buffer `noise_levels`); one that is not in it takes the nearest level, in
    log sigma. The paper's networks have width 64 (MNIST) and 128 (CelebA and CIFAR-10).

    Args:
        image_shape: (channels, height, width of the image); height and width even.
        noise: the schedule whose levels the network knows.
        width: n, the number of channels of the first feature map, >= 2.
        centered: whether to map x to 2 x - 1 first, as the paper's networks do for data in [0, 1].

    Raises:
        ValueError: if a size breaks these rules; when called, if x is not (B, *image_shape) or sigma not (B,).
        TypeError: when called with a condition.
    """

    noise_levels: Tensor

    def __init__(
        self, image_shape: tuple[int, int, int], noise: NoiseSchedule, width: int = 128, centered: bool = True
    ):
        super().__init__()
        image_shape = tuple(image_shape)
        if len(image_shape) != 3 or min(image_shape) < 1 or image_shape[1] % 2 or image_shape[2] % 2:
            raise ValueError(
                f"RefineNet(image_shape={image_shape}): expected (channels, height, width), with even height and width"
            )
        if width < 2:
            raise ValueError(f"RefineNet(width={width}): expected at least 2 channels, which the norm compares")
        self.image_shape, self.noise, self.width, self.centered = image_shape, noise, width, centered
        self.register_buffer("noise_levels", noise.levels().float())
        channels, n, levels = image_shape[0], width, len(self.noise_levels)
        self.begin_conv = _Conv(channels, n)
        self.normalizer = ConditionalInstanceNorm(n, levels)
        self.end_conv = _Conv(n, channels)
        self.res1 = nn.ModuleList([_ResidualBlock(n, n, levels), _ResidualBlock(n, n, levels)])
        self.res2 = nn.ModuleList([_ResidualBlock(n, 2 * n, levels, down=True), _ResidualBlock(2 * n, 2 * n, levels)])
        self.res3, self.res4 = (
            nn.ModuleList(_ResidualBlock(2 * n, 2 * n, levels, down=down, dilation=dilation) for down in (True, False))
            for dilation in (2, 4)
        )
        self.refine1 = _RefineBlock((2 * n,), 2 * n, levels)
        self.refine2 = _RefineBlock((2 * n, 2 * n), 2 * n, levels)
        self.refine3 = _RefineBlock((2 * n, 2 * n), n, levels)
        self.refine4 = _RefineBlock((n, n), n, levels, num_output_blocks=3)

    def _apply(self, fn, recurse=True):
        """Move, but keep the levels in float32: rounded to half precision, close ones would be confused."""
        super()._apply(fn, recurse)
        self.noise_levels = self.noise.levels().to(device=self.noise_levels.device, dtype=torch.float32)
        return self

    def _load_from_state_dict(
        self, state_dict, prefix, local_metadata, strict, missing_keys, unexpected_keys, error_msgs
    ):
        """Refuse the weights of a network of other levels: their rows would be read at the wrong sigma."""
        levels = state_dict.get(prefix + "noise_levels")
        known = self.noise_levels
        if levels is not None and (
            levels.shape != known.shape or not torch.allclose(levels.to(known), known, rtol=1e-4)
        ):
            error_msgs.append(f"the weights are for the levels {levels.tolist()[:3]}..., this network has {self.noise}")
        super()._load_from_state_dict(
            state_dict, prefix, local_metadata, strict, missing_keys, unexpected_keys, error_msgs
        )

    def forward(self, x: Tensor, sigma: Tensor, condition: Tensor | None = None) -> Tensor:
        """x (B, *image_shape), sigma (B,) -> (B, *image_shape)."""
        if condition is not None:
            raise TypeError("RefineNet takes no condition: it knows the noise level only")
        if x.shape[1:] != self.image_shape:
            raise ValueError(
                f"RefineNet: x of shape {tuple(x.shape)}, expected (B, {', '.join(map(str, self.image_shape))})"
            )
        if sigma.shape != x.shape[:1]:
            raise ValueError(f"RefineNet: sigma of shape {tuple(sigma.shape)}, expected (B,) = {tuple(x.shape[:1])}")
        level = self._level(sigma)
        h = self.begin_conv(2 * x - 1 if self.centered else x)
        # Channels last in memory, in which the CPU's convolutions are fastest; vmap knows no memory format by name.
        h = h.movedim(1, -1).contiguous().movedim(-1, 1)
        maps = []
        for stage in (self.res1, self.res2, self.res3, self.res4):
            for block in stage:
                h = block(h, level)
            maps.append(h)
        h = self.refine1([maps[3]], level)
        for refine, skip in ((self.refine2, maps[2]), (self.refine3, maps[1]), (self.refine4, maps[0])):
            h = refine([skip, h], level)
        return _step(h, level, self.normalizer, self.end_conv).contiguous()

    def _level(self, sigma: Tensor) -> Tensor:
        """The index (B,) of the level nearest to each sigma: how many midpoints, in log sigma, lie above it."""
        logs = self.noise_levels.log()
        midpoints = (logs[1:] + logs[:-1]) / 2
        return (sigma.float().log().unsqueeze(1) < midpoints).sum(1)
