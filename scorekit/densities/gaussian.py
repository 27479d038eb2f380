"""Gaussians: noise of sigma turns N(mean, S) into N(mean, S + sigma^2 I)."""

import math
from dataclasses import dataclass
from typing import final

import numpy as np
import torch
from torch import Tensor

from scorekit._numbers import Numbers, as_numbers
from scorekit._tensor import lasting_property
from scorekit.base import Generator, normal
from scorekit.densities.base import Density, Sigma, check_event, check_finite, noisy_variances


@final
@dataclass(frozen=True)
class Gaussian(Density):
    """N(mean, covariance), of any event shape: p_sigma = N(mean, covariance + sigma^2 I).

    Args:
        mean: nested numbers (or a tensor, or an array) of shape E, of rank 1 at least.
        covariance: one number (isotropic), n numbers (the variances, in the order of the flattened event), or n x n.

    Raises:
        ValueError: if the shapes do not agree, a number is not finite, or the covariance is not symmetric positive
            semi-definite; when a density or a score is asked for at sigma = 0 and the covariance is singular (an
            eigenvalue of a matrix within 1e-12 of the largest counts as 0).
    """

    mean: Numbers
    covariance: Numbers = 1.0

    def __post_init__(self):
        object.__setattr__(self, "mean", as_numbers(self.mean))
        object.__setattr__(self, "covariance", as_numbers(self.covariance))
        n, shape = self._mean.numel(), np.shape(self.covariance)
        if self._mean.ndim < 1 or n < 1 or shape not in ((), (n,), (n, n)):
            raise ValueError(
                f"Gaussian: mean of shape {tuple(self._mean.shape)} and covariance of shape {shape}: expected a mean "
                f"of rank 1 at least and a covariance of shape (), (n,) or (n, n), n = {n} being the size of the event"
            )
        covariance = np.asarray(self.covariance, dtype=np.float64)
        check_finite(self, "the mean has", self._mean)
        check_finite(self, "the covariance has", torch.from_numpy(covariance))
        asymmetry = np.abs(covariance - covariance.T).max()
        if asymmetry > 1e-12 * np.abs(covariance).max():
            raise ValueError(f"Gaussian: the covariance is not symmetric: two mirrored entries differ by {asymmetry:g}")
        if not (self._variances >= 0).all():
            raise ValueError(f"Gaussian: the covariance has the negative eigenvalue {self._variances.min().item():g}")

    @lasting_property
    def _mean(self) -> Tensor:
        return torch.tensor(self.mean, dtype=torch.float64)

    @lasting_property
    def _spectrum(self) -> tuple[Tensor, Tensor | None]:
        """Variances (n,) along the columns of a basis (n, n), or along the coordinates (None)."""
        covariance = torch.tensor(self.covariance, dtype=torch.float64)
        if covariance.ndim == 2:
            values, basis = torch.linalg.eigh(covariance)
            rounding = 1e-12 * values.abs().max()
            return torch.where(values.abs() <= rounding, 0.0, values), basis
        return covariance.expand(self._mean.numel()), None

    @property
    def _variances(self) -> Tensor:
        return self._spectrum[0]

    @property
    def event_shape(self) -> tuple[int, ...]:
        """The mean's shape."""
        return tuple(self._mean.shape)

    @property
    def moments(self) -> tuple[Tensor, Tensor]:
        """(mean, std), each of shape E."""
        variances, basis = self._spectrum
        marginal = variances if basis is None else (basis.square() * variances).sum(1)
        return self._mean, marginal.sqrt().reshape(self.event_shape)

    def log_prob(self, x: Tensor, sigma: Sigma = 0.0) -> Tensor:
        """-1/2 sum over the axes of (z^2 / v + log 2 pi v), v = eigenvalue + sigma^2: (B,)."""
        z, v, _ = self._in_basis(x, sigma)
        return -(z.square() / v + (2 * math.pi * v).log()).sum(1) / 2

    def score(self, x: Tensor, sigma: Sigma = 0.0) -> Tensor:
        """-(covariance + sigma^2 I)^-1 (x - mean): (B, *E)."""
        z, v, basis = self._in_basis(x, sigma)
        whitened = -z / v
        return (whitened if basis is None else whitened @ basis.T).reshape(x.shape)

    def _in_basis(self, x: Tensor, sigma: Sigma) -> tuple[Tensor, Tensor, Tensor | None]:
        check_event(self, x)
        variances, basis = self._spectrum
        v = noisy_variances(self, variances, sigma, x)
        basis = None if basis is None else basis.to(x)
        centred = (x - self._mean.to(x)).flatten(1)
        return (centred if basis is None else centred @ basis), v, basis

    def draw(self, like: Tensor, sigma: float, *, generator: Generator = None) -> Tensor:
        """mean + V sqrt(v) z: (num_samples, *E)."""
        z = normal(like.flatten(1), generator=generator)
        variances, basis = self._spectrum
        scaled = (variances.to(z) + sigma**2).sqrt() * z
        noise = scaled if basis is None else scaled @ basis.to(z).T
        return self._mean.to(z) + noise.reshape(like.shape)
