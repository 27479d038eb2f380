"""Toy data that are mixtures of Gaussians: the NCSN paper's, and two moons."""

import math
from dataclasses import dataclass
from typing import final

import numpy as np
from torch import Tensor

from scorekit._numbers import as_numbers
from scorekit._tensor import lasting_property
from scorekit.base import Generator
from scorekit.densities.base import CleanDraws, Sigma, check_count, check_event, check_positive, noise_of
from scorekit.densities.mixture import GaussianMixture


def toy_mixture() -> GaussianMixture:
    """.8 N((5, 5), I) + .2 N((-5, -5), I): the data of the NCSN paper's figures 2 and 3 (arXiv 1907.05600, B.1)."""
    return GaussianMixture(((5.0, 5.0), (-5.0, -5.0)), (0.8, 0.2), 1.0)


def fig3_mixture() -> GaussianMixture:
    """`toy_mixture` as point masses, so that its components at sigma have the std sigma: what the paper anneals from
    sigma = 20 to 1, where it is the data."""
    return GaussianMixture(((5.0, 5.0), (-5.0, -5.0)), (0.8, 0.2), 0.0)


@final
@dataclass(frozen=True)
class TwoMoons(CleanDraws):
    """Two half circles of radius 1, the second turned over and moved by (1, 1/2): those of scikit-learn's `make_moons`.

    Each moon is the equal mixture of `num_points` Gaussians at even distances along its arc, ends included, so that
    draws, density and score agree exactly at every sigma. With the default values the spacing is .63 std, where the
    density's ripple along the arc is below 1e-20.

    Args:
        std: of each component, > 0.
        num_points: components in each moon, >= 2.

    Raises:
        ValueError: if a number is out of range.
    """

    std: float = 0.05
    num_points: int = 100

    def __post_init__(self):
        check_positive(self, "std")
        check_count(self, "num_points", 2)

    @lasting_property
    def _mixture(self) -> GaussianMixture:
        t = np.linspace(0, math.pi, self.num_points)
        outer = np.stack((np.cos(t), np.sin(t)), axis=1)
        return GaussianMixture(as_numbers(np.concatenate((outer, (1.0, 0.5) - outer))), stds=self.std)

    @property
    def event_shape(self) -> tuple[int, ...]:
        """(2,)."""
        return (2,)

    @property
    def moments(self) -> tuple[Tensor, Tensor]:
        """Those of the mixture: the mean is (1/2, 1/4)."""
        return self._mixture.moments

    def log_prob(self, x: Tensor, sigma: Sigma = 0.0) -> Tensor:
        """The mixture's: (B,)."""
        self._check(x, sigma)
        return self._mixture.log_prob(x, sigma)

    def score(self, x: Tensor, sigma: Sigma = 0.0) -> Tensor:
        """The mixture's: (B, 2)."""
        self._check(x, sigma)
        return self._mixture.score(x, sigma)

    def _check(self, x: Tensor, sigma: Sigma) -> None:
        """Errors name the moons, not the mixture."""
        check_event(self, x)
        noise_of(self, sigma, x)

    def clean_draw(self, like: Tensor, *, generator: Generator = None) -> Tensor:
        """The mixture's: (num_samples, 2)."""
        return self._mixture.draw(like, 0.0, generator=generator)
