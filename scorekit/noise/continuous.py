"""Schedules whose training draws lie between the levels."""

import math
from dataclasses import dataclass
from typing import ClassVar, final

import torch
from torch import Tensor

from scorekit.base import Generator, NoiseSchedule, uniform
from scorekit.noise.discrete import Karras
from scorekit.noise.rules import require_ends


@final
@dataclass(frozen=True)
class LogNormal(NoiseSchedule):
    """ln sigma ~ N(mean, std^2) between the ends in training (arXiv 2206.00364, table 1); `Karras` levels for samplers.

    The normal law is truncated to [ln sigma_min, ln sigma_max] by inverting its distribution function F at F(ln
    sigma_min) + u (F(ln sigma_max) - F(ln sigma_min)), u uniform: one draw an example.

    Args:
        mean: of ln sigma, before truncation.
        std: of ln sigma, before truncation, > 0.
        sigma_max: the largest level sigma_1.
        sigma_min: the smallest level sigma_L, > 0.
        num_levels: L >= 2.

    Raises:
        ValueError: unless mean is finite, 0 < std < inf, 0 < sigma_min < sigma_max < inf and num_levels >= 2; if less
            than a millionth of the normal law lies between the ends (its inverse would lose its digits there).
    """

    mean: float = -1.2
    std: float = 1.2
    sigma_max: float = 80.0
    sigma_min: float = 0.002
    num_levels: int = 18

    continuous: ClassVar[bool] = True

    def __post_init__(self):
        if not (math.isfinite(self.mean) and 0 < self.std < math.inf):
            raise ValueError(f"{self}: expected a finite mean and 0 < std < inf")
        require_ends(self, self.sigma_max, self.sigma_min, self.num_levels)
        low, high = self._probabilities()
        if high - low < 1e-6:
            raise ValueError(
                f"{self}: {high - low:.1g} of N(mean, std^2) is in [ln sigma_min, ln sigma_max]: expected 1e-6 or more"
            )

    def levels(self) -> Tensor:
        """`Karras(sigma_max, sigma_min, num_levels)`'s: (L,)."""
        return Karras(self.sigma_max, self.sigma_min, self.num_levels).levels()

    def sample(self, like: Tensor, *, generator: Generator = None) -> Tensor:
        """exp(mean + std z), z truncated, one draw a row of `like`: (B,)."""
        low, high = self._probabilities()
        unit = uniform(torch.empty(like.shape[0], dtype=torch.float64, device=like.device), generator=generator)
        z = torch.special.ndtri(low + unit * (high - low))
        sigma = (self.mean + self.std * z).exp()
        return sigma.clamp(self.sigma_min, self.sigma_max).to(like.dtype)  # F and its inverse round

    def _probabilities(self) -> tuple[float, float]:
        """F at the two ends."""
        low, high = ((math.log(end) - self.mean) / self.std for end in (self.sigma_min, self.sigma_max))
        return math.erfc(-low / math.sqrt(2)) / 2, math.erfc(-high / math.sqrt(2)) / 2
