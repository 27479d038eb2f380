r"""Proposals: random moves, with the ratio of their densities.

**Langevin.** q(y | x) = N(y; x + h s(x), 2 h I), the Euler-Maruyama step of the overdamped Langevin diffusion dX = s
dt + sqrt(2) dW, whose stationary law is p (Roberts and Tweedie, Bernoulli 1996). One convention everywhere: drift h
* score, noise sqrt(2 h) * z. The NCSN paper's alpha is 2 h.
"""

from dataclasses import dataclass
from typing import final

from torch import Tensor

from scorekit.base import GaussianProposal, Point, expand


@final
@dataclass(frozen=True)
class Langevin(GaussianProposal):
    """y = x + h s(x) + sqrt(2 h) z."""

    def mean(self, point: Point, step_size: Tensor) -> Tensor:
        """x + h s(x)."""
        return point.x + expand(step_size, point.x) * point.score
