"""Densities of the gamma family in independent coordinates, known at sigma = 0: a skewed one and one on a half line."""

import math
from dataclasses import dataclass
from typing import final

import torch
from torch import Tensor

from scorekit.base import Generator, sum_event, uniform
from scorekit.densities.base import CleanDensity, check_count, check_positive


@final
@dataclass(frozen=True)
class LogGamma(CleanDensity):
    """Independent logarithms of Gamma(shape) / rate: log p = sum shape x - rate exp(x), up to its constant.

    Smooth, with a heavy left and a light right tail. A chain's law on it shows sign errors and stale caches that a
    Gaussian hides.

    Args:
        shape: of the gamma law, an integer >= 1.
        rate: of the gamma law, > 0.
        num_dims: n, >= 1.

    Raises:
        ValueError: if a number is out of range.
    """

    shape: int = 3
    rate: float = 2.0
    num_dims: int = 2

    def __post_init__(self):
        check_count(self, "shape", 1)
        check_positive(self, "rate")
        check_count(self, "num_dims", 1)

    @property
    def event_shape(self) -> tuple[int, ...]:
        """(num_dims,)."""
        return (self.num_dims,)

    @property
    def moments(self) -> tuple[Tensor, Tensor]:
        """digamma(shape) - log(rate), and sqrt(trigamma(shape)), in each coordinate."""
        shape = torch.full((self.num_dims,), self.shape, dtype=torch.float64)
        return torch.digamma(shape) - math.log(self.rate), torch.polygamma(1, shape).sqrt()

    def clean_log_prob(self, x: Tensor) -> Tensor:
        """The sum over the coordinates of shape x - rate exp(x) + shape log(rate) - log Gamma(shape): (B,)."""
        constant = self.shape * math.log(self.rate) - math.lgamma(self.shape)
        return sum_event(self.shape * x - self.rate * x.exp() + constant)

    def clean_score(self, x: Tensor) -> Tensor:
        """shape - rate exp(x): (B, n)."""
        return self.shape - self.rate * x.exp()

    def clean_draw(self, like: Tensor, *, generator: Generator = None) -> Tensor:
        """log(sum of `shape` standard exponential draws / rate): (num_samples, n)."""
        waits = _standard_exponential(like.new_empty(*like.shape, self.shape), generator)
        return (waits.sum(2).log() - math.log(self.rate)).to(like)


@final
@dataclass(frozen=True)
class Exponential(CleanDensity):
    """Independent exponential coordinates: log p = n log(rate) - rate sum x for x >= 0.

    Outside the support log p = -inf, and the score is NaN in the coordinates below 0. NaN rather than 0, so that a
    Metropolis step that knows the score only rejects what leaves the support.

    Args:
        rate: > 0.
        num_dims: n, >= 1.

    Raises:
        ValueError: if a number is out of range.
    """

    rate: float = 1.0
    num_dims: int = 2

    def __post_init__(self):
        check_positive(self, "rate")
        check_count(self, "num_dims", 1)

    @property
    def event_shape(self) -> tuple[int, ...]:
        """(num_dims,)."""
        return (self.num_dims,)

    @property
    def moments(self) -> tuple[Tensor, Tensor]:
        """1 / rate for both, in each coordinate."""
        scale = torch.full((self.num_dims,), 1 / self.rate, dtype=torch.float64)
        return scale, scale.clone()

    def clean_log_prob(self, x: Tensor) -> Tensor:
        """n log(rate) - rate sum x, or -inf: (B,)."""
        return sum_event(torch.where(x >= 0, math.log(self.rate) - self.rate * x, -math.inf))

    def clean_score(self, x: Tensor) -> Tensor:
        """-rate, or NaN in the coordinates below 0: (B, n)."""
        return torch.where(x >= 0, -self.rate, math.nan).to(x)

    def clean_draw(self, like: Tensor, *, generator: Generator = None) -> Tensor:
        """-log(u) / rate: (num_samples, n)."""
        return (_standard_exponential(like, generator) / self.rate).to(like)


def _standard_exponential(like: Tensor, generator: Generator) -> Tensor:
    """-log u in float64 with u strictly between 0 and 1, so that no draw is 0 or infinite."""
    unit = uniform(torch.empty_like(like, dtype=torch.float64), generator=generator)
    return -(unit * (1 - 2.0**-53) + 2.0**-54).log()
