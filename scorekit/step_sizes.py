r"""Rules for the step size h (drift h * score, noise sqrt(2 h) * z) at a noise level.

NCSN takes h proportional to sigma^2, so that the signal-to-noise ratio |h s| / |sqrt(2 h) z| of an update is the
same at every level (|s| goes as 1 / sigma). In its Algorithm 1, x <- x + alpha/2 s + sqrt(alpha) z with alpha_i =
eps sigma_i^2 / sigma_L^2, hence h = alpha / 2; the released sampler uses h = 2e-5 sigma_i^2 / sigma_L^2, twice the
step that the paper prints.
"""

import math
from dataclasses import dataclass
from typing import final

from torch import Tensor

from scorekit.base import Point, StepSize


@final
@dataclass(frozen=True)
class Constant(StepSize):
    """The same h at every level.

    Args:
        step_size: h > 0.

    Raises:
        ValueError: unless 0 < step_size < inf.
    """

    step_size: float

    def __post_init__(self):
        _require_positive(self, "step_size", self.step_size)

    def __call__(self, sigma: float, point: Point) -> Tensor:
        """h: ()."""
        return point.x.new_full((), self.step_size)


@final
@dataclass(frozen=True)
class SigmaSquared(StepSize):
    """h = epsilon (sigma / sigma_min)^2 (NCSN, Algorithm 1).

    Args:
        epsilon: h at sigma = sigma_min. With the default sigma_min = 1 it is h / sigma^2; .125 makes the noise of a
            step sigma / 2.
        sigma_min: the level that `epsilon` refers to, NCSN's sigma_L.

    Raises:
        ValueError: unless both are positive and finite; when sampling, at a level sigma = 0, where h would be 0.
    """

    epsilon: float = 0.125
    sigma_min: float = 1.0

    def __post_init__(self):
        _require_positive(self, "epsilon", self.epsilon)
        _require_positive(self, "sigma_min", self.sigma_min)

    def __call__(self, sigma: float, point: Point) -> Tensor:
        """h: ()."""
        if sigma <= 0:
            raise ValueError(f"{self} gives no step at sigma = {sigma:g}: give step_size= for clean data")
        return point.x.new_full((), self.epsilon * (sigma / self.sigma_min) ** 2)


def _require_positive(rule: StepSize, name: str, value: float) -> None:
    if not 0 < value < math.inf:
        raise ValueError(f"{rule}: {name} = {value} must be positive and finite")
