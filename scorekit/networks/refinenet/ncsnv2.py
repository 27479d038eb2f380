r"""The networks of NCSNv2 (Song and Ermon, "Improved techniques for training score-based generative models", arXiv
2006.09011), as their published checkpoints have them.

They know nothing of the noise level, so that they are valid at each: the score is f(x) / sigma, which
`sk.ScaledScore` makes of the f here. The blocks are NCSN's with fewer norms: InstanceNorm++ (`norm.py`) in the
residual blocks and before `end_conv`, none in the refine blocks, whose chained pooling takes maxima.

    NCSNv2          32 to 64 pixels    res1 n, res2 2n down, res3 2n dilation 2, res4 2n dilation 4
                                       refine1 2n, refine2 2n, refine3 n, refine4 n
    NCSNv2Deeper    96 to 128 pixels   res1 n, res2 2n down, res3 2n down, res4 4n dilation 2, res5 4n dilation 4
                                       refine1 4n, refine2 2n, refine3 2n, refine4 n, refine5 n
    NCSNv2Deepest   256 pixels         one more stage down to 2n, `res31`, after res3, and `refine31` before refine3

"down" halves the size. Parameter names are those of the published checkpoints, which also hold the levels, as
`sigmas`.
"""

from typing import final

from torch import Tensor

from scorekit.networks.refinenet.blocks import sparsely_normalised
from scorekit.networks.refinenet.skeleton import FOUR_CASCADES, Plan, Skeleton, Stage

_DOWN = (Stage("res1", 1, down=False), Stage("res2", 2), Stage("res3", 2))
_DILATED = (Stage("res4", 4, dilation=2), Stage("res5", 4, dilation=4))
_FIRST = (("refine1", 4), ("refine2", 2))
_LAST = (("refine3", 2), ("refine4", 1), ("refine5", 1))

FIVE_CASCADES = Plan((*_DOWN, *_DILATED), (*_FIRST, *_LAST))
SIX_CASCADES = Plan((*_DOWN, Stage("res31", 2), *_DILATED), (*_FIRST, ("refine31", 2), *_LAST))


@final
class NCSNv2(Skeleton):
    """(x, sigma) -> f(x) for images of 32 to 64 pixels; the score is f(x) / sigma: `ScaledScore(NCSNv2(...))`.

    Args:
        image_shape: (channels, height, width of the image); height and width even.
        width: n, the number of channels of the first feature map, >= 2.
        centered: whether to map x to 2 x - 1 first, as the paper's networks do for data in [0, 1].

    Raises:
        ValueError: if a size breaks these rules; when called, if x is not (B, *image_shape) or sigma not (B,).
        TypeError: when called with a condition.
    """

    def __init__(self, image_shape: tuple[int, int, int], width: int = 128, centered: bool = True):
        super().__init__(image_shape, width, centered, FOUR_CASCADES, sparsely_normalised())

    def _level(self, sigma: Tensor) -> Tensor:
        return sigma


@final
class NCSNv2Deeper(Skeleton):
    """(x, sigma) -> f(x) for images of 96 to 128 pixels; the score is f(x) / sigma.

    Args:
        image_shape: (channels, height, width of the image); height and width divisible by 4.
        width: n, the number of channels of the first feature map, >= 2.
        centered: whether to map x to 2 x - 1 first, as the paper's networks do for data in [0, 1].

    Raises:
        ValueError: if a size breaks these rules; when called, if x is not (B, *image_shape) or sigma not (B,).
        TypeError: when called with a condition.
    """

    def __init__(self, image_shape: tuple[int, int, int], width: int = 128, centered: bool = True):
        super().__init__(image_shape, width, centered, FIVE_CASCADES, sparsely_normalised())

    def _level(self, sigma: Tensor) -> Tensor:
        return sigma


@final
class NCSNv2Deepest(Skeleton):
    """(x, sigma) -> f(x) for images of 256 pixels; the score is f(x) / sigma.

    Args:
        image_shape: (channels, height, width of the image); height and width divisible by 8.
        width: n, the number of channels of the first feature map, >= 2.
        centered: whether to map x to 2 x - 1 first, as the paper's networks do for data in [0, 1].

    Raises:
        ValueError: if a size breaks these rules; when called, if x is not (B, *image_shape) or sigma not (B,).
        TypeError: when called with a condition.
    """

    def __init__(self, image_shape: tuple[int, int, int], width: int = 128, centered: bool = True):
        super().__init__(image_shape, width, centered, SIX_CASCADES, sparsely_normalised())

    def _level(self, sigma: Tensor) -> Tensor:
        return sigma
