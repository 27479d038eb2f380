"""Densities that are uniform on boxes, and their convolution with noise: products of differences of normal CDFs."""

import math
from dataclasses import dataclass
from typing import final

import numpy as np
import torch
from torch import Tensor

from scorekit._numbers import Numbers, as_numbers
from scorekit._tensor import lasting_property
from scorekit.base import Generator, uniform
from scorekit.densities.base import CleanDraws, Sigma, check_count, check_event, check_positive, noise_of
from scorekit.densities.intervals import noisy_uniform


@final
@dataclass(frozen=True)
class Box(CleanDraws):
    """Uniform on low <= x <= high, of any event shape. With noise each coordinate is a uniform one plus a normal one.

    At sigma = 0 the support is bounded: outside it log p = -inf, and the score is NaN in the coordinates that are
    outside (0 inside). NaN rather than 0, so that a Metropolis step that knows the score only rejects what leaves the
    box.

    Args:
        low: nested numbers (or a tensor, or an array) of shape E, of rank 1 at least.
        high: the same shape, each number above its partner in `low`.

    Raises:
        ValueError: if the shapes differ, or a side is not finite and positive.
    """

    low: Numbers
    high: Numbers

    def __post_init__(self):
        object.__setattr__(self, "low", as_numbers(self.low))
        object.__setattr__(self, "high", as_numbers(self.high))
        low, high = np.shape(self.low), np.shape(self.high)
        if low != high or low == () or 0 in low:
            raise ValueError(
                f"Box: low of shape {low} and high of shape {high}: expected one shape, not empty, of rank >= 1"
            )
        sides = np.subtract(self.high, self.low)
        if not (np.isfinite(sides) & (sides > 0)).all():
            raise ValueError(
                f"Box: sides high - low from {sides.min():g} to {sides.max():g}: expected finite numbers > 0"
            )

    @lasting_property
    def _edges(self) -> Tensor:
        """(2, n), float64."""
        return torch.tensor((self.low, self.high), dtype=torch.float64).flatten(1)

    @property
    def event_shape(self) -> tuple[int, ...]:
        """The shape of `low`."""
        return tuple(np.shape(self.low))

    @property
    def moments(self) -> tuple[Tensor, Tensor]:
        """The centre, and side / sqrt(12)."""
        low, high = self._edges.unflatten(1, self.event_shape)
        return (low + high) / 2, (high - low) / math.sqrt(12)

    def log_prob(self, x: Tensor, sigma: Sigma = 0.0) -> Tensor:
        """The sum over the coordinates of the log densities of noisy uniform variables: (B,)."""
        check_event(self, x)
        low, high = self._edges.to(x)
        return noisy_uniform(x.flatten(1), low, high, noise_of(self, sigma, x))[0].sum(1)

    def score(self, x: Tensor, sigma: Sigma = 0.0) -> Tensor:
        """Coordinate by coordinate: (B, *E)."""
        check_event(self, x)
        low, high = self._edges.to(x)
        flat, noise = x.flatten(1), noise_of(self, sigma, x)
        outside = (noise == 0) & ((flat < low) | (flat > high))
        return torch.where(outside, math.nan, noisy_uniform(flat, low, high, noise)[1]).reshape(x.shape)

    def clean_draw(self, like: Tensor, *, generator: Generator = None) -> Tensor:
        """low + (high - low) u: (num_samples, *E)."""
        unit = uniform(torch.empty_like(like, dtype=torch.float64), generator=generator)
        low, high = self._edges.to(unit).unflatten(1, self.event_shape)
        return torch.minimum(low + (high - low) * unit, high).to(like)  # the sum may round to above `high`


@final
@dataclass(frozen=True)
class Checkerboard(CleanDraws):
    """Uniform on the squares (i, j) with i + j even of a board in two dimensions, centred at 0. With noise it is the
    equal mixture of noisy squares. At sigma = 0, outside the squares, log p = -inf and the score is NaN.

    Args:
        num_squares: along a side of the board, >= 2.
        half_width: half the side of the board, > 0. The default has squares of side 2 on [-4, 4]^2.

    Raises:
        ValueError: if a number is out of range.
    """

    num_squares: int = 4
    half_width: float = 4.0

    def __post_init__(self):
        check_count(self, "num_squares", 2)
        check_positive(self, "half_width")

    @lasting_property
    def _edges(self) -> Tensor:
        """(num_squares + 1,), float64."""
        return torch.linspace(-self.half_width, self.half_width, self.num_squares + 1, dtype=torch.float64)

    @lasting_property
    def _squares(self) -> Tensor:
        """The numbers of the K squares along each axis, (2, K)."""
        place = torch.arange(self.num_squares)
        return torch.nonzero((place.unsqueeze(1) + place) % 2 == 0).T

    @property
    def event_shape(self) -> tuple[int, ...]:
        """(2,)."""
        return (2,)

    @property
    def moments(self) -> tuple[Tensor, Tensor]:
        """0, and sqrt(side^2 / 12 + the variance of the squares' centres)."""
        centres = (self._edges[:-1] + self._edges[1:])[self._squares] / 2
        side = 2 * self.half_width / self.num_squares
        return centres.mean(1), (centres.var(1, correction=0) + side**2 / 12).sqrt()

    def log_prob(self, x: Tensor, sigma: Sigma = 0.0) -> Tensor:
        """logsumexp over the squares: (B,)."""
        return self._parts(x, sigma)[0].logsumexp(1)

    def score(self, x: Tensor, sigma: Sigma = 0.0) -> Tensor:
        """The squares' scores weighed by their shares of the density: (B, 2)."""
        joint, scores = self._parts(x, sigma)
        return (joint.softmax(1).unsqueeze(1) * scores).sum(2)

    def _parts(self, x: Tensor, sigma: Sigma) -> tuple[Tensor, Tensor]:
        """Of each square: its share of the log density (B, K), and its score (B, 2, K)."""
        check_event(self, x)
        edges, squares = self._edges.to(x), self._squares.to(x.device)
        noise = noise_of(self, sigma, x).unsqueeze(-1)
        logs, scores = noisy_uniform(x.unsqueeze(2), edges[:-1], edges[1:], noise)
        joint = logs[:, 0, squares[0]] + logs[:, 1, squares[1]] - math.log(squares.shape[1])
        return joint, torch.stack((scores[:, 0, squares[0]], scores[:, 1, squares[1]]), dim=1)

    def clean_draw(self, like: Tensor, *, generator: Generator = None) -> Tensor:
        """A square, then a place within it: (num_samples, 2)."""
        unit = uniform(like.new_empty(len(like), 3, dtype=torch.float64), generator=generator)
        edges, squares = self._edges.to(unit), self._squares.to(unit.device)
        place = squares[:, (unit[:, 0] * squares.shape[1]).long()].T
        low, high = edges[place], edges[place + 1]
        return torch.minimum(low + (high - low) * unit[:, 1:], high).to(like)
