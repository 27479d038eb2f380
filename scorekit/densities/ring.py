r"""A circle with Gaussian noise.

The uniform law on the circle of radius R, convolved with N(0, v I), has at distance r from the centre

    log p = -log(2 pi v) - (r - R)^2 / (2 v) + log i0e(k),        k = r R / v,
    score = x (-1 / v + (R / v)^2 A(k) / k),                      A(k) = I_1(k) / I_0(k),

with i0e(k) = exp(-k) I_0(k), which does not overflow. A(k) / k = 1/2 - k^2 / 16 + k^4 / 96 - ... near 0.
"""

import math
from dataclasses import dataclass
from typing import final

import torch
from torch import Tensor

from scorekit.base import Generator, normal, uniform
from scorekit.densities.base import CleanDraws, Sigma, check_event, check_positive, noisy_variances


@final
@dataclass(frozen=True)
class Ring(CleanDraws):
    """The circle around 0 convolved with N(0, std^2 I), in two dimensions: p_sigma has the variance std^2 + sigma^2.

    Args:
        radius: the circle's, > 0.
        std: >= 0; with 0 there is a density at sigma > 0 only.

    Raises:
        ValueError: if a number is out of range; when a density or a score is asked for at sigma = 0 and std is 0.
    """

    radius: float = 1.0
    std: float = 0.1

    def __post_init__(self):
        check_positive(self, "radius")
        if not 0 <= self.std < math.inf:
            raise ValueError(f"Ring: std = {self.std}: expected a finite number >= 0")

    @property
    def event_shape(self) -> tuple[int, ...]:
        """(2,)."""
        return (2,)

    @property
    def moments(self) -> tuple[Tensor, Tensor]:
        """0, and sqrt(R^2 / 2 + std^2) in both coordinates."""
        std = math.sqrt(self.radius**2 / 2 + self.std**2)
        return torch.zeros(2, dtype=torch.float64), torch.full((2,), std, dtype=torch.float64)

    def log_prob(self, x: Tensor, sigma: Sigma = 0.0) -> Tensor:
        """-log(2 pi v) - (r - R)^2 / 2v + log i0e(r R / v): (B,)."""
        v = self._variance(x, sigma)
        r = torch.linalg.vector_norm(x, dim=1, keepdim=True)
        bessel = torch.special.i0e(r * self.radius / v).log()
        return (bessel - (r - self.radius).square() / (2 * v) - (2 * math.pi * v).log()).squeeze(1)

    def score(self, x: Tensor, sigma: Sigma = 0.0) -> Tensor:
        """x (-1 / v + (R / v)^2 A(k) / k): (B, 2)."""
        v = self._variance(x, sigma)
        ratio = self.radius / v
        k2 = x.square().sum(1, keepdim=True) * ratio.square()
        return x * (ratio.square() * _bessel_ratio(k2) - 1 / v)

    def _variance(self, x: Tensor, sigma: Sigma) -> Tensor:
        check_event(self, x)
        return noisy_variances(self, torch.tensor([self.std**2], dtype=torch.float64), sigma, x)

    def clean_draw(self, like: Tensor, *, generator: Generator = None) -> Tensor:
        """R (cos t, sin t) + std eps, the angle t uniform: (num_samples, 2)."""
        angle = 2 * math.pi * uniform(like.new_empty(len(like), dtype=torch.float64), generator=generator)
        circle = self.radius * torch.stack((angle.cos(), angle.sin()), dim=1).to(like)
        return circle + self.std * normal(like, generator=generator)


def _bessel_ratio(k2: Tensor) -> Tensor:
    """A(k) / k as a function of k^2; the series below k = .1 keeps it differentiable at the centre (error 2e-15)."""
    small = k2 < 0.01
    k = torch.where(small, 1.0, k2).sqrt()
    series = 0.5 + k2 * (-1 / 16 + k2 * (1 / 96 + k2 * (-11 / 6144 + k2 * (19 / 61440 + k2 * (-473 / 8847360)))))
    return torch.where(small, series, torch.special.i1e(k) / (k * torch.special.i0e(k)))
