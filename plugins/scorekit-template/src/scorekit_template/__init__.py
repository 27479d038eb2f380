"""The tamed Langevin algorithm for scorekit: a drift that cannot overshoot, however steep the density.

    y = x + h s(x) / (1 + h |s(x)|) + sqrt(2 h) z

is Langevin's move where h |s| is small, and at most 1 long in its drift where it is not (Brosse, Durmus, Moulines,
Sabanis, "The tamed unadjusted Langevin algorithm", 2019). As a proposal of a Metropolis kernel it is exact.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import final

from torch import Tensor

import scorekit as sk
from scorekit.base import GaussianProposal, Point, Proposal, Sampler, Start, expand, sum_event


@final
@dataclass(frozen=True)
class TemplateProposal(GaussianProposal):
    """y = x + h s / (1 + taming h |s|) + sqrt(2 h) z.

    Args:
        taming: 1 / the longest drift, >= 0; 0 is Langevin's move.

    Raises:
        ValueError: if taming is negative.
    """

    taming: float = 1.0

    def __post_init__(self):
        if not self.taming >= 0:
            raise ValueError(f"{self}: expected taming >= 0")

    def mean(self, point: Point, step_size: Tensor) -> Tensor:
        """x + h s / (1 + taming h |s|)."""
        drift = expand(step_size, point.x) * point.score
        length = sum_event(drift.square()).sqrt()
        return point.x + drift / expand(1 + self.taming * length, point.x)


def template_sampler(
    *,
    sigma: float = 0.0,
    step_size: float = 0.1,
    num_steps: int = 1000,
    taming: float = 1.0,
    start: Start = sk.Matched(),
) -> Sampler:
    """Metropolis's algorithm with the tamed proposal, at one noise level."""
    kernel = sk.MetropolisAdjusted(TemplateProposal(taming))
    return sk.AnnealedMCMC(kernel, sk.SingleLevel(sigma), sk.Constant(step_size), num_steps, start=start)


@sk.hookimpl
def scorekit_proposals() -> Mapping[str, Callable[..., Proposal]]:
    """The proposal by its name."""
    return {"template": TemplateProposal}


@sk.hookimpl
def scorekit_samplers() -> Mapping[str, Callable[..., Sampler]]:
    """The sampler by its name."""
    return {"template": template_sampler}
