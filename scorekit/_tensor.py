"""The only broadcasting idioms of scorekit, `expand` and `sum_event`, for states of shape (B, *E): one batch axis B
(the chains), an event E of any rank >= 1; the precision that log ratios are summed in; and tensors that are kept."""

from collections.abc import Callable
from functools import cached_property
from typing import Any, TypeVar

import torch
from torch import Tensor

Kept = TypeVar("Kept")


def expand(value: Tensor, like: Tensor) -> Tensor:
    """Give `value` the trailing axes that let it broadcast against `like`.

    Args:
        value: () for one number, (B,) for one number per chain, or (B, *E) for one per coordinate.
        like: a state of shape (B, *E).

    Returns:
        `value` in the dtype and on the device of `like`, with shape (), (B, 1, ..., 1) or (B, *E).

    Raises:
        ValueError: if `value` has another shape; one that merely broadcasts is another shape.
    """
    value = value.to(dtype=like.dtype, device=like.device)
    if value.ndim == 0 or value.shape == like.shape:
        return value
    if value.shape != like.shape[:1]:
        raise ValueError(
            f"cannot broadcast a value of shape {tuple(value.shape)} against a state of shape "
            f"{tuple(like.shape)}: expected (), (B,) or the state's own shape"
        )
    return value.reshape(value.shape + (1,) * (like.ndim - 1))


def sum_event(value: Tensor) -> Tensor:
    """Sum (B, *E) over every event axis: (B,)."""
    return value.flatten(1).sum(1)


def wide(value: Tensor) -> Tensor:
    """`value` in float32 if its type is narrower: in bfloat16 an image's log ratio is off by 5."""
    return value.to(torch.promote_types(value.dtype, torch.float32))


def lasting_property(make: Callable[[Any], Kept]) -> cached_property[Kept]:
    """A property whose tensors are made once, and as ordinary ones even if first asked for under inference mode: a
    tensor of that mode could not take part in autograd later."""
    return cached_property(torch.inference_mode(False)(make))
