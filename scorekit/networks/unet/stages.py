"""The stages of the U-Net, one for each size of the image on the way down and on the way up."""

import math
from itertools import pairwise
from typing import final

import torch
from torch import Tensor, nn

from scorekit.networks.unet.blocks import AttentionBlock, ResidualBlock, conv
from scorekit.networks.unet.plan import Plan
from scorekit.networks.unet.resampling import halve


def residual(plan: Plan, channels_in: int, channels_out: int) -> ResidualBlock:
    """A block that keeps the size."""
    return ResidualBlock(channels_in, channels_out, plan.embedding_dim, plan.dropout)


def attention(plan: Plan, stage: int) -> nn.Module:
    """An attention block if the stage has them, else nothing."""
    return AttentionBlock(plan.channels[stage]) if plan.attended[stage] else nn.Identity()


@final
class DownStage(nn.Module):
    """Residual blocks, each followed by attention where the plan has it; then, but for the last stage, one that halves
    the image, and the sum with the pyramid.

    The pyramid is the network's input itself, halved and convolved from stage to stage and summed over sqrt 2 with the
    feature map at each (Karras et al., arXiv 1912.04958, "residual").

    Args:
        plan: the sizes.
        stage: which one, from 0 on.
    """

    change: ResidualBlock | None
    pyramid: nn.Conv2d | None

    def __init__(self, plan: Plan, stage: int):
        super().__init__()
        self.resampling = plan.resampling
        before, channels = plan.channels[max(stage - 1, 0)], plan.channels[stage]
        widths = [before, *[channels] * plan.num_blocks]
        self.blocks = nn.ModuleList(residual(plan, *ends) for ends in pairwise(widths))
        self.attentions = nn.ModuleList(attention(plan, stage) for _ in self.blocks)
        self.change, self.pyramid = None, None
        if stage < plan.last:
            self.change = ResidualBlock(channels, channels, plan.embedding_dim, plan.dropout, "down", plan.resampling)
            if plan.input_pyramid:
                self.pyramid = conv(before if stage else plan.image_channels, channels)

    def forward(self, h: Tensor, pyramid: Tensor, embedding: Tensor) -> tuple[list[Tensor], Tensor]:
        """The feature maps that the way up is given, the last of which goes on down, and the next pyramid."""
        maps = []
        for block, attend in zip(self.blocks, self.attentions, strict=True):
            h = attend(block(h, embedding))
            maps.append(h)
        if self.change is not None:
            h = self.change(h, embedding)
            if self.pyramid is not None:
                h = pyramid = (self.pyramid(halve(pyramid, self.resampling)) + h) / math.sqrt(2)
            maps.append(h)
        return maps, pyramid


@final
class UpStage(nn.Module):
    """Residual blocks, each of the feature map and the matching one from the way down side by side; attention where the
    plan has it; then, but at full size, one block that doubles the image.

    Args:
        plan: the sizes.
        stage: which one, from the number of stages - 1 down to 0.
    """

    def __init__(self, plan: Plan, stage: int):
        super().__init__()
        channels = plan.channels[stage]
        widths = [plan.channels[min(stage + 1, plan.last)], *[channels] * plan.num_blocks]
        self.blocks = nn.ModuleList(
            residual(plan, width + skip, channels) for width, skip in zip(widths, plan.skips(stage), strict=True)
        )
        self.attention = attention(plan, stage)
        self.change = (
            ResidualBlock(channels, channels, plan.embedding_dim, plan.dropout, "up", plan.resampling)
            if stage
            else None
        )

    def forward(self, h: Tensor, maps: list[Tensor], embedding: Tensor) -> Tensor:
        """The next feature map; it takes those it needs from the end of `maps`."""
        for block in self.blocks:
            h = block(torch.cat((h, maps.pop()), dim=1), embedding)
        h = self.attention(h)
        return h if self.change is None else self.change(h, embedding)


@final
class Middle(nn.Module):
    """A residual block, attention, a residual block, at the smallest size.

    Args:
        plan: the sizes.
    """

    def __init__(self, plan: Plan):
        super().__init__()
        channels = plan.channels[plan.last]
        self.first, self.second = residual(plan, channels, channels), residual(plan, channels, channels)
        self.attention = AttentionBlock(channels)

    def forward(self, h: Tensor, embedding: Tensor) -> Tensor:
        """The next feature map."""
        return self.second(self.attention(self.first(h, embedding)), embedding)
