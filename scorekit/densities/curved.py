"""Two curved densities on which samplers are compared, known at sigma = 0."""

import math
from dataclasses import dataclass
from typing import final

import torch
from torch import Tensor

from scorekit.base import Generator, normal
from scorekit.densities.base import CleanDensity, check_count, check_positive


@final
@dataclass(frozen=True)
class Banana(CleanDensity):
    """x_1 ~ N(0, std^2), x_2 | x_1 ~ N(bend (x_1^2 - std^2), width^2): a bent Gaussian of mean 0.

    Args:
        std: of x_1, > 0.
        bend: the curvature, any finite number; 0 gives a Gaussian.
        width: of the band, > 0.

    Raises:
        ValueError: if a number is out of range.

    Reference: Haario, Saksman, Tamminen, "Adaptive proposal distribution for random walk Metropolis algorithm", 1999.
    """

    std: float = 1.0
    bend: float = 1.0
    width: float = 0.5

    def __post_init__(self):
        check_positive(self, "std", "width")
        if not math.isfinite(self.bend):
            raise ValueError(f"Banana: bend = {self.bend}: expected a finite number")

    @property
    def event_shape(self) -> tuple[int, ...]:
        """(2,)."""
        return (2,)

    @property
    def moments(self) -> tuple[Tensor, Tensor]:
        """0, and (std, sqrt(2 bend^2 std^4 + width^2))."""
        second = math.sqrt(2 * self.bend**2 * self.std**4 + self.width**2)
        return torch.zeros(2, dtype=torch.float64), torch.tensor([self.std, second], dtype=torch.float64)

    def clean_log_prob(self, x: Tensor) -> Tensor:
        """-x_1^2 / 2 std^2 - d^2 / 2 width^2 - log(2 pi std width), d being x_2's distance from the bent axis: (B,)."""
        first, d = self._straight(x)
        squares = (first / self.std).square() + (d / self.width).square()
        return -squares / 2 - math.log(2 * math.pi * self.std * self.width)

    def clean_score(self, x: Tensor) -> Tensor:
        """(-x_1 / std^2 + 2 bend x_1 d / width^2, -d / width^2): (B, 2)."""
        first, d = self._straight(x)
        pull = d / self.width**2
        return torch.stack((2 * self.bend * first * pull - first / self.std**2, -pull), dim=1)

    def _straight(self, x: Tensor) -> tuple[Tensor, Tensor]:
        return x[:, 0], x[:, 1] - self.bend * (x[:, 0].square() - self.std**2)

    def clean_draw(self, like: Tensor, *, generator: Generator = None) -> Tensor:
        """std eps_1, and width eps_2 around the bent axis: (num_samples, 2)."""
        eps = normal(like, generator=generator)
        first = self.std * eps[:, 0]
        return torch.stack((first, self.width * eps[:, 1] + self.bend * (first.square() - self.std**2)), dim=1)


@final
@dataclass(frozen=True)
class Funnel(CleanDensity):
    """x_1 ~ N(0, std^2), the others N(0, exp(x_1)) given x_1: no one step size suits both its neck and its mouth.

    Args:
        num_dims: n, >= 2.
        std: of x_1, > 0.

    Raises:
        ValueError: if a number is out of range.

    Reference: Neal, "Slice sampling", Annals of Statistics 31 (2003), section 8.
    """

    num_dims: int = 2
    std: float = 3.0

    def __post_init__(self):
        check_count(self, "num_dims", 2)
        check_positive(self, "std")

    @property
    def event_shape(self) -> tuple[int, ...]:
        """(num_dims,)."""
        return (self.num_dims,)

    @property
    def moments(self) -> tuple[Tensor, Tensor]:
        """0, and std, exp(std^2 / 4), ..., exp(std^2 / 4)."""
        std = torch.full((self.num_dims,), math.exp(self.std**2 / 4), dtype=torch.float64)
        std[0] = self.std
        return torch.zeros_like(std), std

    def clean_log_prob(self, x: Tensor) -> Tensor:
        """-x_1^2 / 2 std^2 - (exp(-x_1) sum x_j^2 + (n - 1) x_1) / 2 - log std - n/2 log 2 pi: (B,)."""
        neck, squares = x[:, 0], self._whitened(x).square().sum(1)
        exponent = (neck / self.std).square() + squares + (self.num_dims - 1) * neck
        return -exponent / 2 - math.log(self.std) - self.num_dims / 2 * math.log(2 * math.pi)

    def clean_score(self, x: Tensor) -> Tensor:
        """(-x_1 / std^2 + (exp(-x_1) sum x_j^2 - (n - 1)) / 2, -exp(-x_1) x_j): (B, n)."""
        neck, z = x[:, :1], self._whitened(x)
        first = (z.square().sum(1, keepdim=True) - (self.num_dims - 1)) / 2 - neck / self.std**2
        return torch.cat((first, -z * torch.exp(-neck / 2)), dim=1)

    def _whitened(self, x: Tensor) -> Tensor:
        return x[:, 1:] * torch.exp(-x[:, :1] / 2)

    def clean_draw(self, like: Tensor, *, generator: Generator = None) -> Tensor:
        """std eps_1, then exp(x_1 / 2) eps_j: (num_samples, n)."""
        eps = normal(like, generator=generator)
        neck = self.std * eps[:, :1]
        return torch.cat((neck, torch.exp(neck / 2) * eps[:, 1:]), dim=1)
