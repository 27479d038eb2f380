"""Metropolis's kernel and its proposals written out in steps, of which a mutant breaks one at a time."""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import NamedTuple, final

import torch
from torch import Tensor

from scorekit import proposals
from scorekit.base import (
    Generator,
    Info,
    Kernel,
    Move,
    Point,
    Proposal,
    expand,
    normal,
    sum_event,
    uniform,
)
from scorekit.kernels import Evaluated


# twins that can be broken
@final
@dataclass(frozen=True)
class Twin(Kernel[Evaluated]):
    """Metropolis's kernel for targets with a log density, in steps that a mutant breaks one at a time."""

    proposal: Proposal
    broken: dict[str, Callable] = field(default_factory=dict, hash=False)

    def init(self, point: Point, *, generator: Generator = None) -> Evaluated:
        return Evaluated(point.x, point.score, point.log_prob)

    def step(
        self, point: Point, state: Evaluated, step_size: Tensor, *, generator: Generator = None
    ) -> tuple[Evaluated, Info | None]:
        move = self.proposal.propose(point, step_size, generator=generator)
        new = move.path[-1]
        difference = new.log_prob - point.log_prob
        r = self._do("ratio", torch.add, difference, self.proposal.log_q_ratio(move, step_size))
        u = self._do("draw", uniform, r, generator=generator)
        accepted = self._do("decide", lambda u, r: u.log() < r, u, r)
        state = Evaluated(
            self._do("x", select, accepted, new.x, point.x),
            self._do("score", select, accepted, new.score, point.score),
            self._do("log_prob", select, accepted, new.log_prob, point.log_prob),
        )
        return state, Info(accepted, r, ~r.isfinite(), torch.ones_like(accepted), -r)

    def _do(self, step: str, right: Callable, *args: Tensor, **kwargs: Generator) -> Tensor:
        return self.broken.get(step, right)(*args, **kwargs)


def select(accepted: Tensor, new: Tensor, old: Tensor) -> Tensor:
    return torch.where(expand(accepted, old).bool(), new, old)


@final
@dataclass(frozen=True)
class Retry(Kernel[Evaluated]):
    """Rejected moves are tried again and not counted."""

    kernel: Kernel[Evaluated]

    def init(self, point: Point, *, generator: Generator = None) -> Evaluated:
        return self.kernel.init(point)

    def step(
        self, point: Point, state: Evaluated, step_size: Tensor, *, generator: Generator = None
    ) -> tuple[Evaluated, Info | None]:
        made, info = self.kernel.step(point, state, step_size, generator=generator)
        accepted = info.accepted
        for _ in range(10):
            again, told = self.kernel.step(point, state, step_size, generator=generator)
            made = Evaluated(*(select(accepted, one, two) for one, two in zip(made, again, strict=True)))
            accepted = accepted | told.accepted
        return made, info._replace(accepted=accepted)


class Moving(NamedTuple):
    """x and its momenta (B, *E), which outlive the step."""

    x: Tensor
    momenta: Tensor


@final
@dataclass(frozen=True)
class Persistent(Kernel[Moving]):
    """Horowitz's guided Monte Carlo: p <- c p + sqrt(1 - c^2) z, one leapfrog step of length sqrt(2 h), Metropolis's
    decision; where it rejects, the chain stays and its momenta turn round.

    Args:
        turns: False for the fault: a rejected chain keeps its momenta.
        persistence: c.
    """

    turns: bool = True
    persistence: float = 0.9

    def init(self, point: Point, *, generator: Generator = None) -> Moving:
        return Moving(point.x, normal(point.x, generator=generator))

    def step(
        self, point: Point, state: Moving, step_size: Tensor, *, generator: Generator = None
    ) -> tuple[Moving, Info | None]:
        e, c = (2 * expand(step_size, point.x)).sqrt(), self.persistence
        before = c * state.momenta + (1 - c**2) ** 0.5 * normal(point.x, generator=generator)
        halfway = before + e / 2 * point.score
        new = point.target.point(point.x + e * halfway)
        after = halfway + e / 2 * new.score
        r = new.log_prob - point.log_prob + sum_event(before.square() - after.square()) / 2
        accepted = uniform(r, generator=generator).log() < r
        rejected = -before if self.turns else before
        moving = Moving(select(accepted, new.x, point.x), select(accepted, after, rejected))
        return moving, Info(accepted, r, ~r.isfinite(), torch.ones_like(accepted), -r)


@final
@dataclass(frozen=True)
class Walk(Proposal):
    """Langevin's proposal, with the noise sqrt(noise h) and the ratio to be broken.

    Args:
        noise: 2 is right.
        ratio: what is made of (forward, backward), the squares of the two residuals (B, *E), and h.
        here: the score at x for that at y in q(x | y).
    """

    noise: float = 2.0
    ratio: Callable[[Tensor, Tensor, Tensor], Tensor] = lambda there, back, h: sum_event((there - back) / (4 * h))
    here: bool = False

    def propose(self, point: Point, step_size: Tensor, *, generator: Generator = None) -> Move:
        h = expand(step_size, point.x)
        z = normal(point.x, generator=generator)
        return Move((point, point.target.point(point.x + h * point.score + (self.noise * h).sqrt() * z)))

    def log_q_ratio(self, move: Move, step_size: Tensor) -> Tensor:
        x, y = move.path
        h = expand(step_size, x.x)
        there = (y.x - x.x - h * x.score).square()
        back = (x.x - y.x - h * (x if self.here else y).score).square()
        return self.ratio(there, back, h)


@final
@dataclass(frozen=True)
class Leap(Proposal):
    """A leapfrog trajectory with its parts to be broken.

    Args:
        num: how many steps.
        first, between, last: the kicks, in units of e. 1/2, 1, 1/2 are right.
        scale: of the momenta, () or a number a coordinate.
        kinetic: what is made of (|p_0|^2 - |p_n|^2) / 2 for each coordinate.
        fresh: redraw the momenta.
    """

    num: int = 4
    first: float = 0.5
    between: float = 1.0
    last: float = 0.5
    scale: float | tuple[float, ...] = 1.0
    kinetic: Callable[[Tensor], Tensor] = sum_event
    fresh: bool = True
    _kept: list[Tensor] = field(default_factory=list, compare=False, repr=False)

    @property
    def num_segments(self) -> int:
        return self.num

    def propose(self, point: Point, step_size: Tensor, *, generator: Generator = None) -> Move:
        z = proposals.normal(point.x, generator=generator)  # the name that `Play` patches
        z = z * torch.tensor(self.scale, dtype=point.x.dtype)
        before = p = z if self.fresh or not self._kept else self._kept[-1]
        e, path = (2 * expand(step_size, point.x)).sqrt(), [point]
        for i in range(self.num):
            p = p + (self.between if i else self.first) * e * path[-1].score
            path.append(point.target.point(path[-1].x + e * p))
        p = p + self.last * e * path[-1].score
        if not self.fresh:
            self._kept.append(p)
        return Move(tuple(path), (before, p))

    def log_q_ratio(self, move: Move, step_size: Tensor) -> Tensor:
        before, after = move.momenta or (move.path[0].x, move.path[0].x)
        return self.kinetic((before.square() - after.square()) / 2)
