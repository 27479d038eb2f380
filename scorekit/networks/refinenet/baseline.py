r"""The single-noise baseline of NCSN (Song and Ermon, arXiv 1907.05600): its RefineNet (`conditional.py`) with one row
gamma, alpha, beta in every norm in place of a table.

It is told no level, so it is the score at the one level that it was trained at.
"""

from typing import final

from torch import Tensor

from scorekit.networks.norm import InstanceNorm
from scorekit.networks.refinenet.blocks import normalised
from scorekit.networks.refinenet.skeleton import FOUR_CASCADES, Skeleton


@final
class RefineNetBaseline(Skeleton):
    """(x, sigma) -> the score at the one level that it was trained at, whatever sigma.

    The paper's network has width 64 (MNIST).

    Args:
        image_shape: (channels, height, width of the image); height and width even.
        width: n, the number of channels of the first feature map, >= 2.
        centered: whether to map x to 2 x - 1 first, as the paper's network does for data in [0, 1].

    Raises:
        ValueError: if a size breaks these rules; when called, if x is not (B, *image_shape) or sigma not (B,).
        TypeError: when called with a condition.
    """

    def __init__(self, image_shape: tuple[int, int, int], width: int = 128, centered: bool = True):
        super().__init__(image_shape, width, centered, FOUR_CASCADES, normalised(InstanceNorm))

    def _level(self, sigma: Tensor) -> Tensor:
        return sigma
