"""Schedules that train on the levels that samplers visit."""

import math
from dataclasses import dataclass
from typing import final

import torch
from torch import Tensor

from scorekit._numbers import as_numbers
from scorekit.base import Generator, NoiseSchedule, uniform
from scorekit.noise.rules import checked_levels, require_ends


class DiscreteSchedule(NoiseSchedule):
    """A schedule that trains on the levels that samplers visit, each equally likely."""

    @final
    def sample(self, like: Tensor, *, generator: Generator = None) -> Tensor:
        """Uniform over the levels, one draw a row of `like`: (B,)."""
        return draw_level(self.levels(), like, generator=generator)


@final
@dataclass(frozen=True)
class Geometric(DiscreteSchedule):
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
        require_ends(self, self.sigma_max, self.sigma_min, self.num_levels)

    def levels(self) -> Tensor:
        """sigma_max (sigma_min / sigma_max)^(i / (L - 1)), i = 0..L-1, with both ends exact: (L,)."""
        levels = self.sigma_max * (self.sigma_min / self.sigma_max) ** _unit_grid(self.num_levels)
        return _with_ends(levels, self.sigma_max, self.sigma_min)


@final
@dataclass(frozen=True)
class Linear(DiscreteSchedule):
    """L levels with a constant difference, each equally likely in training.

    Args:
        sigma_max: the largest level sigma_1.
        sigma_min: the smallest level sigma_L, >= 0.
        num_levels: L >= 2.

    Raises:
        ValueError: unless 0 <= sigma_min < sigma_max < inf and num_levels >= 2.
    """

    sigma_max: float = 1.0
    sigma_min: float = 0.01
    num_levels: int = 10

    def __post_init__(self):
        require_ends(self, self.sigma_max, self.sigma_min, self.num_levels, zero=True)

    def levels(self) -> Tensor:
        """sigma_max + i / (L - 1) (sigma_min - sigma_max), i = 0..L-1, with both ends exact: (L,)."""
        levels = self.sigma_max + _unit_grid(self.num_levels) * (self.sigma_min - self.sigma_max)
        return _with_ends(levels, self.sigma_max, self.sigma_min)


@final
@dataclass(frozen=True)
class Cosine(DiscreteSchedule):
    """L levels tan(theta) with a constant difference of theta (Nichol and Dhariwal, arXiv 2102.09672).

    Args:
        sigma_max: the largest level sigma_1.
        sigma_min: the smallest level sigma_L, >= 0.
        num_levels: L >= 2.

    Raises:
        ValueError: unless 0 <= sigma_min < sigma_max < inf and num_levels >= 2, or if the levels are so close that two
            are equal in float64.
    """

    sigma_max: float = 100.0
    sigma_min: float = 0.01
    num_levels: int = 50

    def __post_init__(self):
        require_ends(self, self.sigma_max, self.sigma_min, self.num_levels, zero=True)

    def levels(self) -> Tensor:
        """tan(theta_1 + i / (L - 1) (theta_L - theta_1)), theta = arctan(sigma), with both ends exact: (L,)."""
        first, last = math.atan(self.sigma_max), math.atan(self.sigma_min)
        return _with_ends((first + _unit_grid(self.num_levels) * (last - first)).tan(), self.sigma_max, self.sigma_min)


@final
@dataclass(frozen=True)
class Karras(DiscreteSchedule):
    """L levels with a constant difference of sigma^(1 / rho) (Karras et al., arXiv 2206.00364, eq. 5).

    Args:
        sigma_max: the largest level sigma_1.
        sigma_min: the smallest level sigma_L, >= 0.
        num_levels: L >= 2.
        rho: > 0; 1 is `Linear`, large ones tend to `Geometric`.

    Raises:
        ValueError: unless 0 <= sigma_min < sigma_max < inf, num_levels >= 2 and 0 < rho < inf, or if the levels are so
            close that two are equal in float64.
    """

    sigma_max: float = 80.0
    sigma_min: float = 0.002
    num_levels: int = 18
    rho: float = 7.0

    def __post_init__(self):
        if not 0 < self.rho < math.inf:
            raise ValueError(f"{self}: expected 0 < rho < inf")
        require_ends(self, self.sigma_max, self.sigma_min, self.num_levels, zero=True)

    def levels(self) -> Tensor:
        """(sigma_max^(1/rho) + i / (L - 1) (sigma_min^(1/rho) - sigma_max^(1/rho)))^rho, both ends exact: (L,)."""
        first, last = self.sigma_max ** (1 / self.rho), self.sigma_min ** (1 / self.rho)
        levels = (first + _unit_grid(self.num_levels) * (last - first)) ** self.rho
        return _with_ends(levels, self.sigma_max, self.sigma_min)


@final
@dataclass(frozen=True)
class Levels(DiscreteSchedule):
    """The levels that are given, each equally likely in training.

    Args:
        values: sigma_1 > ... > sigma_L >= 0.

    Raises:
        ValueError: if there is none, or they are not finite, not >= 0 or not strictly decreasing.
    """

    values: tuple[float, ...]

    def __post_init__(self):
        object.__setattr__(self, "values", as_numbers(self.values))
        checked_levels(self)

    def levels(self) -> Tensor:
        """The values: (L,)."""
        return torch.tensor(self.values, dtype=torch.float64)


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


def _unit_grid(num_levels: int) -> Tensor:
    """i / (L - 1), i = 0..L-1."""
    return torch.linspace(0, 1, num_levels, dtype=torch.float64)


def _with_ends(levels: Tensor, sigma_max: float, sigma_min: float) -> Tensor:
    """The levels with both ends as they were given, not rounded."""
    levels[0], levels[-1] = sigma_max, sigma_min
    return levels
