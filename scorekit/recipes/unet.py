"""A U-Net for every noise level at once, preconditioned, and few-step samplers: what came after NCSN."""

import math
from dataclasses import KW_ONLY, dataclass
from typing import final

import torch

from scorekit.base import PerChain
from scorekit.data import Source, moments
from scorekit.estimators import DenoisingScoreMatching
from scorekit.noise import Karras, LogNormal
from scorekit.preconditioned import Preconditioned, PreconditionedWeight
from scorekit.recipe import Experiment
from scorekit.recipes.images import ImageRecipe, image_shape
from scorekit.samplers import dpm_solver
from scorekit.tuning import largest_distance


@final
@dataclass(frozen=True)
class ScoreUNet(ImageRecipe):
    """A U-Net that is told sigma, preconditioned around the data's mean and deviation; ln sigma ~ N in training (Karras
    et al., arXiv 2206.00364); sampled by DPM-Solver++ on their levels from sigma_1, the largest distance between two
    training pictures.

    Args:
        training, data, size, flip, dequantize, num_samples: see `ImageRecipe`.
        width: channels at full size.
        channel_multipliers: those of each resolution.
        num_blocks: residual blocks at each resolution.
        attention_sizes: the heights of the feature maps with self-attention.
        fourier_scale: of the features of ln sigma: how finely they tell levels apart.
        dropout: inside the residual blocks.
        with_labels: whether the network is told each picture's label.
        log_mean: of ln sigma, in training.
        log_std: of ln sigma, in training.
        sigma_min: the smallest level.
        num_levels: of the sampler.
    """

    _: KW_ONLY
    width: int = 128
    channel_multipliers: tuple[int, ...] = (1, 2, 2, 2)
    num_blocks: int = 4
    attention_sizes: tuple[int, ...] = (16,)
    fourier_scale: float = 16.0
    dropout: float = 0.0
    with_labels: bool = False
    log_mean: float = -1.2
    log_std: float = 1.2
    sigma_min: float = 0.01
    num_levels: int = 20

    @property
    def conditional(self) -> bool:
        """`with_labels`."""
        return self.with_labels

    def experiment(self, source: Source) -> Experiment:
        """The run for these pictures: it looks at 10,000 of them."""
        from scorekit.networks import UNet

        sigma_max = largest_distance(source, generator=PerChain(self.training.seed))
        mean, std = overall(source)
        net = UNet(
            image_shape(source),
            width=self.width,
            channel_multipliers=self.channel_multipliers,
            num_blocks=self.num_blocks,
            attention_sizes=self.attention_sizes,
            fourier_scale=self.fourier_scale,
            dropout=self.dropout,
            num_classes=count_classes(source) if self.with_labels else None,
        )
        return Experiment(
            Preconditioned(net, scale=std, center=mean),
            DenoisingScoreMatching(),
            LogNormal(self.log_mean, self.log_std, sigma_max, self.sigma_min, self.num_levels),
            dpm_solver(Karras(sigma_max, self.sigma_min, self.num_levels)),
            PreconditionedWeight(std),
        )


def overall(source: Source) -> tuple[float, float]:
    """Mean and standard deviation of a pixel, over all pixels and pictures."""
    mean, std = moments(source)
    centre = mean.mean()
    return float(centre), math.sqrt(float((std.square() + (mean - centre).square()).mean()))


def count_classes(source: Source) -> int:
    """One more than the largest label."""
    labels = source.condition(torch.arange(len(source)))
    if labels is None:
        raise ValueError(f"with_labels=True: {type(source).__name__} has no labels")
    return int(labels.max()) + 1
