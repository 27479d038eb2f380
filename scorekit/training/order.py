"""The order of the data: one permutation after another, cut into batches.

Epoch e visits the N examples in the order of a permutation that depends on the seed and e alone. The epochs are laid
end to end, and step n takes places (n - 1) B to n B - 1 of that line. So every example is used once an epoch, no
partial batch is dropped (a batch may span two epochs, or many where N < B), and a place in the line is all there is
to remember for going on inside an epoch.
"""

import zlib
from typing import final

import torch
from torch import Tensor

from scorekit.random import threefry, uniform

_LABEL = zlib.crc32(b"order")


@final
class DataOrder:
    """Which examples stand at which places.

    Args:
        num_examples: N; None for a stream, whose examples come in their own order.
        seed: an integer in [0, 2^63).
    """

    def __init__(self, num_examples: int | None, seed: int):
        self.num_examples, self.seed = num_examples, seed
        self._epoch = -1
        self._permutation = torch.empty(0, dtype=torch.int64)

    def indices(self, first: int, count: int) -> Tensor:
        """The examples at places first .. first + count - 1: (count,) int64 on the CPU."""
        if self.num_examples is None:
            return torch.arange(first, first + count)
        parts: list[Tensor] = []
        while count > 0:
            epoch, place = divmod(first, self.num_examples)
            part = self._order_of(epoch)[place : place + count]
            parts.append(part)
            first, count = first + len(part), count - len(part)
        return parts[0] if len(parts) == 1 else torch.cat(parts)

    def _order_of(self, epoch: int) -> Tensor:
        if epoch != self._epoch:
            high, low = threefry((self.seed & 0xFFFFFFFF, self.seed >> 32), (epoch, _LABEL))
            sequential = torch.Generator().manual_seed(high << 31 | low >> 1)  # a stream an example would be slow
            unit = uniform(torch.empty(self.num_examples or 0, dtype=torch.float64), generator=sequential)
            self._epoch, self._permutation = epoch, unit.argsort(stable=True)
        return self._permutation
