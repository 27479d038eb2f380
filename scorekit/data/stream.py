"""Examples that can only be read in order: a DataLoader, or any iterable of batches."""

from collections.abc import Iterable, Iterator
from typing import final

import torch
from torch import Tensor

from scorekit.data.errors import mismatch
from scorekit.data.sources import Source, without_label
from scorekit.data.transforms import Compose, Transform


@final
class Stream(Source):
    """Examples from any iterable of batches: a DataLoader, an IterableDataset's loader, a list of tensors, a generator.

    The iterable is started anew when it is exhausted. Its batches may have any size; labels are dropped, and there are
    no conditions: nothing says to which example a row of them would belong. Loaders that shuffle draw their order from
    the generator they were given, or from torch's global one.

    Args:
        loader: yields batches, each a tensor or array (B, *E) or a tuple or list that starts with one.
        transform: what each batch passes through; None for nothing.
    """

    def __init__(self, loader: Iterable[object], transform: Transform | None = None):
        super().__init__(Compose() if transform is None else transform)
        self.loader = loader
        self._batches = self._endless()
        self._held: Tensor | None = None  # the loader's last batch
        self._first = 0  # the number of its first example
        self._next = 0  # the least number that may still be asked for

    @property
    def num_examples(self) -> None:
        """None: there is no random access."""
        return None

    def take(self, indices: Tensor) -> Tensor:
        """The examples with these increasing numbers."""
        return torch.stack([self._example(number) for number in indices.tolist()])

    def scan(self, batch_size: int) -> Iterator[Tensor]:
        """A fresh pass over the loader, in its own batches; not over an iterator, which can be read only once."""
        if isinstance(self.loader, Iterator):
            raise TypeError(
                f"a pass over {self.loader!r} would use it up: it is an iterator; give a loader that can be read again"
            )
        return (without_label(item, f"a batch of {self.loader!r}") for item in self.loader)

    def _example(self, number: int) -> Tensor:
        if number < self._next:
            raise mismatch(
                f"example {number} of a stream", f"a number of at least {self._next}", "one that has gone by"
            )
        while self._held is None or number >= self._first + len(self._held):
            self._first += 0 if self._held is None else len(self._held)
            self._held = next(self._batches)
        self._next = number + 1
        return self._held[number - self._first]

    def _endless(self) -> Iterator[Tensor]:
        count = 0
        while True:
            before = count
            for item in self.loader:
                batch = without_label(item, f"a batch of {self.loader!r}")
                count += len(batch)
                yield batch
            if count == before:
                found = f"none after {count}" + (": an iterator can be read only once" if count else "")
                raise mismatch(f"{self.loader!r}", "more examples", found)
