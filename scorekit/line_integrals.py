r"""Line integrals: log p(y) - log p(x) from the score alone.

The score is a gradient field, so along any path x(t) from x to y

    log p(y) - log p(x) = int s(x(t)) . x'(t) dt.

**Gauss-Lobatto.** Each segment of the path is straight; the rule with n nodes has one at both ends, where the scores
are known, and is exact for scores that are polynomials of degree 2 n - 3 along the segment. n = 3 is Simpson's.

**Free cubic.** No evaluation beyond those of a leapfrog trajectory: on each segment the scores and the positions are
interpolated, as functions of the step's number t, by the cubics through the four points around it, and the integral of
the one times the derivative of the other is exact. It errs at large steps, so moves on which it is far from the
trapezoid rule are rejected.

The trapezoid rule itself is not offered: it leaves MALA a law about as far from the target as no correction does (for
exp(-x^4 / 4) at h = .05, total variation 2.1e-2 against 1.4e-2, Simpson 1e-14). Both rules are antisymmetric under
reversal of the path, so that detailed balance holds, if not for p then for what the score's integral makes of it. See
arXiv 2307.14012 and 2605.09654.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from itertools import pairwise
from typing import ClassVar, final

import numpy as np
import torch
from numpy.polynomial import Polynomial
from torch import Tensor

from scorekit.base import LineIntegral, Point, sum_event, wide

_INNER = {3: (0.0,), 4: (-math.sqrt(1 / 5), math.sqrt(1 / 5)), 5: (-math.sqrt(3 / 7), 0.0, math.sqrt(3 / 7))}
_WEIGHTS = {3: (4 / 3,), 4: (5 / 6, 5 / 6), 5: (49 / 90, 32 / 45, 49 / 90)}  # on [-1, 1]; the ends have 2 / n (n - 1)


@final
@dataclass(frozen=True)
class GaussLobatto(LineIntegral):
    """Gauss-Lobatto quadrature on every segment; it vouches for every move.

    Args:
        num_nodes: n = 3 (Simpson), 4 or 5 nodes a segment, of which n - 2 cost an evaluation of the score each.

    Raises:
        ValueError: for another number; 2 would be the trapezoid rule.
    """

    num_nodes: int = 3

    def __post_init__(self):
        if self.num_nodes == 2:
            raise ValueError(
                "GaussLobatto(num_nodes=2): expected 3, 4 or 5; 2 is the trapezoid rule, under which Metropolis's "
                "correction is no better than none"
            )
        if self.num_nodes not in _INNER:
            raise ValueError(f"GaussLobatto(num_nodes={self.num_nodes!r}): expected 3, 4 or 5")

    def __call__(self, path: tuple[Point, ...]) -> tuple[Tensor, Tensor]:
        """The sum over the segments: (B,), and True for every chain."""
        total = _sum([self._segment(a, b) for a, b in pairwise(path)])
        return total, torch.ones_like(total, dtype=torch.bool)

    def _segment(self, a: Point, b: Point) -> Tensor:
        centre, half = (a.x + b.x) / 2, (b.x - a.x) / 2
        nodes = [a.target.point(centre + t * half) for t in _INNER[self.num_nodes]]
        ends = 2 / (self.num_nodes * (self.num_nodes - 1)) * (wide(a.score) + wide(b.score))
        inner = [w * wide(node.score) for w, node in zip(_WEIGHTS[self.num_nodes], nodes, strict=True)]
        return sum_event((ends + _sum(inner)) * (wide(b.x) - wide(a.x)) / 2)


@final
@dataclass(frozen=True)
class FreeCubic(LineIntegral):
    """Cubic interpolation of a trajectory's own scores and positions; no evaluation of its own.

    A segment in the middle of the path has the four points around it, one at an end the nearest four; a path of two
    segments has one parabola. Right where more than about .93 of the moves are accepted; take `GaussLobatto` for larger
    steps.

    Args:
        guard: a move on which it differs from the trapezoid rule by more is not trusted, so rejected.

    Raises:
        ValueError: unless 0 < guard < inf.
    """

    min_segments: ClassVar[int] = 2
    min_acceptance: ClassVar[float] = 0.95

    guard: float = 1.0

    def __post_init__(self):
        if not 0 < self.guard < math.inf:
            raise ValueError(f"FreeCubic(guard={self.guard!r}): expected 0 < guard < inf")

    def __call__(self, path: tuple[Point, ...]) -> tuple[Tensor, Tensor]:
        """The integral (B,), and whether it is within `guard` of the trapezoid rule's.

        Raises:
            ValueError: for a path of fewer than two segments.
        """
        if len(path) <= self.min_segments:
            raise ValueError(
                f"FreeCubic: a path of {len(path) - 1} segments: expected {self.min_segments} at least, so a proposal "
                "such as Hamiltonian(num_leapfrog=2)"
            )
        scores = [wide(point.score) for point in path]
        segments = [wide(b.x) - wide(a.x) for a, b in pairwise(path)]
        ends = zip(pairwise(scores), segments, strict=True)
        trapezoid = _sum([sum_event((a + b) / 2 * d) for (a, b), d in ends])
        cubic = _bilinear(cubic_weights(len(segments)), scores, segments)
        return cubic, (cubic - trapezoid).abs() <= self.guard


@cache
def cubic_weights(num_segments: int) -> tuple[tuple[float, ...], ...]:
    """W, one row a segment i, one column a point j: the integral is the sum of W_ij s_j . (x_{i+1} - x_i).

    Every row sums to 1, since a constant score does work s . (x_n - x_0); and W is its own image under reversal.
    """
    size = min(num_segments, 3)
    total = np.zeros((num_segments, num_segments + 1))
    for segment in range(num_segments):
        windows = _windows(num_segments, segment)
        for first in windows:
            total[first : first + size, first : first + size + 1] += _window(size, segment - first) / len(windows)
    return tuple(tuple(map(float, row)) for row in (total + total[::-1, ::-1]) / 2)


def _windows(num_segments: int, segment: int) -> tuple[int, ...]:
    """The first points of the windows that a segment's integral is the mean of: the one with the segment in its middle;
    at an end the outermost; and for the end's neighbour both that touch it, which takes up to a quarter off the error.
    """
    last = max(num_segments - 3, 0)
    if last > 0 and segment in (1, num_segments - 2):
        return (0, 1) if segment == 1 else (last - 1, last)
    return (min(max(segment - 1, 0), last),)


def _window(size: int, segment: int) -> np.ndarray:
    """The integral over one segment of a window of `size`: of the interpolant of the scores through its size + 1 points
    times the derivative of that of the positions, by segments and points: (size, size + 1)."""
    points = range(size + 1)
    basis = [Polynomial.fromroots([k for k in points if k != j]) for j in points]
    basis = [polynomial / polynomial(j) for j, polynomial in enumerate(basis)]
    weights = np.empty((size, size + 1))
    for i in range(size):
        moved = sum(basis[i + 1 :], Polynomial([0.0])).deriv()  # x(t) is x_0 and, for each segment, a multiple of it
        for j in points:
            antiderivative = (basis[j] * moved).integ()
            weights[i, j] = antiderivative(segment + 1) - antiderivative(segment)
    return weights


def _bilinear(weights: tuple[tuple[float, ...], ...], scores: list[Tensor], segments: list[Tensor]) -> Tensor:
    forces = (_sum([w * s for w, s in zip(row, scores, strict=True) if w != 0]) for row in weights)
    return _sum([sum_event(force * d) for force, d in zip(forces, segments, strict=True)])


def _sum(terms: Sequence[Tensor]) -> Tensor:
    total = terms[0]
    for term in terms[1:]:
        total = total + term
    return total
