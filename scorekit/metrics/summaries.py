"""One table for a run: how well it mixed, and what it decided, at each level."""

import math
from dataclasses import dataclass
from typing import NamedTuple, final

from scorekit.metrics.decisions import HEADS, Decisions, acceptance_per_level
from scorekit.metrics.mixing import MIN_STATES, at_level, effective_sample_size, split_r_hat, visited
from scorekit.metrics.table import table
from scorekit.samplers import Chains


class LevelMixing(NamedTuple):
    """How well the chains mixed at one level, by the worst coordinate; NaN where nothing can be said: fewer than four
    kept states, a coordinate that no chain changes or one that is not finite; for R-hat, one chain alone."""

    sigma: float
    states: int  # kept, of each chain
    chains: int
    ess: float  # the least bulk effective sample size of a coordinate, all chains together
    r_hat: float  # the largest split R-hat of a coordinate


@final
@dataclass(frozen=True, eq=False, repr=False)
class Summary:
    """What became of a run. It prints as a table of mixing, and one of decisions if a kernel decided anything.

    Args:
        levels: the mixing of each level, in the order of the visits.
        decisions: the counts of each level and chain; None for an unadjusted run.
    """

    levels: tuple[LevelMixing, ...]
    decisions: Decisions | None

    def __repr__(self) -> str:
        mixing = table(("sigma", "states", "chains", "min ESS", "max R-hat"), self.levels)
        return mixing if self.decisions is None else f"{mixing}\n\n{table(HEADS, self.decisions.rows)}"


def summary(chains: Chains) -> Summary:
    """Effective sample size, split R-hat and acceptance of each level of a run.

    Time grows with the coordinates: some milliseconds each. For images, give `Chains` of a few coordinates or of
    features.

    Args:
        chains: what `collect` kept: the states (T, B, *E), with their levels and decisions.

    Raises:
        ImportError: without arviz-stats (scorekit[diagnostics]).
    """
    decisions = None if chains.info is None else acceptance_per_level(chains)
    return Summary(tuple(_mixing(chains, sigma) for sigma in visited(chains)), decisions)


def _mixing(chains: Chains, sigma: float) -> LevelMixing:
    states, count = at_level(chains, sigma).x.shape[:2]
    if states < MIN_STATES:
        return LevelMixing(sigma, states, count, math.nan, math.nan)
    ess, r_hat = effective_sample_size(chains, sigma=sigma), split_r_hat(chains, sigma=sigma)
    return LevelMixing(sigma, states, count, ess.min().item(), r_hat.max().item())  # NaN wins in both
