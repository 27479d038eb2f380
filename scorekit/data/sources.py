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
    condition = source.condition(indices.to(device))

A batch lands on the device of its indices and is transformed there, so that bytes travel and not floats. What its
examples are conditioned on, if anything, is asked for by the same numbers; no transform touches it.
"""

from abc import ABC, abstractmethod
from collections.abc import Iterator
from typing import Protocol, final, runtime_checkable

import numpy as np
import torch
from torch import Tensor

from scorekit.data.arrays import as_tensor
from scorekit.data.conditions import checked_conditions, kind_of
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
        condition: what each example is conditioned on: labels (N,) int64 or vectors (N, D), a row for each example in
            their order; None for unconditional data.
    """

    def __init__(self, transform: Transform, condition: Tensor | None = None):
        self.transform, self._condition = transform, condition

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
    def condition(self, indices: Tensor) -> Tensor | None:
        """What the examples numbered `indices` (B,) are conditioned on, on the device of `indices`.

        Returns:
            Labels (B,) int64, or vectors (B, D) as they are stored; None where the data are unconditional.

        Raises:
            IndexError: for a number out of range.
        """
        if self._condition is None:
            return None
        rows = _in_range(indices, len(self._condition)).to(self._condition.device)
        return self._condition[rows].to(indices.device)

    @final
    @property
    def condition_kind(self) -> str:
        """What messages call the conditions: "no condition", "labels", "vectors of 3 numbers"."""
        return kind_of(self._condition)

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
        condition: labels (N,) int64 or vectors (N, D), or None.

    Raises:
        TypeError, ValueError: if the conditions are neither, or not one for each example.
    """

    def __init__(self, examples: Tensor, transform: Transform, condition: Tensor | None = None):
        super().__init__(transform, checked_conditions(condition, len(examples)))
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
        examples: the data set. What its items hold beside the example is not looked at: labels come by `condition`.
        transform: what each batch passes through.
        condition: labels (N,) int64 or vectors (N, D), or None.

    Raises:
        TypeError, ValueError: if the conditions are neither, or not one for each example.
    """

    def __init__(self, examples: Examples, transform: Transform, condition: Tensor | None = None):
        super().__init__(transform, checked_conditions(condition, len(examples)))
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
