r"""Kernels: what becomes of a proposed move.

**Metropolis and Hastings.** A move from x to y is accepted with probability min(1, e^r),

    r = log p(y) - log p(x) + log q(x | y) - log q(y | x),

which leaves p invariant whatever the step size (Hastings, Biometrika 1970). Where the target knows its score only, the
difference of log densities is the score's line integral along the move's path: exact if the score is a gradient and the
quadrature exact, which for a learned score neither is, quite.
"""

import math
from dataclasses import dataclass
from typing import ClassVar, NamedTuple, final

import torch
from torch import Tensor

from scorekit._kinds import require_kind
from scorekit.base import Generator, Info, Kernel, LineIntegral, Move, Point, Proposal, expand, uniform, wide
from scorekit.line_integrals import GaussLobatto


class Position(NamedTuple):
    """The state of a kernel that carries nothing but x."""

    x: Tensor


class Evaluated(NamedTuple):
    """x with what is known of it, so that no point is evaluated twice."""

    x: Tensor
    score: Tensor | None  # None where the proposal needs no score and the target knows its log density
    log_prob: Tensor | None  # None where the target does not know it


@final
@dataclass(frozen=True)
class Unadjusted(Kernel[Position]):
    """Every proposed move is made; the stationary law is off by the discretisation, O(h).

    Args:
        proposal: the move. With `Langevin()` this is the unadjusted Langevin algorithm, one score evaluation a step.

    Raises:
        TypeError: if it is no proposal.
    """

    proposal: Proposal

    def __post_init__(self):
        require_kind("Unadjusted", Proposal, proposal=self.proposal)

    def init(self, point: Point, *, generator: Generator = None) -> Position:
        """The point's x."""
        return Position(point.x)

    def step(
        self, point: Point, state: Position, step_size: Tensor, *, generator: Generator = None
    ) -> tuple[Position, Info | None]:
        """Move to the proposed point; nothing is decided, so there is no Info."""
        move = self.proposal.propose(point, step_size, generator=generator)
        return Position(move.path[-1].x), None


@final
@dataclass(frozen=True)
class MetropolisAdjusted(Kernel[Evaluated]):
    """Metropolis's decision on a proposed move, for each chain by itself.

    With `Langevin()` this is MALA, with `Hamiltonian()` Hamiltonian Monte Carlo. A step draws what the proposal draws,
    then one uniform a chain. It costs the proposal's evaluations of the score, and the line integral's where the target
    has no log density.

    A chain whose ratio r is NaN or infinite stays where it is, and `Info.nonfinite` counts it; a state is never
    repaired. There is one exception: from log p = -inf, a start outside the support, a proposal with a finite log
    density is accepted.

    Args:
        proposal: the move.
        line_integral: the difference of log densities from the score alone; not used where the target has `log_prob`.

    Raises:
        TypeError: if a part is of another kind.
        ValueError: if the line integral needs a longer path than the proposal's; when a level starts, if the target's
            log density is not one number a chain.
    """

    adjusted: ClassVar[bool] = True

    proposal: Proposal
    line_integral: LineIntegral = GaussLobatto()

    def __post_init__(self):
        require_kind("MetropolisAdjusted", Proposal, proposal=self.proposal)
        require_kind("MetropolisAdjusted", LineIntegral, line_integral=self.line_integral)
        if self.line_integral.min_segments > self.proposal.num_segments:
            raise ValueError(
                f"MetropolisAdjusted(proposal={self.proposal}, line_integral={self.line_integral}): the line integral "
                f"needs a path of {self.line_integral.min_segments} segments at least, and the proposal's has "
                f"{self.proposal.num_segments}"
            )

    @property
    def target_acceptance(self) -> float:
        """The proposal's, or the line integral's if that needs shorter steps."""
        return max(self.proposal.target_acceptance, self.line_integral.min_acceptance)

    @property
    def num_segments(self) -> int:
        """The proposal's."""
        return self.proposal.num_segments

    def init(self, point: Point, *, generator: Generator = None) -> Evaluated:
        """The point with what the target knows of it: one evaluation."""
        state = self._evaluated(point)
        if state.log_prob is not None and state.log_prob.shape != point.x.shape[:1]:
            raise ValueError(
                f"the target's log_prob maps x of shape {tuple(point.x.shape)} to {tuple(state.log_prob.shape)}: "
                f"expected one number a chain, {tuple(point.x.shape[:1])}"
            )
        return state

    def step(
        self, point: Point, state: Evaluated, step_size: Tensor, *, generator: Generator = None
    ) -> tuple[Evaluated, Info | None]:
        """Propose, then go or stay."""
        move = self.proposal.propose(point, step_size, generator=generator)
        before = Evaluated(
            point.x,
            None if state.score is None else point.score,
            None if state.log_prob is None else point.log_prob,
        )
        after = self._evaluated(move.path[-1])
        difference, trusted = self._log_density_ratio(move, before, after)
        log_q_ratio = self.proposal.log_q_ratio(move, step_size)
        log_accept = difference + log_q_ratio
        accepted = (uniform(log_accept, generator=generator).log() < log_accept) & log_accept.isfinite() & trusted
        entered = _enters_the_support(before, after) & log_q_ratio.isfinite()
        accepted = accepted | entered
        info = Info(accepted, log_accept, ~(log_accept.isfinite() | entered), trusted, -log_accept)
        return _select(accepted, after, before), info

    def _evaluated(self, point: Point) -> Evaluated:
        target = point.target
        if target.log_prob is None:
            return Evaluated(point.x, point.score, None)
        if self.proposal.needs_score:
            return Evaluated(point.x, point.score, point.log_prob)  # the score first: it may bring log_prob with it
        alone = target.value_and_score is None  # else the point would evaluate both
        return Evaluated(point.x, None, point.log_prob if alone else target.log_prob(point.x))

    def _log_density_ratio(self, move: Move, before: Evaluated, after: Evaluated) -> tuple[Tensor, Tensor]:
        if before.log_prob is None or after.log_prob is None:
            return self.line_integral(move.path)
        difference = wide(after.log_prob) - wide(before.log_prob)
        return difference, torch.ones_like(difference, dtype=torch.bool)


def _enters_the_support(before: Evaluated, after: Evaluated) -> Tensor:
    """(B,): whether a move leads from log p = -inf to a finite log p; False where the log density is not known."""
    if before.log_prob is None or after.log_prob is None:
        return before.x.new_zeros(before.x.shape[0], dtype=torch.bool)
    return (before.log_prob == -math.inf) & after.log_prob.isfinite()


def _select(accepted: Tensor, new: Evaluated, old: Evaluated) -> Evaluated:
    """New values where accepted. By `where`: as a weighted sum, a NaN in what is rejected would come through."""

    def either(new: Tensor, old: Tensor) -> Tensor:
        return torch.where(expand(accepted, old).bool(), new, old)

    score = None if new.score is None or old.score is None else either(new.score, old.score)
    log_prob = None if new.log_prob is None or old.log_prob is None else either(new.log_prob, old.log_prob)
    return Evaluated(either(new.x, old.x), score, log_prob)
