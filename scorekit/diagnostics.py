r"""What a run of a sampler did, level by level, without an evaluation more than the run itself makes.

NCSN's rationale for h proportional to sigma^2 is that the signal-to-noise ratio of an update,

    |h s| / |sqrt(2 h) z|  =  sqrt(h / 2) |s| / |z|,        |z| about sqrt(D),

is then the same at every level, because |s| goes as 1 / sigma (Song and Ermon, arXiv 1907.05600, section 4.3).
"""

import math
from collections.abc import Callable
from typing import NamedTuple, final

from torch import Tensor

from scorekit.base import Generator, Point, StepSize, Target, TargetFamily, WrappedFamily, sum_event


class LevelRecord(NamedTuple):
    """One noise level of a run."""

    sigma: float
    evaluations: int  # calls of the score
    score_norm: float  # mean over calls and chains of |s|
    step_size: float  # h
    signal_to_noise: float  # sqrt(h / 2) |s| / sqrt(D)


class _Seen(NamedTuple):
    calls: int
    norm: Tensor  # the sum over calls of the mean over chains of |s|; it stays on the chains' device
    point: Point  # the first chain, at the last call


@final
class RecordScores(WrappedFamily):
    """A family that remembers, for each noise level, how often its score was evaluated and how large it was.

    Give it to a sampler in the place of the family it wraps; the chains are the same.

    Args:
        family: the family to watch.
    """

    def __init__(self, family: TargetFamily):
        self._family = family
        self._seen: dict[float, _Seen] = {}

    @property
    def family(self) -> TargetFamily:
        """The family being watched."""
        return self._family

    def at(self, sigma: float, *, like: Tensor | None = None, generator: Generator = None) -> Target:
        """The family's target, watched."""
        target = self._family.at(sigma, like=like, generator=generator)
        return Target(self._watched(target.score, sigma), target.log_prob, None, target.project)

    def _watched(self, score: Callable[[Tensor], Tensor], sigma: float) -> Callable[[Tensor], Tensor]:
        def evaluate(x: Tensor) -> Tensor:
            value = score(x)
            norm = sum_event(value.double().square()).sqrt().mean()
            before = self._seen.get(sigma)
            one = Point(Target(score), x[:1], score=value[:1])
            self._seen[sigma] = (
                _Seen(1, norm, one) if before is None else _Seen(before.calls + 1, before.norm + norm, one)
            )
            return value

        return evaluate

    def report(self, step_size: StepSize) -> list[LevelRecord]:
        """The record of each level visited, in the order of the visits.

        Args:
            step_size: the sampler's rule; h is its mean over the event where it is not one number.

        Raises:
            ValueError: if the rule depends on the state: it has no one h at a level.
        """
        if step_size.uses_point:
            raise ValueError(f"{step_size} depends on the state: there is no one step size at a level to report")
        rows = []
        for sigma, (calls, total, point) in self._seen.items():
            norm = total.item() / calls
            h = step_size(sigma, point).double().mean().item()
            snr = math.sqrt(h / 2) * norm / math.sqrt(point.x.numel())
            rows.append(LevelRecord(sigma, calls, norm, h, snr))
        return rows
