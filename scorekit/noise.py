r"""Noise schedules: the levels sigma_1 > ... > sigma_L, and the law they are drawn from in training.

NCSN's is geometric, sigma_i = sigma_1 (sigma_L / sigma_1)^((i - 1) / (L - 1)), with i uniform on 1..L in training
(Song and Ermon, arXiv 1907.05600, section 4). The index runs from the largest level to the smallest, as in that
paper; the score-SDE papers number them the other way round.
"""

import math
from dataclasses import dataclass
from typing import final

import torch
from torch import Tensor

from scorekit.base import Generator, NoiseSchedule, uniform


@final
@dataclass(frozen=True)
class Geometric(NoiseSchedule):
    """L levels with a constant ratio, each equally likely in training.

    Args:
        sigma_max: the largest level sigma_1.
        sigma_min: the smallest level sigma_L, > 0.
        num_levels: L >= 2.

    Raises:
        ValueError: unless 0 < sigma_min < sigma_max < inf and num_levels >= 2.
    """

    sigma_max: float = 1.0
    sigma_min: float = 0.01
    num_levels: int = 10

    def __post_init__(self):
        if not 0 < self.sigma_min < self.sigma_max < math.inf:
            raise ValueError(f"{self}: a geometric schedule needs 0 < sigma_min < sigma_max < inf")
        if not isinstance(self.num_levels, int) or self.num_levels < 2:
            raise ValueError(
                f"{self}: a geometric schedule needs an integer num_levels >= 2; for one level use SingleLevel"
            )

    def levels(self) -> Tensor:
        """sigma_max (sigma_min / sigma_max)^(i / (L - 1)), i = 0..L-1, with both ends exact: (L,)."""
        exponent = torch.linspace(0, 1, self.num_levels, dtype=torch.float64)
        levels = self.sigma_max * (self.sigma_min / self.sigma_max) ** exponent
        levels[-1] = self.sigma_min
        return levels

    def sample(self, like: Tensor, *, generator: Generator = None) -> Tensor:
        """Uniform over the levels, one draw a row of `like`: (B,)."""
        return draw_level(self.levels(), like, generator=generator)


@final
@dataclass(frozen=True)
class SingleLevel(NoiseSchedule):
    """One level; sigma = 0 means clean data.

    Args:
        sigma: the level, >= 0.

    Raises:
        ValueError: unless 0 <= sigma < inf.
    """

    sigma: float

    def __post_init__(self):
        if not 0 <= self.sigma < math.inf:
            raise ValueError(f"{self}: the level must satisfy 0 <= sigma < inf")

    def levels(self) -> Tensor:
        """(1,)."""
        return torch.tensor([self.sigma], dtype=torch.float64)

    def sample(self, like: Tensor, *, generator: Generator = None) -> Tensor:
        """The level for every row of `like`: (B,)."""
        return like.new_full((like.shape[0],), self.sigma)


def draw_level(levels: Tensor, like: Tensor, *, generator: Generator = None) -> Tensor:
    """One of `levels` (L,) for each row of `like`, all equally likely: (B,) in the dtype and on the device of
    `like`."""
    unit = uniform(torch.empty(like.shape[0], dtype=torch.float32, device=like.device), generator=generator)
    index = (unit * len(levels)).long()  # unit <= 1 - 2^-24, so index < L up to 2^24 levels
    return levels.to(like)[index]
