"""What each example is conditioned on: a class label, or a vector of numbers.

A table of conditions has one row for each example, in their order:

    labels     (N,) int64, numbered from 0: condition[n] is the class of example n
    vectors    (N, D) floating point

A network is handed the rows of its batch, `f(x, sigma, condition)` with (B,) or (B, D): labels as they are, vectors in
the type of its weights.
"""

import torch
from torch import Tensor


def checked_conditions(condition: Tensor | None, num_examples: int) -> Tensor | None:
    """A table of conditions that fits `num_examples` examples, as it was given; None where there is none.

    Raises:
        TypeError: if it is neither int64 nor floating point.
        ValueError: if it is neither (N,) labels >= 0 nor (N, D) finite vectors, or N is not the number of examples.
    """
    if condition is None:
        return None
    shape = tuple(condition.shape)
    if condition.dtype != torch.int64 and not condition.is_floating_point():
        raise TypeError(
            f"condition: expected int64 labels (N,) or floating-point vectors (N, D); got {condition.dtype} of shape "
            f"{shape}"
        )
    if condition.is_floating_point() and not (condition.ndim == 2 and condition.shape[1] > 0):
        raise ValueError(f"condition: floating-point conditions are vectors (N, D); got {condition.dtype} of {shape}")
    if not condition.is_floating_point() and condition.ndim != 1:
        raise ValueError(f"condition: labels are one number for each example, (N,); got int64 of {shape}")
    if len(condition) != num_examples:
        raise ValueError(f"condition: expected one row for each of {num_examples} examples; got {len(condition)} rows")
    bad = ~condition.isfinite().all(1) if condition.is_floating_point() else condition < 0
    if bad.any():
        row = int(bad.nonzero()[0])
        rule = "finite numbers" if condition.is_floating_point() else "labels numbered from 0"
        raise ValueError(f"condition: expected {rule}; that of example {row} is {condition[row].tolist()}")
    return condition


def kind_of(condition: Tensor | None) -> str:
    """What messages call a table, or rows of one: "no condition", "labels", "vectors of 3 numbers"."""
    if condition is None:
        return "no condition"
    if condition.is_floating_point():
        return f"vectors of {condition.shape[-1]} number{'' if condition.shape[-1] == 1 else 's'}"
    return "labels"
