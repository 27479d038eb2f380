"""Families made of somebody's function of (x, sigma), with sigma one Python float."""

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeAlias, final

import torch
from torch import Tensor

from scorekit.base import Generator, Target, TargetFamily

Moments: TypeAlias = tuple[Tensor, Tensor]


@dataclass(frozen=True, eq=False, repr=False)
class FunctionFamily(TargetFamily):
    """A family given by a function of (x, sigma), with sigma one Python float.

    Args:
        function: (x, sigma) -> a tensor.
        lowest: the smallest sigma at which it is valid.
        data_moments: (mean, std) of the clean data, if known.
    """

    function: Callable[[Tensor, float], Tensor]
    lowest: float = 0.0
    data_moments: Moments | None = None

    @property
    def min_sigma(self) -> float:
        """The smallest sigma at which the function is valid."""
        return self.lowest

    @property
    def moments(self) -> Moments | None:
        """(mean, std) of the clean data, if they were given."""
        return self.data_moments


def function_arguments(
    maker: str,
    function: Callable[[Tensor, float], Tensor],
    returns: str,
    min_sigma: float,
    moments: Moments | tuple[float, float] | None,
) -> tuple[Callable[[Tensor, float], Tensor], float, Moments | None]:
    """The fields of a `FunctionFamily`, checked; `maker` is the constructor that messages name, `returns` what its
    function gives.

    Raises:
        TypeError: if `function` cannot be called.
        ValueError: if min_sigma is negative or not finite, or a moment not finite, or std < 0.
    """
    if not callable(function):
        raise TypeError(f"{maker}({function!r}): expected a function (x, sigma) -> {returns}")
    if not 0 <= min_sigma < math.inf:
        raise ValueError(f"{maker}(min_sigma={min_sigma}): expected 0 <= min_sigma < inf")
    pair = None if moments is None else (torch.as_tensor(moments[0]), torch.as_tensor(moments[1]))
    if pair is not None and not (pair[0].isfinite().all() and pair[1].isfinite().all() and (pair[1] >= 0).all()):
        raise ValueError(f"{maker}(moments={moments}): expected finite values and std >= 0")
    return function, min_sigma, pair


@final
@dataclass(frozen=True, eq=False, repr=False)
class ScoreFunction(FunctionFamily):
    """A family given by a function (x, sigma) -> grad log p_sigma(x); see `from_score`."""

    def at(self, sigma: float, *, like: Tensor | None = None, generator: Generator = None) -> Target:
        """The target with the function's score at one level."""
        return Target(lambda x: self._checked(self.function(x, sigma), x))

    def _checked(self, score: Tensor, x: Tensor) -> Tensor:
        if score.shape != x.shape:
            raise ValueError(
                f"the score function maps x of shape {tuple(x.shape)} to {tuple(score.shape)}: a score has the shape "
                "of x (a log density, (B,), belongs to another constructor)"
            )
        if score.dtype != x.dtype:
            raise ValueError(
                f"the score function maps x of type {x.dtype} to {score.dtype}: a score has the type of x, or the "
                "chains would change theirs"
            )
        return score

    def __repr__(self) -> str:
        return f"from_score({self.function!r})"


def from_score(
    function: Callable[[Tensor, float], Tensor],
    *,
    min_sigma: float = 0.0,
    moments: Moments | tuple[float, float] | None = None,
) -> ScoreFunction:
    """A target family from someone else's score.

    Args:
        function: (x, sigma) -> grad log p_sigma(x), with x (B, *E) and sigma one Python float. It is called
            with autograd off; a function that differentiates does so under `torch.enable_grad()`, or by `torch.func`.
        min_sigma: the smallest sigma at which it is valid.
        moments: (mean, std) of the clean data, numbers or tensors broadcastable to E: what the matched start needs.

    Returns:
        A family that every sampler takes.

    Raises:
        TypeError: if `function` cannot be called.
        ValueError: if min_sigma is negative, or a moment not finite, or std < 0; when sampling, if the function
            changes the shape or the type of x.
    """
    return ScoreFunction(*function_arguments("from_score", function, "score", min_sigma, moments))
