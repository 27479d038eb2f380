r"""Denoisers: the posterior mean of the clean data, and the score that it amounts to.

With x = x0 + sigma z, z standard normal, Tweedie's formula (Robbins 1956; Efron, JASA 106 (2011)) says

    D(x, sigma) = E[x0 | x] = x + sigma^2 grad log p_sigma(x)        s(x, sigma) = (D(x, sigma) - x) / sigma^2

The difference of two nearly equal numbers is divided: in float32 the score is off by about 6e-8 |x| / sigma^2, that is
by 6e-8 |x| / sigma of its typical size 1 / sigma. Hence a smallest sigma.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import final

from torch import Tensor, nn

from scorekit.base import Generator, NoiseSchedule, Target, expand
from scorekit.models import FunctionFamily, Moments, NetworkScore, function_arguments


def tweedie(denoised: Tensor, x: Tensor, scale: Tensor | float) -> Tensor:
    """(D - x) / scale^2, divided twice: in half precision the square of a small sigma has no digits left."""
    return (denoised - x) / scale / scale


@final
class Denoiser(NetworkScore):
    """s(x, sigma) = (f(x, sigma) - x) / sigma^2: the network gives the denoised x (Tweedie's formula).

    Args:
        net: the network f(x, sigma[, condition]), (B, *E), (B,) -> (B, *E).
        noise: the schedule with the only levels that f knows; None if f knows every sigma or keeps its own table.
        min_sigma: the smallest level at which the score may be asked for, > 0: the quotient has no limit at 0.

    Raises:
        ValueError: unless 0 < min_sigma < inf.
    """

    def __init__(self, net: nn.Module, noise: NoiseSchedule | None = None, min_sigma: float = 1e-3):
        super().__init__(net, noise)
        _check_min_sigma("Denoiser", min_sigma)
        self._min_sigma = min_sigma

    @property
    def min_sigma(self) -> float:
        """The smallest level at which the score may be asked for."""
        return self._min_sigma

    def parametrise(self, output: Tensor, x: Tensor, sigma: Tensor) -> Tensor:
        """The output less x, over sigma^2."""
        return tweedie(output, x, expand(sigma, x))


@final
@dataclass(frozen=True, eq=False, repr=False)
class DenoiserFunction(FunctionFamily):
    """A family given by a function (x, sigma) -> E[x0 | x]; see `from_denoiser`."""

    def at(self, sigma: float, *, like: Tensor | None = None, generator: Generator = None) -> Target:
        """The target with the score that the function amounts to at one level."""
        return Target(lambda x: self._score(self.function(x, sigma), x, sigma))

    def _score(self, denoised: Tensor, x: Tensor, sigma: float) -> Tensor:
        if denoised.shape != x.shape or denoised.dtype != x.dtype:
            raise ValueError(
                f"the denoiser maps x of shape {tuple(x.shape)} and type {x.dtype} to {tuple(denoised.shape)} and "
                f"{denoised.dtype}: what is denoised keeps the shape and the type of x"
            )
        return tweedie(denoised, x, sigma)

    def __repr__(self) -> str:
        return f"from_denoiser({self.function!r})"


def from_denoiser(
    function: Callable[[Tensor, float], Tensor],
    *,
    min_sigma: float = 1e-3,
    moments: Moments | tuple[float, float] | None = None,
) -> DenoiserFunction:
    """A target family from someone else's denoiser.

    Args:
        function: (x, sigma) -> E[x0 | x], the mean of the clean data given the noisy x, with x (B, *E) and sigma one
            Python float. It gets x itself, at its own scale, and gives x0, not the noise. It is called with
            autograd off.
        min_sigma: the smallest sigma at which it is valid, > 0.
        moments: (mean, std) of the clean data, numbers or tensors broadcastable to E: what the matched start needs.

    Returns:
        A family that every sampler takes.

    Raises:
        TypeError: if `function` cannot be called.
        ValueError: unless 0 < min_sigma < inf; if a moment is not finite, or std < 0; when sampling, if the function
            changes the shape or the type of x.
    """
    _check_min_sigma("from_denoiser", min_sigma)
    return DenoiserFunction(*function_arguments("from_denoiser", function, "denoised x", min_sigma, moments))


def _check_min_sigma(maker: str, min_sigma: float) -> None:
    if not 0 < min_sigma < math.inf:
        raise ValueError(f"{maker}(min_sigma={min_sigma}): the score (D - x) / sigma^2 needs 0 < min_sigma < inf")
