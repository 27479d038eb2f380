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

from functools import partial
from typing import final

import torch
from torch import Tensor

from scorekit.base import NoiseSchedule
from scorekit.networks.norm import ConditionalInstanceNorm
from scorekit.networks.refinenet.blocks import normalised
from scorekit.networks.refinenet.skeleton import FOUR_CASCADES, Skeleton


@final
class RefineNet(Skeleton):
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
        levels = noise.levels().float()
        norm = partial(ConditionalInstanceNorm, num_levels=len(levels))
        super().__init__(image_shape, width, centered, FOUR_CASCADES, normalised(norm))
        self.noise = noise
        self.register_buffer("noise_levels", levels)

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

    def _level(self, sigma: Tensor) -> Tensor:
        """The index (B,) of the level nearest to each sigma: how many midpoints, in log sigma, lie above it."""
        logs = self.noise_levels.log()
        midpoints = (logs[1:] + logs[:-1]) / 2
        return (sigma.float().log().unsqueeze(1) < midpoints).sum(1)
