r"""What all RefineNets for scores have in common: residual stages down, refine blocks back up, and the checks.

    begin_conv     3x3, c -> n
    encoder        stages of two residual blocks; the first of them brings the stage's number of channels and halves
                   the size or, with a dilation, keeps it
    decoder        refine blocks, each given the encoder's map that is next from the end and the last block's output
    normalizer, ELU, end_conv 3x3, n -> c

The two lists are a `Plan`; the norms and the pooling within the blocks are `Parts` (`blocks.py`).
"""

from abc import ABC, abstractmethod
from typing import NamedTuple, cast, final

from torch import Tensor, nn

from scorekit.networks.refinenet.blocks import Parts, RefineBlock, ResidualBlock
from scorekit.networks.refinenet.layers import Conv, step


class Stage(NamedTuple):
    """Two residual blocks of `factor` n channels."""

    name: str
    factor: int
    down: bool = True  # whether the first block may change channels and size, with a learned shortcut
    dilation: int = 1  # above 1 the size stays

    @property
    def halves(self) -> bool:
        """Whether the image has half the size after it."""
        return self.down and self.dilation == 1


class Plan(NamedTuple):
    """The stages on the way down, and (name, factor) of the refine blocks on the way up: one for each stage."""

    encoder: tuple[Stage, ...]
    decoder: tuple[tuple[str, int], ...]

    @property
    def reduction(self) -> int:
        """Height and width have to be divisible by it."""
        return 2 ** sum(stage.halves for stage in self.encoder)


FOUR_CASCADES = Plan(
    (Stage("res1", 1, down=False), Stage("res2", 2), Stage("res3", 2, dilation=2), Stage("res4", 2, dilation=4)),
    (("refine1", 2), ("refine2", 2), ("refine3", 1), ("refine4", 1)),
)
"""For images of 28 to 64 pixels: only res2 halves the size."""


class Skeleton(nn.Module, ABC):
    """(x, sigma) -> the shape of x, by a plan and parts.

    Args:
        image_shape: (channels, height, width of the image); height and width divisible by the plan's reduction.
        width: n, the number of channels of the first feature map, >= 2.
        centered: whether to map x to 2 x - 1 first.
        plan: the stages.
        parts: the norms and the pooling.

    Raises:
        ValueError: if a size breaks these rules; when called, if x is not (B, *image_shape) or sigma not (B,).
        TypeError: when called with a condition.
    """

    def __init__(self, image_shape: tuple[int, int, int], width: int, centered: bool, plan: Plan, parts: Parts):
        super().__init__()
        self.image_shape, self.width, self.centered, self._plan = tuple(image_shape), width, centered, plan
        self._check_sizes()
        channels, n = self.image_shape[0], width
        self.begin_conv = Conv(channels, n)
        self.normalizer = parts.norm(n)
        self.end_conv = Conv(n, channels)
        self._add_encoder(parts)
        self._add_decoder(parts)

    def _check_sizes(self) -> None:
        name, shape, divisor = type(self).__name__, self.image_shape, self._plan.reduction
        if len(shape) != 3 or min(shape) < 1 or shape[1] % divisor or shape[2] % divisor:
            rule = "even height and width" if divisor == 2 else f"height and width divisible by {divisor}"
            raise ValueError(f"{name}(image_shape={shape}): expected (channels, height, width), with {rule}")
        if self.width < 2:
            raise ValueError(f"{name}(width={self.width}): expected at least 2 channels, which the norm compares")

    def _add_encoder(self, parts: Parts) -> None:
        before = self.width
        for name, factor, down, dilation in self._plan.encoder:
            channels = factor * self.width
            first = ResidualBlock(before, channels, parts, down=down, dilation=dilation)
            second = ResidualBlock(channels, channels, parts, dilation=dilation)
            self.add_module(name, nn.ModuleList([first, second]))
            before = channels

    def _add_decoder(self, parts: Parts) -> None:
        skips = [stage.factor * self.width for stage in reversed(self._plan.encoder)]
        below: tuple[int, ...] = ()
        for (name, factor), skip in zip(self._plan.decoder, skips, strict=True):
            channels, last = factor * self.width, name == self._plan.decoder[-1][0]
            block = RefineBlock((skip, *below), channels, parts, num_output_blocks=3 if last else 1)
            self.add_module(name, block)
            below = (channels,)

    @abstractmethod
    def _level(self, sigma: Tensor) -> Tensor:
        """What the norms look up, (B,), of the noise levels sigma (B,)."""

    @final
    def forward(self, x: Tensor, sigma: Tensor, condition: Tensor | None = None) -> Tensor:
        """x (B, *image_shape), sigma (B,) -> (B, *image_shape)."""
        self._check_inputs(x, sigma, condition)
        level = self._level(sigma)
        h = self.begin_conv(2 * x - 1 if self.centered else x)
        # Channels last in memory, in which the CPU's convolutions are fastest; vmap knows no memory format by name.
        h = h.movedim(1, -1).contiguous().movedim(-1, 1)
        maps = []
        for stage in self._plan.encoder:
            for block in cast("nn.ModuleList", self._modules[stage.name]):
                h = block(h, level)
            maps.append(h)
        below: list[Tensor] = []
        for (name, _), skip in zip(self._plan.decoder, reversed(maps), strict=True):
            below = [cast("RefineBlock", self._modules[name])([skip, *below], level)]
        return step(below[0], level, self.normalizer, self.end_conv).contiguous()

    def _check_inputs(self, x: Tensor, sigma: Tensor, condition: Tensor | None) -> None:
        name = type(self).__name__
        if condition is not None:
            raise TypeError(f"{name} takes no condition: it knows the noise level only")
        if x.shape[1:] != self.image_shape:
            raise ValueError(
                f"{name}: x of shape {tuple(x.shape)}, expected (B, {', '.join(map(str, self.image_shape))})"
            )
        if sigma.shape != x.shape[:1]:
            raise ValueError(f"{name}: sigma of shape {tuple(sigma.shape)}, expected (B,) = {tuple(x.shape[:1])}")
