"""NCSN as published in 2019, and the baseline it was compared with."""

from dataclasses import KW_ONLY, dataclass
from typing import final

from scorekit.data import Source
from scorekit.estimators import DenoisingScoreMatching
from scorekit.models import DirectScore
from scorekit.noise import Geometric, SingleLevel
from scorekit.recipe import Experiment
from scorekit.recipes.images import ImageRecipe, image_shape
from scorekit.samplers import AnnealedMCMC, annealed_langevin, langevin
from scorekit.starts import Uniform
from scorekit.step_sizes import Constant, SigmaSquared
from scorekit.transitions import Denoise, Stay


@final
@dataclass(frozen=True)
class NCSN(ImageRecipe):
    """The noise-conditional RefineNet, denoising score matching on a ladder of levels with weight sigma^2, annealed
    Langevin dynamics from uniform noise (Song and Ermon, arXiv 1907.05600).

    Args:
        training, data, size, flip, dequantize, num_samples: see `ImageRecipe`.
        width: of the RefineNet for colour pictures.
        grey_width: of the RefineNet for grey ones; None for the same.
        noise: the levels.
        epsilon: h at the smallest level; h goes as sigma^2. 2e-5 as released, twice the step that the paper prints.
        steps_per_level: T.
        denoise: whether Tweedie's formula follows the last level.
    """

    _: KW_ONLY
    width: int = 128
    grey_width: int | None = None
    noise: Geometric = Geometric(sigma_max=1.0, sigma_min=0.01, num_levels=10)
    epsilon: float = 2e-5
    steps_per_level: int = 100
    denoise: bool = False

    def experiment(self, source: Source) -> Experiment:
        """The run for these pictures."""
        from scorekit.networks import RefineNet

        shape = image_shape(source)
        net = RefineNet(image_shape=shape, width=width_for(shape, self.width, self.grey_width), noise=self.noise)
        return Experiment(DirectScore(net), DenoisingScoreMatching(), self.noise, self.sampler())

    def sampler(self) -> AnnealedMCMC:
        """Annealed Langevin dynamics from uniform noise."""
        return annealed_langevin(
            self.noise,
            step_size=SigmaSquared(self.epsilon, sigma_min=self.noise.sigma_min),
            steps_per_level=self.steps_per_level,
            start=Uniform(0, 1),
            final=Denoise() if self.denoise else Stay(),
        )


@final
@dataclass(frozen=True)
class SingleNoise(ImageRecipe):
    """The paper's baseline, Figs 7 and 8: one small noise level, the same network without levels, Langevin dynamics.

    Args:
        training, data, size, flip, dequantize, num_samples: see `ImageRecipe`.
        width: of the network for colour pictures.
        grey_width: of the network for grey ones; None for the same.
        sigma: the level.
        step_size: h.
        num_steps: of Langevin dynamics, from uniform noise.
    """

    _: KW_ONLY
    width: int = 128
    grey_width: int | None = None
    sigma: float = 0.01
    step_size: float = 2e-5
    num_steps: int = 1000

    def experiment(self, source: Source) -> Experiment:
        """The run for these pictures."""
        from scorekit.networks import RefineNetBaseline

        shape, noise = image_shape(source), SingleLevel(self.sigma)
        net = RefineNetBaseline(image_shape=shape, width=width_for(shape, self.width, self.grey_width))
        sampler = langevin(
            sigma=self.sigma, step_size=Constant(self.step_size), num_steps=self.num_steps, start=Uniform(0, 1)
        )
        model = DirectScore(net, noise)
        return Experiment(model, DenoisingScoreMatching(), noise, sampler)


def width_for(shape: tuple[int, int, int], width: int, grey_width: int | None) -> int:
    """The width of a network for pictures of this shape."""
    return grey_width if grey_width is not None and shape[0] == 1 else width
