"""The sizes of a U-Net, worked out once for all of its stages."""

from dataclasses import dataclass
from typing import final

from scorekit.networks.unet.resampling import Resampling


@final
@dataclass(frozen=True)
class Plan:
    """What every stage is made by.

    Args:
        image_channels: of the network's input.
        channels: of the feature maps of each stage, from full size on.
        attended: whether each stage has attention.
        num_blocks: residual blocks in a stage on the way down; on the way up there is one more.
        embedding_dim: of what the blocks are told besides x.
        dropout: the probability, in training.
        resampling: how images are halved and doubled.
        input_pyramid: whether the smaller images of the input are added on the way down.
    """

    image_channels: int
    channels: tuple[int, ...]
    attended: tuple[bool, ...]
    num_blocks: int
    embedding_dim: int
    dropout: float
    resampling: Resampling
    input_pyramid: bool

    @property
    def last(self) -> int:
        """The stage of the smallest feature maps."""
        return len(self.channels) - 1

    def skips(self, stage: int) -> list[int]:
        """The channels of the feature maps that a stage on the way up is given, in this order.

        They come back last in, first out: the stage's own, then the one that entered it on the way down.
        """
        return [*[self.channels[stage]] * self.num_blocks, self.channels[max(stage - 1, 0)]]
