r"""Families made of a diffusion model's network.

What a network f(x_t, t), x_t = a x0 + b eps, is trained to give, and the score of x = x_t / a = x0 + sigma eps that it
amounts to:

    noise       E[eps | x]              s = -f / sigma
    clean       E[x0 | x]               s = (f - x) / sigma^2
    velocity    E[a eps - b x0 | x]     s = -a (b x + f) / sigma          Salimans and Ho, arXiv 2202.00512
    score       grad log p(x_t)         s = a f
"""

import math
from bisect import bisect
from collections.abc import Callable, Mapping, Sequence
from dataclasses import KW_ONLY, dataclass
from functools import cached_property
from itertools import pairwise
from typing import Literal, TypeAlias, final

import numpy as np
import torch
from torch import Tensor

from scorekit._numbers import as_numbers
from scorekit.base import Generator, Target
from scorekit.denoisers import tweedie
from scorekit.models import FunctionFamily, Moments, function_arguments
from scorekit.noise import Levels

Prediction: TypeAlias = Literal["noise", "clean", "velocity", "score"]

_TOLERANCE = 1e-4  # relative, as `TargetFamily.require` has it


# ------------------------------------------------------------------------------------------------- variance exploding


@final
@dataclass(frozen=True, eq=False, repr=False)
class NoisePredictionFunction(FunctionFamily):
    """A family given by a function (x, sigma) -> E[eps | x]; see `from_noise_prediction`."""

    def at(self, sigma: float, *, like: Tensor | None = None, generator: Generator = None) -> Target:
        """The target with the score -eps / sigma at one level."""
        return Target(lambda x: _checked(self.function(x, sigma), x, x) / -sigma)

    def __repr__(self) -> str:
        return f"from_noise_prediction({self.function!r})"


def from_noise_prediction(
    function: Callable[[Tensor, float], Tensor],
    *,
    min_sigma: float = 1e-3,
    moments: Moments | tuple[float, float] | None = None,
) -> NoisePredictionFunction:
    """A target family from a predictor of the noise in x = x0 + sigma eps: its score is -eps / sigma.

    Args:
        function: (x, sigma) -> E[eps | x], with x (B, *E) at its own scale and sigma one Python float. It is called
            with autograd off.
        min_sigma: the smallest sigma at which it is valid, > 0.
        moments: (mean, std) of the clean data, numbers or tensors broadcastable to E: what the matched start needs.

    Returns:
        A family that every sampler takes.

    Raises:
        TypeError: if `function` cannot be called.
        ValueError: unless 0 < min_sigma < inf; if a moment is not finite, or std < 0; when sampling, if the function
            changes the shape or the type of x.
    """
    if not 0 < min_sigma < math.inf:
        raise ValueError(
            f"from_noise_prediction(min_sigma={min_sigma}): the score -eps / sigma needs 0 < min_sigma < inf"
        )
    return NoisePredictionFunction(
        *function_arguments("from_noise_prediction", function, "noise in x", min_sigma, moments)
    )


# ------------------------------------------------------------------------------------------------ variance preserving


@final
@dataclass(frozen=True, eq=False, repr=False)
class VariancePreservingFunction(FunctionFamily):
    """A family given by a diffusion model's network; see `from_variance_preserving`.

    Args:
        function: (x, sigma) -> score, for the sigmas of the table.
        lowest: the smallest of them.
        data_moments: (mean, std) of the clean data, if known.
        noise: the table, as a schedule: what samplers visit, or some of it.
    """

    _: KW_ONLY
    noise: Levels

    @property
    def noise_levels(self) -> Tensor:
        """sigma_t of every step t, the largest first: (T,)."""
        return self.noise.levels()

    def at(self, sigma: float, *, like: Tensor | None = None, generator: Generator = None) -> Target:
        """The target with the score that the network amounts to at one level."""
        return Target(lambda x: self.function(x, sigma))

    def __repr__(self) -> str:
        return f"from_variance_preserving({self.function!r})"


def from_variance_preserving(
    function: Callable[[Tensor, int], Tensor],
    *,
    predicts: Prediction,
    alphas_bar: Tensor | np.ndarray | Sequence[float],
    moments: Moments | tuple[float, float] | None = None,
) -> VariancePreservingFunction:
    """A target family from the network of a diffusion model, trained on x_t = sqrt(abar_t) x0 + sqrt(1 - abar_t) eps.

    The samples come out at the scale of x0. With `moments=(0.0, 1.0)` the matched start is the x_T ~ N(0, I) that
    diffusion models begin with; `ancestral` on `family.noise` is then DDPM's sampler with the smaller of its two
    variances, and Euler's step DDIM's.

    Args:
        function: (x_t, t) -> prediction, with x_t (B, *E), t one Python int, an index of `alphas_bar`, and the result
            (B, *E). It is called with autograd off. For a network that takes a tensor of steps: `lambda x, t: net(x,
            torch.full((len(x),), t, device=x.device))`.
        predicts: what it gives: the "noise" eps, the "clean" x0, the "velocity" sqrt(abar) eps - sqrt(1 - abar) x0, or
            the "score" of x_t.
        alphas_bar: abar_t of t = 0, 1, ... (T,), falling, between 0 and 1; in double precision where there is a choice.
        moments: (mean, std) of the clean data, numbers or tensors broadcastable to E: what the matched start needs.

    Returns:
        A family that every sampler takes, valid at the T levels of its `noise`; a sampler may visit some of them.

    Raises:
        TypeError: if `function` cannot be called.
        ValueError: if `predicts` is none of these; from `variance_preserving_levels`; if a moment is not finite, or std
            < 0; when sampling, if the function changes the shape or the type of x, or at a level that is not in the
            table.
    """
    if not callable(function):
        raise TypeError(f"from_variance_preserving({function!r}): expected a function (x_t, t) -> prediction")
    if predicts not in _SCORES:
        raise ValueError(
            f"from_variance_preserving(predicts={predicts!r}): expected one of {', '.join(map(repr, _SCORES))}"
        )
    noise = variance_preserving_levels(alphas_bar)
    score = _TableScore(function, predicts, tuple(reversed(noise.levels().tolist())))
    fields = function_arguments("from_variance_preserving", score, "score", score.sigmas[0], moments)
    return VariancePreservingFunction(*fields, noise=noise)


def variance_preserving_levels(alphas_bar: Tensor | np.ndarray | Sequence[float]) -> Levels:
    """The levels sigma_t = sqrt((1 - abar_t) / abar_t) of a diffusion model, or of some of its steps.

    Args:
        alphas_bar: abar_t (T,), falling, between 0 and 1: the products of 1 - beta up to step t.

    Raises:
        ValueError: unless it is that, with the first value at fault.
    """
    table = torch.tensor(as_numbers(alphas_bar), dtype=torch.float64)
    if table.ndim != 1 or not len(table):
        raise ValueError(f"alphas_bar of shape {tuple(table.shape)}: expected (T,), T >= 1")
    values = table.tolist()
    for t, value in enumerate(values):
        if not 0 < value < 1:
            raise ValueError(
                f"alphas_bar[{t}] = {value}: expected 0 < alphas_bar < 1; at 0 sigma is infinite, at 1 it is 0: leave "
                "such a step out"
            )
    for t, (before, value) in enumerate(pairwise(values), start=1):
        if value >= before:
            raise ValueError(f"alphas_bar[{t}] = {value} after {before}: expected falling values")
    return Levels(tuple(((1 - table) / table).sqrt().flip(0).tolist()))


@final
@dataclass(frozen=True, eq=False, repr=False)
class _TableScore:
    """(x, sigma) -> score, of a network f(x_t, t) and its sigmas in the order of t."""

    function: Callable[[Tensor, int], Tensor]
    predicts: Prediction
    sigmas: tuple[float, ...]

    @cached_property
    def boundaries(self) -> tuple[float, ...]:
        """Between each level and the next, the same factor from both."""
        return tuple(math.sqrt(below * above) for below, above in pairwise(self.sigmas))

    def __call__(self, x: Tensor, sigma: float) -> Tensor:
        t = bisect(self.boundaries, sigma)
        if not math.isclose(sigma, self.sigmas[t], rel_tol=_TOLERANCE):
            raise ValueError(f"sigma = {sigma:g} is not one of the {len(self.sigmas)} levels of this network's table")
        a, b = 1 / math.hypot(1, self.sigmas[t]), self.sigmas[t] / math.hypot(1, self.sigmas[t])
        x_t = a * x
        return _SCORES[self.predicts](_checked(self.function(x_t, t), x_t, x), x, a, b)

    def __repr__(self) -> str:
        return f"{self.function!r}, predicts={self.predicts!r}, T={len(self.sigmas)}"


def _score_of_noise(f: Tensor, x: Tensor, a: float, b: float) -> Tensor:
    return f * (-a / b)


def _score_of_clean(f: Tensor, x: Tensor, a: float, b: float) -> Tensor:
    return tweedie(f, x, b / a)


def _score_of_velocity(f: Tensor, x: Tensor, a: float, b: float) -> Tensor:
    return (b * x + f) * (-a * a / b)


def _score_of_score(f: Tensor, x: Tensor, a: float, b: float) -> Tensor:
    return a * f


_SCORES: Mapping[str, Callable[[Tensor, Tensor, float, float], Tensor]] = {
    "noise": _score_of_noise,
    "clean": _score_of_clean,
    "velocity": _score_of_velocity,
    "score": _score_of_score,
}


def _checked(prediction: Tensor, given: Tensor, x: Tensor) -> Tensor:
    if prediction.shape != x.shape or prediction.dtype != x.dtype:
        raise ValueError(
            f"the network maps x of shape {tuple(given.shape)} and type {given.dtype} to {tuple(prediction.shape)} and "
            f"{prediction.dtype}: a prediction keeps the shape and the type of x"
        )
    return prediction
