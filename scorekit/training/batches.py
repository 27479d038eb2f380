"""One piece of a batch as the model takes it: examples, and what they are conditioned on."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import NamedTuple

import torch
from torch import Tensor

from scorekit.base import Generator, ScoreModel
from scorekit.data.conditions import kind_of
from scorekit.data.sources import Source


class Batch(NamedTuple):
    """Examples and their conditions, row by row."""

    x: Tensor  # (B, *E)
    condition: Tensor | None  # (B,) int64 labels, (B, D) vectors, or None


def read(source: Source, indices: Tensor, dtype: torch.dtype | None, *, generator: Generator) -> Batch:
    """The examples numbered `indices` (B,), transformed, and their conditions: floating-point numbers in `dtype`."""
    x, condition = source.batch(indices, generator=generator).to(dtype), source.condition(indices)
    if condition is not None and condition.is_floating_point():
        condition = condition.to(dtype)
    return Batch(x, condition)


@contextmanager
def explained(step: int, model: ScoreModel, batch: Batch) -> Iterator[None]:
    """A network's complaint (no condition where it needs one, a label that it does not know) with the step and what it
    was given.
    """
    try:
        yield
    except (TypeError, ValueError, IndexError) as error:  # the last is how an embedding refuses a label
        kind = next(kind for kind in (TypeError, ValueError, IndexError) if isinstance(error, kind))
        parts = ", ".join(type(part).__name__ for part in model.children())
        raise kind(
            f"step {step}, {model.title}({parts}) on a batch {tuple(batch.x.shape)} with {_shown(batch.condition)}: "
            f"{error}"
        ) from error


def _shown(condition: Tensor | None) -> str:
    labels = condition is not None and not condition.is_floating_point()
    span = f" {int(condition.min())}..{int(condition.max())}" if labels else ""
    return kind_of(condition) + span
