"""What a training loop reads: examples by number, transformed.

There are two kinds of source. One with `num_examples` gives any example at any time, so the loop may shuffle, resume
inside an epoch and let each process take its slice of the global batch. A `Stream` has no random access (`num_examples`
is None): its examples are numbered in the order in which its loader yields them, epoch after epoch, and must be asked
for in increasing order. Numbers left out are read and dropped: that is how a run resumes (it meets the same examples
only if the loader yields the same order again) and how a process takes its slice of the global batch. A loop serves
both kinds:

    if source.num_examples is None:
        indices = torch.arange(step * size, (step + 1) * size)
    else:
        indices = the step's slice of a permutation of range(source.num_examples)
    x = source.batch(indices.to(device), generator=generator)

A batch lands on the device of its indices and is transformed there, so that bytes travel and not floats.
"""

from abc import ABC, abstractmethod
from collections.abc import Iterator
from typing import Protocol, final, runtime_checkable

import numpy as np
import torch
from torch import Tensor

from scorekit.data.arrays import as_tensor
from scorekit.data.errors import mismatch
from scorekit.data.transforms import Transform
from scorekit.random import Generator


@runtime_checkable
class Examples(Protocol):
    """A map-style data set: a length and examples by number, each a tensor or array (*E) or a tuple that starts so."""

    def __len__(self) -> int: ...

    def __getitem__(self, index: int, /) -> object: ...


class Source(ABC):
    """Examples by number.

    Args:
        transform: what each batch passes through.
    """

    def __init__(self, transform: Transform):
        self.transform = transform

    @property
    @abstractmethod
    def num_examples(self) -> int | None:
        """How many examples there are; None where they can only be read in order."""

    @abstractmethod
    def take(self, indices: Tensor) -> Tensor:
        """The examples numbered `indices` (B,) as they are stored: (B, *E)."""

    @abstractmethod
    def scan(self, batch_size: int) -> Iterator[Tensor]:
        """One pass over all examples as they are stored, in batches of about that size; `take` is not disturbed."""

    @final
    def batch(self, indices: Tensor, *, generator: Generator = None) -> Tensor:
        """The examples numbered `indices` (B,) int64, transformed: (B, *E) floating point, on the device of `indices`.

        Raises:
            TypeError: if the transformed batch is not floating point.
            ValueError: if an example is a single number without an axis.
            IndexError: for a number out of range.
            DataError: for an example that a stream has passed, or the end of the stream.
        """
        x = self.transform.forward(self.take(indices).to(indices.device), generator=generator)
        if not x.is_floating_point():
            raise TypeError(
                f"{self.transform}: a batch for training is floating point, this one is {x.dtype}; Dequantize(levels) "
                "turns grey levels into numbers"
            )
        if x.ndim < 2:
            raise ValueError(f"a batch for training: expected (B, *E), got {tuple(x.shape)}")
        return x

    @final
    def __len__(self) -> int:
        """`num_examples`; a TypeError where that is None."""
        if self.num_examples is None:
            raise TypeError(f"a {type(self).__name__} has no length: its examples can only be read in order")
        return self.num_examples


@final
class Indexed(Source):
    """Examples in one tensor.

    Args:
        examples: (N, *E).
        transform: what each batch passes through.
    """

    def __init__(self, examples: Tensor, transform: Transform):
        super().__init__(transform)
        self.examples = examples

    @property
    def num_examples(self) -> int:
        """N."""
        return len(self.examples)

    def take(self, indices: Tensor) -> Tensor:
        """Rows of the tensor."""
        return self.examples[_in_range(indices, self.num_examples).to(self.examples.device)]

    def scan(self, batch_size: int) -> Iterator[Tensor]:
        """Consecutive slices."""
        yield from self.examples.split(batch_size)


@final
class Mapped(Source):
    """Examples from a map-style data set, fetched one by one.

    Args:
        examples: the data set.
        transform: what each batch passes through.
    """

    def __init__(self, examples: Examples, transform: Transform):
        super().__init__(transform)
        self.examples = examples

    @property
    def num_examples(self) -> int:
        """The data set's length."""
        return len(self.examples)

    def take(self, indices: Tensor) -> Tensor:
        """The data set's items, stacked."""
        numbers = _in_range(indices, self.num_examples).tolist()
        items = [without_label(self.examples[number], f"example {number}") for number in numbers]
        for number, item in zip(numbers, items, strict=True):
            if item.shape != items[0].shape:
                raise mismatch(
                    f"example {number}",
                    f"the shape {tuple(items[0].shape)} of example {numbers[0]}",
                    str(tuple(item.shape)),
                )
        return torch.stack(items)

    def scan(self, batch_size: int) -> Iterator[Tensor]:
        """Consecutive batches."""
        for numbers in torch.arange(self.num_examples).split(batch_size):
            yield self.take(numbers)


def _in_range(indices: Tensor, count: int) -> Tensor:
    if indices.numel() and not (int(indices.min()) >= 0 and int(indices.max()) < count):
        raise IndexError(f"examples {int(indices.min())}..{int(indices.max())}: there are {count}, numbered from 0")
    return indices


def without_label(item: object, what: str) -> Tensor:
    """A batch or an example without its label."""
    first = item[0] if isinstance(item, tuple | list) and item else item
    if not isinstance(first, Tensor | np.ndarray):
        raise TypeError(
            f"{what}: expected a tensor or array, or a tuple that starts with one; got {type(first).__name__}"
        )
    return as_tensor(first)
