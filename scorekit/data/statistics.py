r"""The mean and standard deviation of the data as the model sees them, coordinate by coordinate.

With N examples x_n and a random transform T (dequantisation noise, flips), in each coordinate

    mean = 1/N sum_n E T(x_n),        std^2 = 1/N sum_n E T(x_n)^2 - mean^2.

The expectation over what T draws is taken without drawing (`Transform.branches`). For T(k) = (k + u) / levels that is
exact,

    mean = (mean of k + 1/2) / levels,        std^2 = (variance of k + 1/12) / levels^2.

Sums run in float64 over batches, each batch's mean and sum of squared deviations merged into the running ones (Chan,
Golub and LeVeque, 1983), so that data far from zero lose no digits.
"""

from collections.abc import Iterator
from typing import NamedTuple

import torch
from torch import Tensor

from scorekit.data.sources import Source
from scorekit.data.transforms import Transform

_BATCH = 256
_NUMBERS = 2**18  # in one piece: a branch of it takes 2 MB


class _Summary(NamedTuple):
    count: int
    mean: Tensor  # (*E)
    squares: Tensor  # (*E): sum of squared deviations from the mean


def moments(source: Source, num_examples: int | None = None) -> tuple[Tensor, Tensor]:
    """Mean (*E) and standard deviation (*E) of the transformed examples, float64 on the CPU.

    Args:
        source: from `as_source`. One pass is made over it; a stream that never ends needs `num_examples`.
        num_examples: how many examples to use, from the first on; None for all.

    Raises:
        ValueError: if there is no example to use.
        TypeError: for a stream over an iterator, which a pass would use up.
    """
    if num_examples is not None and num_examples < 1:
        raise ValueError(f"moments(num_examples={num_examples}): at least one example is needed")
    found: _Summary | None = None
    for x in _pieces(source, num_examples):
        summary = _summarise(source.transform, x)
        found = summary if found is None else _merged(found, summary)
    if found is None:
        raise ValueError(f"moments: {source} has no example")
    return found.mean, (found.squares / found.count).sqrt()


def _pieces(source: Source, num_examples: int | None) -> Iterator[Tensor]:
    """The first `num_examples` stored examples, a bounded amount of numbers at a time."""
    left = num_examples
    for stored in source.scan(_BATCH):
        wanted = stored if left is None else stored[:left]
        if len(wanted):
            yield from wanted.split(max(1, _NUMBERS // wanted[0].numel()))
        if left is not None:
            left -= len(wanted)
            if left == 0:
                return


def _summarise(transform: Transform, x: Tensor) -> _Summary:
    x = x.cpu().double() if x.is_floating_point() else x.cpu()
    branches = [(weight, y.double()) for weight, y in transform.branches(x, transform.num_nodes)]
    mean = torch.stack([weight * y.mean(0) for weight, y in branches]).sum(0)
    squares = torch.stack([weight * (y - mean).square().sum(0) for weight, y in branches]).sum(0)
    return _Summary(len(x), mean, squares)


def _merged(a: _Summary, b: _Summary) -> _Summary:
    count, shift = a.count + b.count, b.mean - a.mean
    mean = a.mean + shift * (b.count / count)
    return _Summary(count, mean, a.squares + b.squares + shift.square() * (a.count * b.count / count))
