r"""Transitions: how the chains move from one noise level to the next.

**Tweedie's formula** (Efron, JASA 2011): E[x0 | x] = x + sigma^2 grad log p_sigma(x) for x = x0 + sigma eps.
`Denoise` moves there after the last level.
"""

from dataclasses import dataclass
from typing import Any, ClassVar, final

from torch import Tensor

from scorekit.base import Generator, Point, Target, TargetFamily, Transition


@final
@dataclass(frozen=True)
class Stay(Transition):
    """Keep x: the next level's kernel does the work (annealed Langevin)."""

    def move(
        self, family: TargetFamily, point: Point, target: Target, sigma_from: float, sigma_to: float, carry: Any = None,
        *, generator: Generator = None,
    ) -> tuple[Tensor, Any]:  # fmt: skip
        """x itself; no evaluation."""
        return point.x, None


@final
@dataclass(frozen=True)
class Denoise(Transition):
    """x + sigma^2 s(x, sigma), the posterior mean of the clean state: a sampler's last move, one evaluation."""

    only_final: ClassVar[bool] = True

    def move(
        self, family: TargetFamily, point: Point, target: Target, sigma_from: float, sigma_to: float, carry: Any = None,
        *, generator: Generator = None,
    ) -> tuple[Tensor, Any]:  # fmt: skip
        """Tweedie's posterior mean."""
        return point.x + sigma_from**2 * point.score, None
