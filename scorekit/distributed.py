"""Sampling on several processes: the same chains whatever their number.

The chains are cut into chunks of a fixed size; chunk k is drawn by process k mod P. Chain i has its own stream, and
a chunk is always computed as one batch of the same size, so that P decides neither what is drawn nor the order of a
sum.
"""

import math

import torch
from einops import rearrange
from torch import Tensor

from scorekit.base import PerChain, Sampler, TargetFamily
from scorekit.samplers import sample
from scorekit.training.runtime import Runtime


def sample_on_processes(
    runtime: Runtime,
    sampler: Sampler,
    family: TargetFamily,
    shape: tuple[int, ...],
    *,
    generator: PerChain,
    batch_size: int,
    progress: bool = False,
) -> Tensor:
    """Run a sampler on all processes of a runtime; each gets all the chains.

    Args:
        runtime: whose processes share the work.
        sampler: the sampler.
        family: the targets of all chains, on the runtime's device; the same on every process.
        shape: (B, *E).
        generator: the chains' streams.
        batch_size: the size of a chunk. Another size changes the chains by rounding.
        progress: show the main process's progress.

    Returns:
        (B, *E), on the CPU.

    Raises:
        TypeError: if the generator has not one stream for each chain.
        ValueError: if batch_size < 1 or shape has no chain; if the family is one for other chains; from `sample`.
    """
    if not isinstance(generator, PerChain):
        raise TypeError(
            f"sample_on_processes(generator={generator!r}): expected a PerChain: other generators' draws depend on "
            "how the chains are cut into chunks"
        )
    if batch_size < 1 or not shape or shape[0] < 1:
        raise ValueError(
            f"batch_size = {batch_size}, shape {tuple(shape)}: expected batch_size >= 1 and a shape (B, *E) with B >= 1"
        )
    family.rows(0, shape[0], shape)  # refuses what does not fit on every process, before any of them waits for others
    rounds = math.ceil(shape[0] / (batch_size * runtime.num_processes))
    mine = torch.zeros(rounds, batch_size, *shape[1:], dtype=family.dtype)
    for number, place in enumerate(mine):
        first = (number * runtime.num_processes + runtime.rank) * batch_size
        count = min(batch_size, shape[0] - first)
        if count > 0:
            streams, rows = generator.shift(first), family.rows(first, count, shape)
            shown = progress and runtime.rank == 0
            place[:count] = sample(sampler, rows, (count, *shape[1:]), generator=streams, progress=shown).cpu()
    everyone = runtime.gather(mine)
    return rearrange(everyone, "process round b ... -> (round process b) ...")[: shape[0]]
