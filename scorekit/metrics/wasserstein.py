r"""Sliced Wasserstein distance (Bonneel et al., J. Math. Imaging Vis. 51, 2015): optimal transport on random lines.

    SW_p^p = E_theta W_p^p(theta . x, theta . y),  theta uniform on the unit sphere

and on a line W_p^p is the integral of |F^-1(u) - G^-1(u)|^p over u in (0, 1), F^-1 and G^-1 the quantile functions.
For samples of sizes n and m these are steps at i/n and j/m, so that the integral is an exact sum over at most n + m - 1
intervals. A shift by v in D dimensions has SW_2 = |v| / sqrt(D).
"""

import math
from dataclasses import dataclass
from typing import final

import torch
from torch import Tensor

from scorekit.base import Generator, Metric, fork, normal
from scorekit.metrics._samples import blocks, checked_pair, require_count


@final
@dataclass(frozen=True)
class SlicedWasserstein(Metric):
    """SW_p, in the units of x; exact for events of one number.

    Args:
        num_projections: how many random lines; its error falls as 1 / sqrt(num_projections).
        p: the power of the distance, >= 1.

    Raises:
        ValueError: unless num_projections >= 1 and 1 <= p < inf; when called, for samples that are not finite
            floating-point (N, *E) of one event shape.
    """

    num_projections: int = 128
    p: float = 2.0

    def __post_init__(self):
        require_count("SlicedWasserstein: num_projections", self.num_projections)
        if not 1 <= self.p < math.inf:
            raise ValueError(f"{self}: p = {self.p} is not a distance's power, expected 1 <= p < inf")

    def __call__(self, x: Tensor, reference: Tensor, *, generator: Generator = None) -> float:
        """SW_p of x (N, *E) and reference (M, *E); `generator` draws the lines."""
        x, reference = checked_pair(x, reference, at_least=1)
        lines = self._lines(x, generator)
        powers = [
            _line_distance(x @ lines[part].T, reference @ lines[part].T, self.p)
            for part in blocks(len(lines), len(x) + len(reference))
        ]
        return torch.cat(powers).mean().item() ** (1 / self.p)

    def _lines(self, x: Tensor, generator: Generator) -> Tensor:
        """Unit vectors (num_projections, D); one is enough in one dimension."""
        dimension = x.shape[1]
        if dimension == 1:
            return x.new_ones(1, 1)
        eps = normal(x.new_empty(self.num_projections, dimension), generator=fork(generator, "lines"))
        return eps / eps.norm(dim=1, keepdim=True)


def _line_distance(x: Tensor, y: Tensor, p: float) -> Tensor:
    """W_p^p of each column of x (n, P) and y (m, P): (P,)."""
    n, m = len(x), len(y)
    steps = torch.cat((torch.arange(n, device=x.device) * m, torch.arange(m, device=x.device) * n)).unique()
    widths = torch.diff(steps, append=steps.new_tensor([n * m])).to(x) / (n * m)  # u = step / (n m)
    gaps = x.sort(0).values[steps // m] - y.sort(0).values[steps // n]
    return widths @ gaps.abs().pow(p)
