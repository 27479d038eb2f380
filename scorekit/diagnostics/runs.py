r"""What a run of a sampler did, level by level, without an evaluation more than the run itself makes.

NCSN's rationale for h proportional to sigma^2 is that the signal-to-noise ratio of an update,

    |h s| / |sqrt(2 h) z|  =  sqrt(h / 2) |s| / |z|,        |z| about sqrt(D),

is then the same at every level, because |s| goes as 1 / sigma (Song and Ermon, arXiv 1907.05600, section 4.3).
"""

import math
from collections.abc import Callable
from typing import NamedTuple, TypeAlias, final

import torch
from torch import Tensor

from scorekit.base import Generator, Point, StepSize, Target, TargetFamily, TensorFunction, WrappedFamily, sum_event
from scorekit.target import identity

_ValueAndScore: TypeAlias = Callable[[Tensor], tuple[Tensor, Tensor]]


class LevelRecord(NamedTuple):
    """One noise level of a run."""

    sigma: float
    evaluations: int  # of the score, for each chain
    score_norm: float  # mean of |s| over evaluations and chains
    step_size: float | None  # h; None where there is no one h
    signal_to_noise: float | None  # sqrt(h / 2) |s| / sqrt(D)


class _Seen(NamedTuple):
    calls: int  # in the first run
    chains: int  # evaluations times chains, over all runs
    norm: Tensor  # the sum of |s| over those; it stays on the chains' device
    point: Point  # the first chain, at the first call


@final
class RecordRun(WrappedFamily):
    """A family that remembers how it was sampled. Give it to a sampler in the place of the family it wraps.

    The chains are the same, and no evaluation is added: it sees the states at which the sampler asks for the score.

    Args:
        family: the family to watch.
        chains: how many chains' states to keep.
        every: keep the states of one evaluation in so many.

    Raises:
        ValueError: if chains < 0 or every < 1.
    """

    def __init__(self, family: TargetFamily, *, chains: int = 0, every: int = 1):
        if chains < 0 or every < 1:
            raise ValueError(f"RecordRun(chains={chains}, every={every}): expected chains >= 0 and every >= 1")
        self._family = self._running = family
        self._chains, self._every = chains, every
        self._seen: dict[float, _Seen] = {}
        self._states: list[Tensor] = []
        self._first_run, self._sigma = True, math.inf
        self._evaluations, self._evaluated = 0, False  # in all; since the last target

    @property
    def family(self) -> TargetFamily:
        """The family being watched."""
        return self._family

    def rows(self, first: int, count: int, shape: tuple[int, ...]) -> TargetFamily:
        """Itself, which watches the family's rows from here on: the record is that of all chains."""
        self._running = self._family.rows(first, count, shape)
        return self

    @property
    def states(self) -> Tensor:
        """The states kept in the first run (T, chains, *E), the initial one first, the last update not among them."""
        return torch.stack(self._states) if self._states else torch.empty(0)

    def at(self, sigma: float, *, like: Tensor | None = None, generator: Generator = None) -> Target:
        """The family's target, watched."""
        again = sigma == 0 == self._sigma and self._evaluated and self._family.refresh == "level"
        if sigma > self._sigma or again:  # sigma falls within a run: this is the end of the first, or a second
            self._first_run = False
        self._sigma, self._evaluated = sigma, False
        target = self._running.at(sigma, like=like, generator=generator)
        both = None if target.value_and_score is None else self._watched_both(target.value_and_score, sigma)
        return Target(self._watched(target.score, sigma), target.log_prob, both, target.project)

    def _watched(self, score: TensorFunction, sigma: float) -> TensorFunction:
        def evaluate(x: Tensor) -> Tensor:
            value = score(x)
            self._remember(x, value, sigma)
            return value

        return evaluate

    def _watched_both(self, value_and_score: _ValueAndScore, sigma: float) -> _ValueAndScore:
        def evaluate(x: Tensor) -> tuple[Tensor, Tensor]:
            value, score = value_and_score(x)
            self._remember(x, score, sigma)
            return value, score

        return evaluate

    def _remember(self, x: Tensor, score: Tensor, sigma: float) -> None:
        norm = sum_event(score.double().square()).sqrt().sum()
        calls, chains, total, point = self._seen.get(
            sigma, _Seen(0, 0, torch.zeros_like(norm), Point(Target(identity), x[:1].clone()))
        )
        self._seen[sigma] = _Seen(calls + self._first_run, chains + len(x), total + norm, point)
        if self._first_run and self._chains and self._evaluations % self._every == 0:
            self._states.append(x[: self._chains].to("cpu", copy=True))
        self._evaluations, self._evaluated = self._evaluations + 1, True

    @property
    def evaluations(self) -> int:
        """How often the score was evaluated, for each chain, in the first run."""
        return sum(seen.calls for seen in self._seen.values())

    def levels(self, step_size: StepSize | None = None) -> list[LevelRecord]:
        """The record of each level visited, in the order of the visits, over all runs of this process.

        Args:
            step_size: the sampler's rule; h is its mean over the event where it is not one number. None if the sampler
                takes no steps, or none of a size known beforehand.

        Raises:
            ValueError: if the rule depends on the state: it has no one h at a level.
        """
        if step_size is not None and step_size.uses_point:
            raise ValueError(f"{step_size} depends on the state: there is no one step size at a level to report")
        rows = []
        for sigma, (calls, chains, total, point) in self._seen.items():
            norm = total.item() / chains
            h = None if step_size is None else step_size(sigma, point).double().mean().item()
            snr = None if h is None else math.sqrt(h / 2) * norm / math.sqrt(point.x.numel())
            rows.append(LevelRecord(sigma, calls, norm, h, snr))
        return rows
