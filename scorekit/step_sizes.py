r"""Rules for the step size h (drift h * score, noise sqrt(2 h) * z) at a noise level.

NCSN takes h proportional to sigma^2, so that the signal-to-noise ratio |h s| / |sqrt(2 h) z| of an update is the
same at every level (|s| goes as 1 / sigma). In its Algorithm 1, x <- x + alpha/2 s + sqrt(alpha) z with alpha_i =
eps sigma_i^2 / sigma_L^2, hence h = alpha / 2; the released sampler uses h = 2e-5 sigma_i^2 / sigma_L^2, twice the
step that the paper prints.
"""

import math
from dataclasses import dataclass
from typing import ClassVar, final

import numpy as np
import torch
from torch import Tensor

from scorekit._kinds import require_kind
from scorekit._numbers import Numbers, as_numbers
from scorekit._tensor import lasting_property
from scorekit.base import Point, StepSize, expand, sum_event, wide
from scorekit.noise import require_decreasing


@final
@dataclass(frozen=True)
class Constant(StepSize):
    """The same h at every level.

    Args:
        step_size: h > 0.

    Raises:
        ValueError: unless 0 < step_size < inf.
    """

    step_size: float

    def __post_init__(self):
        _require_positive(self, "step_size", self.step_size)

    def __call__(self, sigma: float, point: Point) -> Tensor:
        """h: ()."""
        return point.x.new_full((), self.step_size)


@final
@dataclass(frozen=True)
class SigmaSquared(StepSize):
    """h = epsilon (sigma / sigma_min)^2 (NCSN, Algorithm 1).

    Args:
        epsilon: h at sigma = sigma_min. With the default sigma_min = 1 it is h / sigma^2; .125 makes the noise of a
            step sigma / 2.
        sigma_min: the level that `epsilon` refers to, NCSN's sigma_L.

    Raises:
        ValueError: unless both are positive and finite; when sampling, at a level sigma = 0, where h would be 0.
    """

    epsilon: float = 0.125
    sigma_min: float = 1.0

    def __post_init__(self):
        _require_positive(self, "epsilon", self.epsilon)
        _require_positive(self, "sigma_min", self.sigma_min)

    def __call__(self, sigma: float, point: Point) -> Tensor:
        """h: ()."""
        if sigma <= 0:
            raise ValueError(f"{self} gives no step at sigma = {sigma:g}: give step_size= for clean data")
        return point.x.new_full((), self.epsilon * (sigma / self.sigma_min) ** 2)


@final
@dataclass(frozen=True)
class SNR(StepSize):
    """h = 2 (r sqrt(D) / |s|)^2 for each chain, so that |h s| = r sqrt(2 h) sqrt(D): drift over noise is r.

    D is the number of coordinates, sqrt(D) the length of a typical z. The published corrector (arXiv 2011.13456,
    Algorithms 4 and 5) averages the norms over the batch; here each chain has its own |s|. For s of the typical length
    sqrt(D) / sigma, h = 2 r^2 sigma^2. That is also what a chain is given where the formula has no finite value (|s| =
    0, or so small that h overflows), so that h is finite wherever the score is.

    Args:
        r: the ratio; .16 for CIFAR-10 there.

    Raises:
        ValueError: unless 0 < r < inf.
    """

    r: float = 0.16
    uses_point: ClassVar[bool] = True

    def __post_init__(self):
        _require_positive(self, "r", self.r)

    def __call__(self, sigma: float, point: Point) -> Tensor:
        """h: (B,)."""
        squared_norm, num_coordinates = sum_event(wide(point.score).square()), point.x.shape[1:].numel()
        h = 2 * self.r**2 * num_coordinates / squared_norm
        return torch.where(h.isposinf(), 2 * (self.r * sigma) ** 2, h).to(point.x.dtype)


@final
@dataclass(frozen=True)
class Table(StepSize):
    """h looked up by the level: what tuning ends with.

    Args:
        levels: the levels, strictly decreasing; sigma is one of them if it is within 1e-4 of it, relatively.
        step_sizes: for each level, h > 0: one number, or nested numbers of the event's shape (a diagonal mass).

    Raises:
        ValueError: if the levels do not decrease, the two lists differ in length, or a step is not positive and finite;
            when sampling, at a level that it does not have, or where a step's shape is not the event's.
    """

    levels: tuple[float, ...]
    step_sizes: tuple[Numbers, ...]

    def __post_init__(self):
        object.__setattr__(self, "levels", as_numbers(self.levels))
        object.__setattr__(self, "step_sizes", tuple(as_numbers(h) for h in self.step_sizes))
        require_decreasing(torch.tensor(self.levels, dtype=torch.float64), "Table(levels=...)")
        if len(self.levels) != len(self.step_sizes):
            raise ValueError(
                f"Table: {len(self.levels)} levels and {len(self.step_sizes)} step sizes: expected one for each level"
            )
        for level, h in zip(self.levels, self.step_sizes, strict=True):
            _require_positive_numbers(f"Table: the step size at sigma = {level:g}", h)

    @lasting_property
    def _steps(self) -> tuple[Tensor, ...]:
        return tuple(torch.tensor(h, dtype=torch.float64) for h in self.step_sizes)

    def __call__(self, sigma: float, point: Point) -> Tensor:
        """h: (), or (B, *E) where the table has the event's shape."""
        nearest = min(range(len(self.levels)), key=lambda i: abs(self.levels[i] - sigma))
        if not abs(self.levels[nearest] - sigma) <= 1e-4 * self.levels[nearest]:
            steps = ", ".join(f"{h.item():g}" if h.ndim == 0 else f"numbers {tuple(h.shape)}" for h in self._steps)
            raise ValueError(f"sigma = {sigma:g} is not in the table: levels {self.levels}, step sizes ({steps})")
        h = self._steps[nearest].to(point.x)
        return h if h.ndim == 0 else _for_each_chain(h, point.x, f"Table: the step size at sigma = {sigma:g}")


@final
@dataclass(frozen=True)
class PerCoordinate(StepSize):
    """h scale^2, coordinate by coordinate: a step of another rule in units of each coordinate's scale.

    With `scale` near the target's standard deviations this is the diagonal preconditioner of Langevin dynamics, and the
    diagonal mass 1 / scale^2 of a Hamiltonian proposal.

    Args:
        step_size: the rule for h.
        scale: nested numbers of the event's shape, > 0.

    Raises:
        TypeError: if the rule is none.
        ValueError: if a scale is not positive and finite, or it is one number (scale the rule itself by its square);
            when sampling, where its shape is not the event's.
    """

    step_size: StepSize
    scale: Numbers

    def __post_init__(self):
        require_kind("PerCoordinate", StepSize, "Constant(h), say", step_size=self.step_size)
        object.__setattr__(self, "scale", as_numbers(self.scale))
        if np.ndim(self.scale) < 1:
            raise ValueError(
                f"PerCoordinate(scale={self.scale}): expected numbers of the event's shape, of rank 1 at least"
            )
        _require_positive_numbers("PerCoordinate: the scale", self.scale)

    @property
    def uses_point(self) -> bool:  # pyrefly: ignore[bad-override]  # the wrapped rule's, so not a class's
        """The wrapped rule's."""
        return self.step_size.uses_point

    @lasting_property
    def _squared(self) -> Tensor:
        return torch.tensor(self.scale, dtype=torch.float64).square()

    def __call__(self, sigma: float, point: Point) -> Tensor:
        """h scale^2: (B, *E)."""
        squared = _for_each_chain(self._squared.to(point.x), point.x, "PerCoordinate: the scale")
        return expand(self.step_size(sigma, point), point.x) * squared


def _for_each_chain(value: Tensor, x: Tensor, what: str) -> Tensor:
    """`value` of shape E for each of the chains x (B, *E), not merely broadcast."""
    if value.shape != x.shape[1:]:
        raise ValueError(
            f"{what} has shape {tuple(value.shape)} for chains {tuple(x.shape)}: expected the event's shape "
            f"{tuple(x.shape[1:])}"
        )
    return value.expand(x.shape)


def _require_positive_numbers(what: str, numbers: Numbers) -> None:
    array = np.asarray(numbers).ravel()
    wrong = array[~(np.isfinite(array) & (array > 0))]
    if array.size == 0 or wrong.size > 0:
        shown = f"has the number {wrong[0]}" if wrong.size > 0 else "has no number"
        raise ValueError(f"{what} {shown}: expected positive, finite numbers")


def _require_positive(rule: StepSize, name: str, value: float) -> None:
    if not 0 < value < math.inf:
        raise ValueError(f"{rule}: {name} = {value} must be positive and finite")
