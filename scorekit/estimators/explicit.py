r"""Explicit score matching: the Fisher divergence itself, where the truth is known.

    J(s) = 1/2 E|s(x, sigma) - grad log p_sigma(x)|^2

It is what the other estimators are judged by, and how fast a network can learn at best.
"""

from dataclasses import dataclass
from typing import ClassVar, final

from torch import Tensor

from scorekit._kinds import require_kind
from scorekit.base import Estimator, Generator, TensorFunction, sum_event
from scorekit.densities import Density


@final
@dataclass(frozen=True)
class ExplicitScoreMatching(Estimator):
    """1/2 |s(x, sigma) - s*(x, sigma)|^2 with the true score s*: 0 at the truth, the constant included.

    Args:
        density: the density of the clean data, which knows its score at every sigma.

    Raises:
        TypeError: if it is no density.
        ValueError: when called, what the density raises (x of another event shape, a singular density at sigma = 0).
    """

    density: Density

    needs_noise: ClassVar[bool] = False

    def __post_init__(self):
        require_kind("ExplicitScoreMatching", Density, density=self.density)

    def __call__(
        self, score: TensorFunction, x: Tensor, sigma: Tensor, eps: Tensor, *, generator: Generator = None
    ) -> Tensor:
        """The squared error of s(x): (B,). eps is not used."""
        return sum_event((score(x) - self.density.score(x, sigma)).square()) / 2
