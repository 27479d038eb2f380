"""Starts: the law of a sampler's initial state."""

import math
from dataclasses import dataclass
from typing import final

from torch import Tensor

from scorekit.base import Generator, Start, TargetFamily, normal, uniform


@final
@dataclass(frozen=True)
class Matched(Start):
    """N(mean, sigma_1^2 + std^2), coordinate by coordinate: the moments of the data at the first noise level.

    Raises:
        ValueError: when chains are drawn for a family that does not know its data's moments, or without a family.
    """

    def draw(
        self, like: Tensor, sigma: float, *, family: TargetFamily | None = None, generator: Generator = None
    ) -> Tensor:
        """mean + sqrt(sigma^2 + std^2) z."""
        if family is None or family.moments is None:
            whose = (
                "no family was given" if family is None else f"{type(family).__name__} does not know its data's moments"
            )
            raise ValueError(
                f"Matched() starts from the data's mean and std, but {whose}: give start=Uniform(low, high), or "
                "moments (fit stores them with the model; from_score takes moments=)"
            )
        mean, std = (moment.to(like) for moment in family.moments)
        return mean + (sigma**2 + std.square()).sqrt() * normal(like, generator=generator)


@final
@dataclass(frozen=True)
class Uniform(Start):
    """Uniform on [low, high) in every coordinate, whatever the level; NCSN's start is `Uniform(0, 1)`.

    Raises:
        ValueError: unless -inf < low < high < inf.
    """

    low: float = 0.0
    high: float = 1.0

    def __post_init__(self):
        if not -math.inf < self.low < self.high < math.inf:
            raise ValueError(f"{self}: expected -inf < low < high < inf")

    def draw(
        self, like: Tensor, sigma: float, *, family: TargetFamily | None = None, generator: Generator = None
    ) -> Tensor:
        """low + (high - low) u."""
        return self.low + (self.high - self.low) * uniform(like, generator=generator)
