"""Mixtures of isotropic Gaussians: noise of sigma turns each variance s^2 into s^2 + sigma^2."""

import math
from dataclasses import dataclass
from typing import final

import numpy as np
import torch
from torch import Tensor

from scorekit._numbers import Numbers, as_numbers
from scorekit._tensor import lasting_property
from scorekit.base import Generator, normal, uniform
from scorekit.densities.base import Density, Sigma, check_event, check_finite, noisy_variances


@final
@dataclass(frozen=True)
class GaussianMixture(Density):
    """sum_k w_k N(mean_k, std_k^2 I): p_sigma has the component variances std_k^2 + sigma^2. std_k = 0 is a point mass.

    Args:
        means: K events, nested numbers of shape (K, *E).
        weights: K positive numbers that sum to 1; None for equal ones.
        stds: one number for all components, or K numbers, >= 0.

    Raises:
        ValueError: if the shapes do not agree, a mean is not finite, a weight is not positive, the weights do not sum
            to 1 (to 1e-6), or an std is negative; when a density or a score is asked for at sigma = 0 and a component
            is a point mass.
    """

    means: Numbers
    weights: tuple[float, ...] | None = None
    stds: Numbers = 1.0

    def __post_init__(self):
        object.__setattr__(self, "means", as_numbers(self.means))
        object.__setattr__(self, "stds", as_numbers(self.stds))
        if self._means.ndim < 2:
            raise ValueError(
                f"GaussianMixture: means of shape {tuple(self._means.shape)}: expected (K, *E), K "
                "components of rank 1 at least"
            )
        check_finite(self, "the means have", self._means)
        count = len(self._means)
        if self.weights is not None:
            object.__setattr__(self, "weights", as_numbers(self.weights))
            if np.shape(self.weights) != (count,) or not (min(self.weights) > 0 and abs(sum(self.weights) - 1) <= 1e-6):
                raise ValueError(
                    f"GaussianMixture: weights {self.weights}: expected {count} positive numbers that sum to 1"
                )
        if np.shape(self.stds) not in ((), (count,)) or not 0 <= np.min(self.stds) <= np.max(self.stds) < math.inf:
            raise ValueError(f"GaussianMixture: stds {self.stds}: expected one number or {count}, finite and >= 0")

    @lasting_property
    def _means(self) -> Tensor:
        return torch.tensor(self.means, dtype=torch.float64)

    @lasting_property
    def _weights(self) -> Tensor:
        count = len(self._means)
        return (
            torch.full((count,), 1 / count, dtype=torch.float64)
            if self.weights is None
            else torch.tensor(self.weights, dtype=torch.float64)
        )

    @lasting_property
    def _stds(self) -> Tensor:
        return torch.tensor(self.stds, dtype=torch.float64).expand(len(self._means))

    @property
    def event_shape(self) -> tuple[int, ...]:
        """The shape of one mean."""
        return tuple(self._means.shape[1:])

    @property
    def moments(self) -> tuple[Tensor, Tensor]:
        """(mean, std) of the whole mixture, each of shape E."""
        per_component = (-1, *(1 for _ in self.event_shape))
        w, var = self._weights.reshape(per_component), self._stds.square().reshape(per_component)
        mean = (w * self._means).sum(0)
        return mean, (w * (var + (self._means - mean).square())).sum(0).sqrt()

    def log_prob(self, x: Tensor, sigma: Sigma = 0.0) -> Tensor:
        """logsumexp over the components: (B,)."""
        return self._components(x, sigma)[0].logsumexp(1)

    def score(self, x: Tensor, sigma: Sigma = 0.0) -> Tensor:
        """sum_k r_k (mean_k - x) / v_k with the responsibilities r = softmax of the joint log densities: (B, *E)."""
        joint, v = self._components(x, sigma)
        pull = joint.softmax(1) / v
        means = self._means.to(x).flatten(1)
        return (pull @ means - pull.sum(1, keepdim=True) * x.flatten(1)).reshape(x.shape)

    def _components(self, x: Tensor, sigma: Sigma) -> tuple[Tensor, Tensor]:
        """log w_k N(x; mean_k, v_k I) as (B, K), and v, (K,) or (B, K)."""
        check_event(self, x)
        v = noisy_variances(self, self._stds.square(), sigma, x)
        means = self._means.to(x).flatten(1)
        distance = (x.flatten(1).unsqueeze(1) - means).square().sum(2)
        n = means.shape[1]
        return self._weights.to(x).log() - distance / (2 * v) - n / 2 * (2 * math.pi * v).log(), v

    def draw(self, like: Tensor, sigma: float, *, generator: Generator = None) -> Tensor:
        """A component by its weight, then Gaussian noise around its mean: (num_samples, *E)."""
        unit = uniform(like.new_empty(len(like), dtype=torch.float64), generator=generator)
        component = torch.bucketize(unit, self._weights.cumsum(0)[:-1].to(unit), right=True)
        std = (self._stds.square() + sigma**2).sqrt().to(like)[component].reshape(-1, *(1 for _ in self.event_shape))
        return self._means.to(like)[component] + std * normal(like, generator=generator)
