"""How many evaluations of the network a sample costs.

A sampler is run once on one chain of a stand-in with a Gaussian's score, which has whatever the real family has (a log
density or none, levels, constraints), and every call is counted: of the score, of the log density, of both together.
That is the real number for every sampler whose evaluations do not depend on the numbers that it meets, which is so of
all of `scorekit.samplers`: with L levels of T steps,

    annealed Langevin    L T                 Denoise() at the end    1 more
    annealed MALA        L (T + 1)           from a score alone      L (2 T + 1)
    annealed HMC         L (n T + 1)         from a score alone      L (2 n T + 1),  n leapfrog steps
    heun                 2 (L - 1)           Denoise() at the end    1 more
    ancestral            L - 1               Denoise() at the end    1 more

A formula for each would have to know of every kernel, transition and plugin; the count does not.
"""

from typing import final

import torch
from torch import Tensor

from scorekit._tensor import sum_event
from scorekit.base import Generator, Sampler, Target, TargetFamily, WrappedFamily


def evaluations_per_sample(sampler: Sampler, family: TargetFamily, event_shape: tuple[int, ...]) -> int:
    """Evaluations of the network for each sample: calls of its score, its log density, or both at once.

    Args:
        sampler: the sampler.
        family: what it would sample. Its network is not evaluated.
        event_shape: E.

    Returns:
        The number for one chain.
    """
    stand_in = _StandIn(family)
    x = torch.zeros(1, *event_shape, device=family.device, dtype=family.dtype)
    draws = torch.Generator(x.device).manual_seed(0)  # its draws cost a tenth of PerChain's
    for _ in sampler.steps(stand_in, x, generator=draws):
        pass
    return stand_in.count


@final
class _StandIn(WrappedFamily):
    """The family with the score of N(0, 1 + sigma^2), and a count of the calls."""

    def __init__(self, family: TargetFamily):
        self._family, self.count = family, 0

    @property
    def family(self) -> TargetFamily:
        return self._family

    def at(self, sigma: float, *, like: Tensor | None = None, generator: Generator = None) -> Target:
        real = self._family.at(sigma, like=like, generator=generator)
        variance = 1 + sigma**2

        def score(x: Tensor) -> Tensor:
            self.count += 1
            return -x / variance

        def log_prob(x: Tensor) -> Tensor:
            self.count += 1
            return -sum_event(x.square()) / (2 * variance)

        def both(x: Tensor) -> tuple[Tensor, Tensor]:
            self.count += 1
            return -sum_event(x.square()) / (2 * variance), -x / variance

        return Target(
            score,
            None if real.log_prob is None else log_prob,
            None if real.value_and_score is None else both,
            real.project,
        )
