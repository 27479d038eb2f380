r"""Proposals: random moves, with the ratio of their densities.

One convention everywhere: drift h * score, noise sqrt(2 h) * z. The NCSN paper's alpha is 2 h.

**Langevin.** q(y | x) = N(y; x + h s(x), 2 h I), the Euler-Maruyama step of the overdamped Langevin diffusion dX = s
dt + sqrt(2) dW, whose stationary law is p (Roberts and Tweedie, Bernoulli 1996).

**Hamiltonian.** With momenta p ~ N(0, I) and the total energy H(x, p) = -log p(x) + |p|^2 / 2, n leapfrog steps of
length e = sqrt(2 h),

    p <- p + e/2 s(x),     x <- x + e p,     p <- p + e/2 s(x),

follow Hamilton's equations, are undone when p is reversed, and keep volume (Neal, arXiv 1206.1901). So the ratio of
densities is that of the momenta's, exp((|p_0|^2 - |p_n|^2) / 2). One step is Langevin's, x + h s + sqrt(2 h) p, ratio
included. An e for each coordinate amounts to a diagonal mass.
"""

from dataclasses import dataclass
from typing import ClassVar, final

from torch import Tensor

from scorekit.base import GaussianProposal, Generator, Move, Point, Proposal, expand, normal, sum_event, uniform, wide


@final
@dataclass(frozen=True)
class Langevin(GaussianProposal):
    """y = x + h s(x) + sqrt(2 h) z."""

    def mean(self, point: Point, step_size: Tensor) -> Tensor:
        """x + h s(x)."""
        return point.x + expand(step_size, point.x) * point.score


@final
@dataclass(frozen=True)
class RandomWalk(GaussianProposal):
    """y = x + sqrt(2 h) z: it asks for no score, so that a target's log density is all that is evaluated."""

    needs_score: ClassVar[bool] = False
    target_acceptance: ClassVar[float] = 0.234  # Roberts, Gelman and Gilks (1997)

    def mean(self, point: Point, step_size: Tensor) -> Tensor:
        """x."""
        return point.x


@final
@dataclass(frozen=True)
class Hamiltonian(Proposal):
    """A leapfrog trajectory with fresh momenta: one evaluation of the score a leapfrog step, at the points of its path.

    It draws the momenta, one normal like x, then one uniform u a chain if the step is jittered.

    Args:
        num_leapfrog: n >= 1. A trajectory is n sqrt(2 h) long.
        jitter: each chain's step is e (1 + jitter (2 u - 1)), with 0 <= jitter < 1: at a fixed length a Gaussian whose
            half period it is does not mix.

    Raises:
        ValueError: if num_leapfrog or jitter is out of range.
    """

    target_acceptance: ClassVar[float] = 0.8

    num_leapfrog: int = 3
    jitter: float = 0.2

    def __post_init__(self):
        if not isinstance(self.num_leapfrog, int) or self.num_leapfrog < 1:
            raise ValueError(f"Hamiltonian(num_leapfrog={self.num_leapfrog!r}): expected an integer >= 1")
        if not 0 <= self.jitter < 1:
            raise ValueError(f"Hamiltonian(jitter={self.jitter!r}): expected 0 <= jitter < 1")

    @property
    def num_segments(self) -> int:
        """One a leapfrog step."""
        return self.num_leapfrog

    def propose(self, point: Point, step_size: Tensor, *, generator: Generator = None) -> Move:
        """Draw momenta and follow the trajectory; two half kicks that meet are one."""
        momenta = before = normal(point.x, generator=generator)
        step = (2 * expand(step_size, point.x)).sqrt()
        if self.jitter > 0:
            u = uniform(wide(point.x.new_empty(point.x.shape[0])), generator=generator)
            step = step * expand(1 + self.jitter * (2 * u - 1), point.x)
        path = [point]
        for _ in range(self.num_leapfrog):
            kick = step if len(path) > 1 else step / 2
            momenta = momenta + kick * path[-1].score
            path.append(point.target.point(path[-1].x + step * momenta))
        return Move(tuple(path), (before, momenta + step / 2 * path[-1].score))

    def log_q_ratio(self, move: Move, step_size: Tensor) -> Tensor:
        """(|p_0|^2 - |p_n|^2) / 2, summed over the event: (B,).

        Raises:
            TypeError: for a move without momenta.
        """
        if move.momenta is None:
            raise TypeError("Hamiltonian.log_q_ratio: this move has no momenta, so it is another proposal's")
        before, after = map(wide, move.momenta)
        return sum_event(before.square() - after.square()) / 2
