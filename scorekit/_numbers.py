"""Nested tuples of Python floats: how a frozen dataclass holds an array, so that it compares, prints and writes it."""

from collections.abc import Sequence
from typing import TypeAlias

import numpy as np
from torch import Tensor

Numbers: TypeAlias = float | Sequence["Numbers"]


def as_numbers(value: Numbers | Tensor | np.ndarray) -> Numbers:
    """Nested tuples of Python floats: what a frozen dataclass compares, prints and writes to JSON."""
    array = value.detach().cpu().double().numpy() if isinstance(value, Tensor) else np.asarray(value, dtype=np.float64)
    return _nested(array.astype(np.float64).tolist())


def _nested(value: float | list) -> Numbers:
    return tuple(_nested(item) for item in value) if isinstance(value, list) else value
