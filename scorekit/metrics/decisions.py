"""What a Metropolis-adjusted run decided: for each level and each chain, with nothing averaged over either.

One chain of a hundred that never moves, or one level of ten that rejects everything, is invisible in a mean acceptance;
so every count here has the shape (L, B), levels in the order of the visits, and the printed table shows extremes.
"""

import math
from dataclasses import dataclass
from typing import final

import torch
from torch import Tensor

from scorekit.base import Info
from scorekit.metrics.table import table
from scorekit.samplers import Chains

DIVERGENCE = 1000.0  # an energy error above it: the trajectory left the level sets for good

HEADS = (
    "sigma", "steps", "acceptance", "min", "max", "energy error", "max", "divergent", "nonfinite", "untrusted", "stuck",
)  # fmt: skip


@final
@dataclass(frozen=True, eq=False, repr=False)
class Decisions:
    """The kept decisions of a run, level by level and chain by chain. It prints as a table.

    Args:
        sigma: the levels in the order of the visits, (L,).
        steps: how many kept steps decided something, (L,), whole numbers.
        acceptance: the share of them that were accepted, (L, B).
        energy_error: the mean of total energy after minus before, over the finite ones, (L, B).
        divergent: how many had an energy error above 1000, infinity included, (L, B).
        nonfinite: how many had a ratio that is NaN or infinite, (L, B).
        untrusted: how many the line integral did not vouch for, (L, B).
        stuck: whether none of the chain's kept steps was accepted and its kept states are all the same, (L, B).
    """

    sigma: Tensor
    steps: Tensor
    acceptance: Tensor
    energy_error: Tensor
    divergent: Tensor
    nonfinite: Tensor
    untrusted: Tensor
    stuck: Tensor

    @property
    def rows(self) -> list[list[float | int]]:
        """One row a level, under `HEADS`: the mean, least and largest acceptance of a chain, the mean and largest
        energy error of a chain, and totals over the chains."""
        return [self._row(level) for level in range(len(self.sigma))]

    def _row(self, level: int) -> list[float | int]:
        acceptance, energy = self.acceptance[level], self.energy_error[level]
        counts = (self.divergent, self.nonfinite, self.untrusted, self.stuck)
        measured = energy[energy.isfinite()]
        largest = measured.max().item() if len(measured) else math.nan
        return [
            self.sigma[level].item(),
            int(self.steps[level]),
            *(value.item() for value in (acceptance.mean(), acceptance.min(), acceptance.max(), measured.mean())),
            largest,
            *(int(count[level].sum()) for count in counts),
        ]

    def __repr__(self) -> str:
        return table(HEADS, self.rows)


def acceptance_per_level(chains: Chains) -> Decisions:
    """What the kept steps of a run decided. For every decision of a run, `collect` with every=1.

    Args:
        chains: what `collect` kept of a run with a Metropolis-adjusted kernel.

    Returns:
        The counts, (L, B) each, for the levels at which something was decided.

    Raises:
        ValueError: if no kept step decided anything.
    """
    if chains.info is None:
        raise ValueError("no kept step decided anything: the kernel is unadjusted, or only transitions were kept")
    decided = _decided(chains.info).to(chains.sigma.device)
    sigma = chains.sigma[decided]
    if not len(sigma):
        raise ValueError(f"none of the {len(chains.sigma)} kept steps has a ratio: expected one decision at least")
    levels = torch.tensor(list(dict.fromkeys(sigma.tolist())), dtype=torch.float64)
    counts = [
        _count(chains.x, chains.info, (decided & (chains.sigma == level)).to(chains.x.device)) for level in levels
    ]
    steps = torch.stack([(sigma == level).sum() for level in levels])
    return Decisions(levels, steps, *map(torch.stack, zip(*counts, strict=True)))


def _decided(info: Info) -> Tensor:
    """Which updates decided anything (T,): `collect` gives the others a NaN ratio that is not called nonfinite."""
    return (~info.log_accept.isnan() | info.nonfinite).any(1)


def _count(x: Tensor, info: Info, here: Tensor) -> tuple[Tensor, ...]:
    """acceptance, energy error, divergent, nonfinite, untrusted, stuck of each chain over some steps: (B,) each."""
    x, info = x[here], Info(*(field[here] for field in info))
    accepted = info.accepted.double().mean(0)
    error = info.energy_error.double()
    finite = torch.where(error.isfinite(), error, torch.nan)
    still = (x == x[:1]).flatten(2).all(2).all(0)
    counts = (error > DIVERGENCE, info.nonfinite, ~info.trusted)
    return accepted, finite.nanmean(0), *(count.sum(0) for count in counts), still & (accepted == 0)
