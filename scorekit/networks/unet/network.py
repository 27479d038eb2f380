r"""A U-Net for images at every noise level, after NCSN++ (Song et al., arXiv 2011.13456, appendix H).

    stem        conv 3x3, c -> n m_0
    down        for each multiplier m_i: residual blocks of n m_i channels (and attention), then half the size
    middle      residual block, attention, residual block
    up          the same backwards, with one block more, each given a feature map from the way down
    head        group norm, SiLU, conv 3x3 -> c, which starts at 0

Every residual block is told e = B silu(A f(sigma)) + condition, with f the Fourier features of log sigma
(`networks/embedding.py`). The output is not divided by sigma: the network is the f of `ScaledScore` (score = f / sigma)
or of `Preconditioned`, or the denoised image of `Denoiser`.

With its own defaults, and 3 channels of 32x32, it has the 62,758,915 numbers of the published NCSN++ (continuous sigma;
128 of them are the frequencies), and with `num_blocks=8` the deep one's 107,587,075.
"""

import math
from collections.abc import Sequence
from typing import final

import torch.nn.functional as F
from torch import Tensor, nn

from scorekit._kinds import require_kind
from scorekit.base import expand, wide
from scorekit.networks.embedding import FourierFeatures, embed_condition, make_condition_embedding
from scorekit.networks.unet.blocks import conv, norm, started
from scorekit.networks.unet.plan import Plan
from scorekit.networks.unet.resampling import RESAMPLINGS, Resampling
from scorekit.networks.unet.stages import DownStage, Middle, UpStage


@final
class UNet(nn.Module):
    """(x, sigma[, condition]) -> the shape of x; valid at every sigma >= 0, though below 1e-5 all are one to it.

    Args:
        image_shape: (channels, height, width); height and width divisible by 2^(number of multipliers - 1).
        width: n >= 4, channels at full size, per unit of the multiplier.
        channel_multipliers: m_i >= 1: one for each size of the image, from full size down.
        num_blocks: residual blocks at each size on the way down, >= 1.
        attention_sizes: the heights of the feature maps that have self-attention, besides the middle; those that no
            feature map has are of no effect.
        dropout: inside the residual blocks, in [0, 1); drawn from torch's global generator, in training only.
        num_classes: of the labels (B,) that it is called with as `condition`; None for no labels.
        condition_dim: D, of the vectors (B, D) that it is called with as `condition`; None for no vectors.
        resampling: how images are halved and doubled: "fir", the filter (1 3 3 1), or "mean".
        input_pyramid: whether smaller images of the input are added on the way down.
        fourier_scale: of the features of log sigma, > 0. 16, NCSN++'s, tells levels 3 % apart from each other; with 1
            near levels look alike, so that small networks need not learn each by itself.
        data_std: s > 0, to have x divided by sqrt(sigma^2 + s^2), so that the network sees inputs of one size at every
            level; None for x as it is, and inside `Preconditioned`, which does it itself.

    Raises:
        ValueError: if a size breaks these rules; when called, if x is not (B, *image_shape), sigma not (B,), or the
            condition of the wrong shape or no class (see `ConditionEmbedding`).
        TypeError: if a shape is no sequence; when called with a condition that it was not made for, or without the one
            it was made for.
    """

    def __init__(
        self,
        image_shape: tuple[int, int, int],
        width: int = 128,
        channel_multipliers: tuple[int, ...] = (1, 2, 2, 2),
        num_blocks: int = 4,
        attention_sizes: tuple[int, ...] = (16,),
        dropout: float = 0.0,
        num_classes: int | None = None,
        condition_dim: int | None = None,
        resampling: Resampling = "fir",
        input_pyramid: bool = True,
        fourier_scale: float = 16.0,
        data_std: float | None = None,
    ):
        super().__init__()
        require_kind("UNet", Sequence, "(3, 32, 32), say", image_shape=image_shape)
        require_kind("UNet", Sequence, "(1, 2, 2), say", channel_multipliers=channel_multipliers)
        require_kind("UNet", Sequence, "(16,), say", attention_sizes=attention_sizes)
        self.image_shape, self.width, self.channel_multipliers = tuple(image_shape), width, tuple(channel_multipliers)
        self.num_blocks, self.attention_sizes, self.dropout = num_blocks, tuple(attention_sizes), dropout
        self.num_classes, self.condition_dim = num_classes, condition_dim
        self.resampling, self.input_pyramid = resampling, input_pyramid
        self.fourier_scale, self.data_std = fourier_scale, data_std
        self._check()
        plan = self._plan()
        stages, first, dim = range(len(plan.channels)), plan.channels[0], plan.embedding_dim
        self.fourier = FourierFeatures(width, fourier_scale)
        self.level = nn.Sequential(started(nn.Linear(2 * width, dim)), nn.SiLU(), started(nn.Linear(dim, dim)))
        self.condition_embedding = make_condition_embedding("UNet", dim, num_classes, condition_dim)
        self.stem = conv(plan.image_channels, first)
        self.down = nn.ModuleList(DownStage(plan, stage) for stage in stages)
        self.middle = Middle(plan)
        self.up = nn.ModuleList(UpStage(plan, stage) for stage in reversed(stages))
        self.norm, self.head = norm(first), conv(first, plan.image_channels, zero=True)

    def _check(self) -> None:
        shape, multipliers = self.image_shape, self.channel_multipliers
        if len(shape) != 3 or min(shape) < 1:
            raise ValueError(f"UNet(image_shape={shape}): expected (channels, height, width), each >= 1")
        if not multipliers or min(multipliers) < 1 or self.width < 4 or self.num_blocks < 1:
            raise ValueError(
                f"UNet(width={self.width}, channel_multipliers={multipliers}, num_blocks={self.num_blocks}): expected "
                "width >= 4, multipliers >= 1 and num_blocks >= 1"
            )
        factor = 2 ** (len(multipliers) - 1)
        if shape[1] % factor or shape[2] % factor:
            raise ValueError(
                f"UNet(image_shape={shape}, channel_multipliers={multipliers}): {len(multipliers)} sizes halve the "
                f"image {len(multipliers) - 1} times, so height and width must be divisible by {factor}: use fewer "
                "multipliers, or pad the images"
            )
        if self.resampling not in RESAMPLINGS:
            raise ValueError(
                f"UNet(resampling={self.resampling!r}): expected one of {', '.join(map(repr, RESAMPLINGS))}"
            )
        if not 0 <= self.dropout < 1:
            raise ValueError(f"UNet(dropout={self.dropout}): expected a probability in [0, 1)")
        if self.data_std is not None and not 0 < self.data_std < math.inf:
            raise ValueError(f"UNet(data_std={self.data_std}): expected None, or 0 < data_std < inf")

    def _plan(self) -> Plan:
        heights = [self.image_shape[1] // 2**stage for stage in range(len(self.channel_multipliers))]
        return Plan(
            image_channels=self.image_shape[0],
            channels=tuple(self.width * multiplier for multiplier in self.channel_multipliers),
            attended=tuple(height in self.attention_sizes for height in heights),
            num_blocks=self.num_blocks,
            embedding_dim=4 * self.width,
            dropout=self.dropout,
            resampling=self.resampling,
            input_pyramid=self.input_pyramid,
        )

    def forward(self, x: Tensor, sigma: Tensor, condition: Tensor | None = None) -> Tensor:
        """x (B, *image_shape), sigma (B,), labels (B,) or vectors (B, D) -> (B, *image_shape)."""
        if x.shape[1:] != self.image_shape:
            raise ValueError(
                f"UNet: x of shape {tuple(x.shape)}, expected (B, {', '.join(map(str, self.image_shape))})"
            )
        if sigma.shape != x.shape[:1]:
            raise ValueError(f"UNet: sigma of shape {tuple(sigma.shape)}, expected (B,) = {tuple(x.shape[:1])}")
        embedding = F.silu(self._embedding(x, sigma, condition))
        pyramid = x.contiguous()
        if self.data_std is not None:  # in float16 300^2 is infinite
            pyramid = pyramid / expand((wide(sigma).square() + self.data_std**2).sqrt(), x)
        h = self.stem(pyramid)
        maps = [h]
        for stage in self.down:
            found, pyramid = stage(maps[-1], pyramid, embedding)
            maps += found
        h = self.middle(maps[-1], embedding)
        for stage in self.up:
            h = stage(h, maps, embedding)
        return self.head(F.silu(self.norm(h)))

    def _embedding(self, x: Tensor, sigma: Tensor, condition: Tensor | None) -> Tensor:
        """What every residual block is told, (B, 4 n)."""
        told = embed_condition("UNet", self.condition_embedding, condition, x)
        level = self.level(self.fourier(sigma).to(x.dtype))
        return level if told is None else level + told
