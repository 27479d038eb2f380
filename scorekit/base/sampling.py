"""What samplers are put together from."""

from abc import ABC, abstractmethod
from collections.abc import Iterator
from typing import Any, ClassVar, Generic, final

import torch
from torch import Tensor

from scorekit._tensor import expand, sum_event, wide
from scorekit.base.families import TargetFamily
from scorekit.base.records import Info, Move, StateT, Step
from scorekit.random import Generator, normal
from scorekit.target import Point, Target


class Proposal(ABC):
    """A random move from the current point, with the ratio of its densities."""

    needs_score: ClassVar[bool] = True
    """False if it never asks for the score: then a known log density is all that a Metropolis kernel evaluates."""

    target_acceptance: ClassVar[float] = 0.574
    """The acceptance rate that tuning aims at: .574 for a move with a drift (Roberts and Rosenthal, 1998)."""

    @property
    def num_segments(self) -> int:
        """How many segments the path of a move has: 1 unless it visits points on its way."""
        return 1

    @abstractmethod
    def propose(self, point: Point, step_size: Tensor, *, generator: Generator = None) -> Move:
        """Draw a move. `step_size` is (), (B,) or (B, *E)."""

    @abstractmethod
    def log_q_ratio(self, move: Move, step_size: Tensor) -> Tensor:
        """log q(current | proposed) - log q(proposed | current), (B,), in float32 or better."""


class GaussianProposal(Proposal):
    """q(y | x) = N(y; mean(x, h), 2 h I): a new sampler is its `mean`, and the ratio of densities follows."""

    @abstractmethod
    def mean(self, point: Point, step_size: Tensor) -> Tensor:
        """The mean of the proposal from `point`, (B, *E)."""

    @final
    def propose(self, point: Point, step_size: Tensor, *, generator: Generator = None) -> Move:
        """Draw mean(x, h) + sqrt(2 h) z."""
        h = expand(step_size, point.x)
        proposed = self.mean(point, step_size) + (2 * h).sqrt() * normal(point.x, generator=generator)
        return Move((point, point.target.point(proposed)))

    @final
    def log_q_ratio(self, move: Move, step_size: Tensor) -> Tensor:
        """(|y - mean(x)|^2 - |x - mean(y)|^2) / 4h, summed over the event: (B,)."""
        current, proposed = move.path[0], move.path[-1]
        forward = (wide(proposed.x) - wide(self.mean(current, step_size))).square()
        backward = (wide(current.x) - wide(self.mean(proposed, step_size))).square()
        return sum_event((forward - backward) / (4 * wide(expand(step_size, current.x))))


class LineIntegral(ABC):
    """log p(y) - log p(x) from the score alone: its line integral along the path of a move."""

    min_segments: ClassVar[int] = 1
    """The fewest segments of a path that the rule can integrate over."""

    min_acceptance: ClassVar[float] = 0.0
    """The acceptance rate that tuning aims at, at least: that of the longest steps over which the rule is right."""

    @abstractmethod
    def __call__(self, path: tuple[Point, ...]) -> tuple[Tensor, Tensor]:
        """Integrate.

        Args:
            path: the points of a move; their scores are cached, those of other points cost an evaluation each.

        Returns:
            log p(last) - log p(first), (B,), in float32 or better, antisymmetric under reversal of the path; and
            whether the rule vouches for it, (B,) bool: a move that it does not is rejected.
        """


class Kernel(ABC, Generic[StateT]):
    """A Markov kernel on the chains' state at one noise level: pure tensor code, without a branch on a tensor's
    value."""

    adjusted: ClassVar[bool] = False
    """True if it leaves the target invariant by accepting or rejecting: a sampler then refuses a step size that depends
    on the state, which would break detailed balance."""

    @property
    def target_acceptance(self) -> float | None:
        """The acceptance rate that tuning aims at; None if the kernel names none."""
        return None

    @property
    def num_segments(self) -> int:
        """How many segments the path of its moves has: more than 1 for a trajectory, whose length tuning leaves alone
        under annealing."""
        return 1

    @abstractmethod
    def init(self, point: Point, *, generator: Generator = None) -> StateT:
        """The state to start a level with."""

    @abstractmethod
    def step(
        self, point: Point, state: StateT, step_size: Tensor, *, generator: Generator = None
    ) -> tuple[StateT, Info | None]:
        """One step from `point`. Info is None where nothing is decided.

        The point is the state's own, except where a family is asked again before every step: then it is the state's x
        under the new target, and what the state carries of score and log density is out of date. Read `point`.
        """

    @final
    def point(self, target: Target, state: StateT) -> Point:
        """The point that a state stands for, with what the state carries of its score and log density."""
        carried = state._asdict()
        return Point(target, state.x, score=carried.get("score"), log_prob=carried.get("log_prob"))


class StepSize(ABC):
    """A pure rule for the step size h at a noise level."""

    uses_point: ClassVar[bool] = False
    """True if h depends on the state: no Metropolis-adjusted kernel takes such a rule, since it breaks detailed
    balance."""

    @abstractmethod
    def __call__(self, sigma: float, point: Point) -> Tensor:
        """h as (), (B,) or (B, *E): a step for each coordinate is a diagonal mass."""


class Transition(ABC):
    """A move of the chains from one noise level to the next."""

    only_final: ClassVar[bool] = False
    """True if it moves to sigma = 0 only, and so can only be a sampler's last move."""

    @abstractmethod
    def move(
        self,
        family: TargetFamily,
        point: Point,
        target: Target,
        sigma_from: float,
        sigma_to: float,
        carry: Any = None,
        *,
        generator: Generator = None,
    ) -> tuple[Tensor, Any]:
        """Move the chains.

        Args:
            family: the targets at every level.
            point: the chains at `sigma_from`, whose score may be known already.
            target: `family.at(sigma_to)`.
            sigma_from, sigma_to: the two levels.
            carry: what the transition before returned; None at the first.
            generator: where noise is drawn from.

        Returns:
            The new x (the very tensor `point.x` if nothing was done) and the history for the next transition.
        """


class Start(ABC):
    """The law of a sampler's initial state."""

    @abstractmethod
    def draw(
        self, like: Tensor, sigma: float, *, family: TargetFamily | None = None, generator: Generator = None
    ) -> Tensor:
        """Initial chains shaped like `like` (B, *E) for a first noise level `sigma`."""


class Sampler(ABC):
    """Where chains start, and the steps they take through a family of targets."""

    @abstractmethod
    def initial(
        self,
        shape: tuple[int, ...],
        *,
        family: TargetFamily | None = None,
        generator: Generator = None,
        device: torch.device | str | None = None,
        dtype: torch.dtype | None = None,
    ) -> Tensor:
        """Initial chains of the given shape (B, *E)."""

    @abstractmethod
    def steps(self, family: TargetFamily, x: Tensor, *, generator: Generator = None) -> Iterator[Step]:
        """Check the pair of sampler and family at once, then yield every update of the chains that start at x."""

    @abstractmethod
    def num_updates(self) -> int:
        """How many updates `steps` yields at most, a last projection onto a family's hard constraints not counted: what
        a progress bar counts to."""

    @property
    def fixed_step_size(self) -> StepSize | None:
        """The rule for h, where it takes steps whose size does not depend on the state; None otherwise."""
        return None
