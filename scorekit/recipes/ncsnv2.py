"""NCSNv2: noise levels and step size from the data, an average of the weights, a denoising step (arXiv 2006.09011)."""

from dataclasses import KW_ONLY, dataclass
from typing import final

from torch import nn

from scorekit.base import PerChain
from scorekit.data import Source
from scorekit.estimators import DenoisingScoreMatching
from scorekit.models import ScaledScore
from scorekit.recipe import Experiment
from scorekit.recipes.images import ImageRecipe, image_shape
from scorekit.recipes.ncsn import width_for
from scorekit.samplers import annealed_langevin
from scorekit.starts import Uniform
from scorekit.transitions import Denoise
from scorekit.tuning import OVERLAP, ncsnv2_settings


@final
@dataclass(frozen=True)
class NCSNv2(ImageRecipe):
    """The network without levels over sigma, trained on levels that the data decide, sampled by annealed Langevin
    dynamics with the step that they decide, and denoised (Song and Ermon, arXiv 2006.09011).

    sigma_1 is the largest distance between two of 10,000 training pictures, the number of levels follows from the
    overlap of neighbouring ones, the step from the number of steps a level (techniques 1, 2 and 4). The network is
    NCSNv2 up to 64 pixels, Deeper up to 128, Deepest beyond.

    Args:
        training, data, size, flip, dequantize, num_samples: see `ImageRecipe`.
        width: of the network for colour pictures.
        grey_width: of the network for grey ones; None for the same.
        sigma_min: the smallest level.
        overlap: of neighbouring levels.
        steps_per_level: T.
    """

    _: KW_ONLY
    width: int = 128
    grey_width: int | None = None
    sigma_min: float = 0.01
    overlap: float = OVERLAP
    steps_per_level: int = 5

    def experiment(self, source: Source) -> Experiment:
        """The run for these pictures: it looks at 10,000 of them."""
        settings = ncsnv2_settings(
            source,
            sigma_min=self.sigma_min,
            overlap=self.overlap,
            steps_per_level=self.steps_per_level,
            generator=PerChain(self.training.seed),
        )
        sampler = annealed_langevin(
            settings.noise,
            step_size=settings.step_size,
            steps_per_level=self.steps_per_level,
            start=Uniform(0, 1),
            final=Denoise(),
        )
        model = ScaledScore(self._network(image_shape(source)))
        return Experiment(model, DenoisingScoreMatching(), settings.noise, sampler)

    def _network(self, shape: tuple[int, int, int]) -> nn.Module:
        from scorekit import networks

        size = max(shape[1:])
        made = networks.NCSNv2 if size <= 64 else networks.NCSNv2Deeper if size <= 128 else networks.NCSNv2Deepest
        return made(image_shape=shape, width=width_for(shape, self.width, self.grey_width))
