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
        ValueError: when chains are drawn without a family, or for one that does not know its data's moments or whose
            moments are those of other events.
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
        for moment in (mean, std):
            if not _broadcasts(moment.shape, like.shape[1:]):
                raise ValueError(
                    f"chains of shape {tuple(like.shape)} for a {type(family).__name__} whose moments have shape "
                    f"{tuple(moment.shape)}: expected one that broadcasts to the event {tuple(like.shape[1:])}"
                )
        return mean + (sigma**2 + std.square()).sqrt() * normal(like, generator=generator)


def _broadcasts(shape: tuple[int, ...], event: tuple[int, ...]) -> bool:
    """True if a value of this shape, broadcast against the event, has the event's shape."""
    fits = all(size in (1, axis) for size, axis in zip(reversed(shape), reversed(event), strict=False))
    return len(shape) <= len(event) and fits


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
