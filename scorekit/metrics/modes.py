"""How far a sample's shares of known modes are off: what annealing is for, and what a wrong energy spoils first."""

from dataclasses import dataclass
from typing import final

import torch
from torch import Tensor

from scorekit._numbers import Numbers, as_numbers
from scorekit._tensor import lasting_property
from scorekit.base import Generator, Metric
from scorekit.metrics._samples import blocks, checked_sample


@final
@dataclass(frozen=True)
class ModeWeightError(Metric):
    """The largest |share of x nearest to a mode - the reference's share|, over the modes: a number in [0, 1].

    Args:
        means: the modes, nested numbers of shape (K, *E), K >= 2.

    Raises:
        ValueError: unless the modes are two different events or more, all finite; when called, for samples that are
            not finite floating-point (N, *E) with the modes' event shape.
    """

    means: Numbers

    def __post_init__(self):
        object.__setattr__(self, "means", as_numbers(self.means))
        shape = tuple(self._means.shape)
        if len(shape) < 2 or shape[0] < 2 or not self._means.isfinite().all():
            raise ValueError(f"ModeWeightError: means of shape {shape}: expected finite (K, *E) with K >= 2 modes")
        if len(self._means.unique(dim=0)) < len(self._means):
            raise ValueError(f"ModeWeightError(means={self.means}): two modes are the same, their shares are undefined")

    @lasting_property
    def _means(self) -> Tensor:
        return torch.tensor(self.means, dtype=torch.float64)

    def __call__(self, x: Tensor, reference: Tensor, *, generator: Generator = None) -> float:
        """The error of x (N, *E) against reference (M, *E); nothing is drawn."""
        return (self.shares(x) - self.shares(reference)).abs().max().item()

    def shares(self, x: Tensor) -> Tensor:
        """The fraction of x (N, *E) that is nearest to each mode, (K,) in double precision."""
        if x.shape[1:] != self._means.shape[1:]:
            raise ValueError(f"x of shape {tuple(x.shape)}: expected the modes' events {tuple(self._means.shape[1:])}")
        rows = checked_sample(x, "x", at_least=1)
        means = self._means.to(rows).flatten(1)
        nearest = torch.cat([torch.cdist(rows[part], means).argmin(1) for part in blocks(len(rows), len(means))])
        return nearest.bincount(minlength=len(means)).double() / len(rows)
