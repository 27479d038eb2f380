"""Work on chunks that several processes share, with the results in order on every one of them.

In each round, process r computes chunk round * P + r, and all processes exchange their rows. A chunk is always
computed as one batch, so neither a row nor the order of a sum depends on P.
"""

from collections.abc import Callable, Iterator

import torch
from torch import Tensor

from scorekit.training.runtime import Runtime


def in_order(
    runtime: Runtime, num_chunks: int, sizes: Callable[[int], int], compute: Callable[[int], tuple[Tensor, ...]]
) -> Iterator[tuple[Tensor, ...]]:
    """The rows of every chunk, chunk after chunk.

    Args:
        runtime: whose processes share the chunks. Every one iterates to the end.
        num_chunks: how many there are, >= 1.
        sizes: number -> rows of a chunk; the first is the largest.
        compute: number -> tensors with that many rows.
    """
    for begin in range(0, num_chunks, runtime.num_processes):
        mine = begin + runtime.rank
        rows = compute(min(mine, num_chunks - 1))  # a process without a chunk sends something of the same shape
        everyone = [runtime.gather(_padded(each, sizes(0))) for each in rows]
        for rank in range(min(runtime.num_processes, num_chunks - begin)):
            yield tuple(each[rank, : sizes(begin + rank)] for each in everyone)


def _padded(rows: Tensor, size: int) -> Tensor:
    return torch.cat([rows, rows.new_zeros(size - len(rows), *rows.shape[1:])])
