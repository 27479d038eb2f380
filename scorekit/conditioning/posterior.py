r"""Posteriors: densities given a measurement of the clean data.

    p(x | y) = p(x) p(y | x) / p(y)

A sampler of p_sigma needs the likelihood of the noisy x = x0 + sigma z, which is p(y | x0) averaged over what x0 may be
given x. For y = A x0 + s n, with x0 given x taken for N(x, sigma^2 I),

    p_sigma(y | x) = N(y; A x, s^2 I + sigma^2 A A'),
    score            A' (s^2 I + sigma^2 A A')^-1 (y - A x).

(Song, Vahdat, Mardani and Kautz, "Pseudoinverse-guided diffusion models for inverse problems", ICLR 2023, have the same
covariance around the denoised mean.) It is an approximation: the data's density is taken for flat over sigma. It is
exact as sigma goes to 0, and so are
samples whose last level is small beside s and the data's details, *if* a kernel brings them there. Transitions alone
follow a path of densities that is not the noisy posterior's: on a correlated Gaussian the variance came out as low as
.375 of the posterior's; with Metropolis-adjusted steps after each transition it was .97 to 1.02 of it, the mean off by
.04 standard deviations. Without sigma^2 A A', the likelihood of the clean data, chains diverge at large sigma.
"""

import math
from abc import ABC, abstractmethod
from typing import final

import torch
from torch import Tensor

from scorekit._kinds import brief, require_kind
from scorekit.base import Generator, Target, TargetFamily, WrappedFamily, sum_event, wide
from scorekit.base.families import of_each_chain, rows_of
from scorekit.conditioning.operators import LinearOperator, Matrix
from scorekit.conditioning.targets import add


class Likelihood(ABC):
    """What a measurement says of the data."""

    @property
    def min_sigma(self) -> float:
        """The smallest sigma at which it is valid."""
        return 0.0

    @property
    def inference_mode(self) -> bool:
        """True if it may be evaluated under `torch.inference_mode`, that is without autograd inside."""
        return False

    @abstractmethod
    def at(self, sigma: float, prior: Target) -> Target:
        """The posterior at one noise level. `scorekit.conditioning.add` multiplies a likelihood with a prior.

        Args:
            sigma: the noise level.
            prior: the target of p_sigma; its score, if that is needed (for Tweedie's formula, say), is the network's.
        """

    def rows(self, first: int, count: int, shape: tuple[int, ...]) -> "Likelihood":
        """The likelihood for some of the chains; see `TargetFamily.rows`. Itself, where nothing in it belongs to one
        chain.

        Raises:
            ValueError: if it is not one for chains of this shape.
        """
        return self


@final
class LinearGaussian(Likelihood):
    """y = A x0 + noise_std n, n standard normal; at sigma, N(y; A x, noise_std^2 I + sigma^2 A A').

    Args:
        A: a matrix (M, D) for the flattened event, or a `LinearOperator`.
        y: the measurement, (*M) or (B, *M), each chain its own.
        noise_std: its standard deviation, >= 0; with 0, sigma must be > 0.

    Raises:
        TypeError: if A is neither, or y no tensor.
        ValueError: if y is not floating-point and finite, unless 0 <= noise_std < inf; when sampling, if y is not a
            measurement by A of such events.
    """

    def __init__(self, A: Tensor | LinearOperator, y: Tensor, noise_std: float):
        if not isinstance(A, Tensor):
            require_kind("LinearGaussian", LinearOperator, "a matrix (M, D), or Downsample(2), say", A=A)
        require_kind("LinearGaussian", Tensor, "of shape (*M) or (B, *M)", y=y)
        if not (y.is_floating_point() and y.isfinite().all()):
            raise ValueError(f"LinearGaussian(y={brief(y)}): expected finite floating-point numbers")
        if not 0 <= noise_std < math.inf:
            raise ValueError(f"LinearGaussian(noise_std={noise_std}): expected 0 <= noise_std < inf")
        self._operator, self._y, self._noise_std = (Matrix(A) if isinstance(A, Tensor) else A), y, noise_std

    @property
    def min_sigma(self) -> float:
        """0, or 1e-5 without noise: the likelihood has no limit there."""
        return 0.0 if self._noise_std > 0 else 1e-5

    @property
    def inference_mode(self) -> bool:
        """True: score and log density are closed forms."""
        return True

    def at(self, sigma: float, prior: Target) -> Target:
        """The prior times N(y; A x, noise_std^2 I + sigma^2 A A')."""

        def both(x: Tensor) -> tuple[Tensor, Tensor]:
            measured = self._operator.forward(x)
            of_each_chain("the measurement y", self._y, tuple(measured.shape[1:]), len(x))
            residual = self._y.to(x) - measured
            solved = self._operator.solve(residual, self._noise_std**2, sigma**2)
            value = -sum_event(wide(residual) * wide(solved)) / 2
            return value, self._operator.adjoint(solved).reshape(x.shape)

        return add(prior, Target(lambda x: both(x)[1], lambda x: both(x)[0], both))

    def rows(self, first: int, count: int, shape: tuple[int, ...]) -> Likelihood:
        """The same with the measurements of some chains."""
        one = tuple(self._operator.forward(torch.zeros(1, *shape[1:], dtype=torch.float64)).shape[1:])
        kept = rows_of("the measurement y", self._y, one, first, count, shape[0])
        return self if kept is self._y else LinearGaussian(self._operator, kept, self._noise_std)

    def __repr__(self) -> str:
        return f"LinearGaussian({self._operator}, y={tuple(self._y.shape)}, noise_std={self._noise_std:g})"


@final
class Posterior(WrappedFamily):
    """p_sigma(x) p_sigma(y | x): the family given a measurement.

    Sample it by a Metropolis-adjusted kernel at every level, after a transition; see the module for what transitions
    alone would give.

    Args:
        family: the densities p_sigma, the prior.
        likelihood: of the measurement: `LinearGaussian(...)`, say.

    Raises:
        TypeError: if a part is of another kind.
    """

    def __init__(self, family: TargetFamily, likelihood: Likelihood):
        require_kind("Posterior", TargetFamily, family=family)
        require_kind("Posterior", Likelihood, "LinearGaussian(A, y, noise_std), say", likelihood=likelihood)
        self._family, self._likelihood = family, likelihood

    @property
    def family(self) -> TargetFamily:
        """The prior."""
        return self._family

    @property
    def title(self) -> str:
        """Of both parts."""
        return f"Posterior({self._family.title}, {self._likelihood})"

    @property
    def min_sigma(self) -> float:
        """The larger of theirs."""
        return max(self._family.min_sigma, self._likelihood.min_sigma)

    @property
    def inference_mode(self) -> bool:
        """True if it is for both."""
        return self._family.inference_mode and self._likelihood.inference_mode

    def at(self, sigma: float, *, like: Tensor | None = None, generator: Generator = None) -> Target:
        """The posterior at one level."""
        return self._likelihood.at(sigma, self._family.at(sigma, like=like, generator=generator))

    def rows(self, first: int, count: int, shape: tuple[int, ...]) -> TargetFamily:
        """The posterior of some of the chains."""
        family, likelihood = self._family.rows(first, count, shape), self._likelihood.rows(first, count, shape)
        same = family is self._family and likelihood is self._likelihood
        return self if same else Posterior(family, likelihood)

    def __repr__(self) -> str:
        return self.title
