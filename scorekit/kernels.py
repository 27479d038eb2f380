"""Kernels: what becomes of a proposed move."""

from dataclasses import dataclass
from typing import NamedTuple, final

from torch import Tensor

from scorekit.base import Generator, Info, Kernel, Point, Proposal


class Position(NamedTuple):
    """The state of a kernel that carries nothing but x."""

    x: Tensor


@final
@dataclass(frozen=True)
class Unadjusted(Kernel[Position]):
    """Every proposed move is made; the stationary law is off by the discretisation, O(h).

    Args:
        proposal: the move. With `Langevin()` this is the unadjusted Langevin algorithm, one score evaluation a step.
    """

    proposal: Proposal

    def init(self, point: Point, *, generator: Generator = None) -> Position:
        """The point's x."""
        return Position(point.x)

    def step(
        self, point: Point, state: Position, step_size: Tensor, *, generator: Generator = None
    ) -> tuple[Position, Info | None]:
        """Move to the proposed point; nothing is decided, so there is no Info."""
        move = self.proposal.propose(point, step_size, generator=generator)
        return Position(move.path[-1].x), None
