r"""Densities whose score, log density and draws are known in closed form at every noise level.

The convolution with N(0, sigma^2 I) of a Gaussian is N(mu, S + sigma^2 I); that of a mixture is the mixture of the
convolved components. They are target families (so every sampler runs on them), the truth that estimators are tested
against, and toy data.
"""

import math
from abc import abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property, partial
from typing import TypeAlias, final

import numpy as np
import torch
from torch import Tensor

from scorekit.base import Generator, Target, TargetFamily, normal, uniform

Numbers: TypeAlias = float | Sequence["Numbers"]


class Density(TargetFamily):
    """A density of clean data on events of shape E, and its convolution with Gaussian noise of any sigma >= 0."""

    @property
    @abstractmethod
    def event_shape(self) -> tuple[int, ...]:
        """E."""

    @abstractmethod
    def log_prob(self, x: Tensor, sigma: float = 0.0) -> Tensor:
        """log p_sigma(x), normalised: (B, *E) -> (B,)."""

    @abstractmethod
    def score(self, x: Tensor, sigma: float = 0.0) -> Tensor:
        """grad log p_sigma(x): (B, *E) -> (B, *E)."""

    @abstractmethod
    def sample(
        self,
        num_samples: int,
        sigma: float = 0.0,
        *,
        generator: Generator = None,
        device: torch.device | str | None = None,
        dtype: torch.dtype | None = None,
    ) -> Tensor:
        """Exact, independent draws from p_sigma: (num_samples, *E)."""

    @final
    def at(self, sigma: float, *, like: Tensor | None = None, generator: Generator = None) -> Target:
        """The target p_sigma."""
        return Target(partial(self.score, sigma=sigma), partial(self.log_prob, sigma=sigma))

    @final
    @property
    def inference_mode(self) -> bool:
        """True: closed forms need no autograd."""
        return True


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
        if not (self._mean.isfinite().all() and np.isfinite(covariance).all()):
            raise ValueError("Gaussian: the mean or the covariance has a number that is not finite")
        asymmetry = np.abs(covariance - covariance.T).max()
        if asymmetry > 1e-12 * np.abs(covariance).max():
            raise ValueError(f"Gaussian: the covariance is not symmetric: two mirrored entries differ by {asymmetry:g}")
        if not (self._variances >= 0).all():
            raise ValueError(f"Gaussian: the covariance has the negative eigenvalue {self._variances.min().item():g}")

    @cached_property
    def _mean(self) -> Tensor:
        return torch.tensor(self.mean, dtype=torch.float64)

    @cached_property
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

    def log_prob(self, x: Tensor, sigma: float = 0.0) -> Tensor:
        """-1/2 sum over the axes of (z^2 / v + log 2 pi v), v = eigenvalue + sigma^2: (B,)."""
        z, v, _ = self._in_basis(x, sigma)
        return -(z.square() / v + (2 * math.pi * v).log()).sum(1) / 2

    def score(self, x: Tensor, sigma: float = 0.0) -> Tensor:
        """-(covariance + sigma^2 I)^-1 (x - mean): (B, *E)."""
        z, v, basis = self._in_basis(x, sigma)
        whitened = -z / v
        return (whitened if basis is None else whitened @ basis.T).reshape(x.shape)

    def _in_basis(self, x: Tensor, sigma: float) -> tuple[Tensor, Tensor, Tensor | None]:
        _check_event(self, x)
        variances, basis = self._spectrum
        v = _positive(self, variances.to(x) + sigma**2, sigma)
        basis = None if basis is None else basis.to(x)
        centred = (x - self._mean.to(x)).flatten(1)
        return (centred if basis is None else centred @ basis), v, basis

    def sample(
        self,
        num_samples: int,
        sigma: float = 0.0,
        *,
        generator: Generator = None,
        device: torch.device | str | None = None,
        dtype: torch.dtype | None = None,
    ) -> Tensor:
        """mean + V sqrt(v) z: (num_samples, *E)."""
        _check_sigma(self, sigma)
        z = normal(torch.empty(num_samples, self._mean.numel(), device=device, dtype=dtype), generator=generator)
        variances, basis = self._spectrum
        scaled = (variances.to(z) + sigma**2).sqrt() * z
        noise = scaled if basis is None else scaled @ basis.to(z).T
        return self._mean.to(z) + noise.reshape(num_samples, *self.event_shape)


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
        if not self._means.isfinite().all():
            raise ValueError("GaussianMixture: the means have a number that is not finite")
        count = len(self._means)
        if self.weights is not None:
            object.__setattr__(self, "weights", as_numbers(self.weights))
            if np.shape(self.weights) != (count,) or not (min(self.weights) > 0 and abs(sum(self.weights) - 1) <= 1e-6):
                raise ValueError(
                    f"GaussianMixture: weights {self.weights}: expected {count} positive numbers that sum to 1"
                )
        if np.shape(self.stds) not in ((), (count,)) or not 0 <= np.min(self.stds) <= np.max(self.stds) < math.inf:
            raise ValueError(f"GaussianMixture: stds {self.stds}: expected one number or {count}, finite and >= 0")

    @cached_property
    def _means(self) -> Tensor:
        return torch.tensor(self.means, dtype=torch.float64)

    @cached_property
    def _weights(self) -> Tensor:
        count = len(self._means)
        return (
            torch.full((count,), 1 / count, dtype=torch.float64)
            if self.weights is None
            else torch.tensor(self.weights, dtype=torch.float64)
        )

    @cached_property
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

    def log_prob(self, x: Tensor, sigma: float = 0.0) -> Tensor:
        """logsumexp over the components: (B,)."""
        return self._components(x, sigma)[0].logsumexp(1)

    def score(self, x: Tensor, sigma: float = 0.0) -> Tensor:
        """sum_k r_k (mean_k - x) / v_k with the responsibilities r = softmax of the joint log densities: (B, *E)."""
        joint, v = self._components(x, sigma)
        pull = joint.softmax(1) / v
        means = self._means.to(x).flatten(1)
        return (pull @ means - pull.sum(1, keepdim=True) * x.flatten(1)).reshape(x.shape)

    def _components(self, x: Tensor, sigma: float) -> tuple[Tensor, Tensor]:
        """log w_k N(x; mean_k, v_k I) as (B, K), and v (K,)."""
        _check_event(self, x)
        v = _positive(self, self._stds.to(x).square() + sigma**2, sigma)
        means = self._means.to(x).flatten(1)
        distance = (x.flatten(1).unsqueeze(1) - means).square().sum(2)
        n = means.shape[1]
        return self._weights.to(x).log() - distance / (2 * v) - n / 2 * (2 * math.pi * v).log(), v

    def sample(
        self,
        num_samples: int,
        sigma: float = 0.0,
        *,
        generator: Generator = None,
        device: torch.device | str | None = None,
        dtype: torch.dtype | None = None,
    ) -> Tensor:
        """A component by its weight, then Gaussian noise around its mean: (num_samples, *E)."""
        _check_sigma(self, sigma)
        like = torch.empty(num_samples, *self.event_shape, device=device, dtype=dtype)
        unit = uniform(like.new_empty(num_samples, dtype=torch.float64), generator=generator)
        component = torch.bucketize(unit, self._weights.cumsum(0)[:-1].to(unit), right=True)
        std = (self._stds.square() + sigma**2).sqrt().to(like)[component].reshape(-1, *(1 for _ in self.event_shape))
        return self._means.to(like)[component] + std * normal(like, generator=generator)


def as_numbers(value: Numbers | Tensor | np.ndarray) -> Numbers:
    """Nested tuples of Python floats: what a frozen dataclass compares, prints and writes to JSON."""
    array = value.detach().cpu().double().numpy() if isinstance(value, Tensor) else np.asarray(value, dtype=np.float64)
    return _nested(array.astype(np.float64).tolist())


def _nested(value: float | list) -> Numbers:
    return tuple(_nested(item) for item in value) if isinstance(value, list) else value


def _check_event(density: Density, x: Tensor) -> None:
    if tuple(x.shape[1:]) != density.event_shape:
        raise ValueError(
            f"x of shape {tuple(x.shape)}: this {type(density).__name__} is on events of shape {density.event_shape}"
        )


def _check_sigma(density: Density, sigma: float) -> None:
    if not 0 <= sigma < math.inf:
        raise ValueError(f"{type(density).__name__} at sigma = {sigma}: expected 0 <= sigma < inf")


def _positive(density: Density, variances: Tensor, sigma: float) -> Tensor:
    """The variances, of which none may be 0 (a host check, skipped where sigma > 0 settles it)."""
    _check_sigma(density, sigma)
    if sigma == 0 and not (variances > 0).all():
        raise ValueError(
            f"this {type(density).__name__} is singular: it has no density at sigma = 0, only at sigma > 0"
        )
    return variances
