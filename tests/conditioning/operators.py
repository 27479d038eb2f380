"""The operators that are tried, each with the shape of its events."""

import math

import torch
from torch import Tensor

from scorekit.conditioning import Blur, Downsample, Grayscale, Identity, LinearOperator, Mask, Matrix

BLUR = torch.tensor([[0.05, 0.1, 0.05], [0.1, 0.4, 0.1], [0.05, 0.1, 0.05]], dtype=torch.float64)
_GENERATOR = torch.Generator().manual_seed(0)
OPERATORS: dict[str, tuple[LinearOperator, tuple[int, ...]]] = {
    "identity": (Identity(), (1, 4, 4)),
    "mask": (Mask(torch.tensor([[[1, 1, 0, 0]] * 4])), (1, 4, 4)),
    "grayscale": (Grayscale(), (3, 2, 2)),
    "downsample": (Downsample(2), (1, 4, 4)),
    "blur": (Blur(BLUR), (1, 4, 4)),
    "matrix": (Matrix(torch.randn(5, 16, generator=_GENERATOR, dtype=torch.float64) / 4), (1, 4, 4)),
    "tall matrix": (Matrix(torch.randn(20, 16, generator=_GENERATOR, dtype=torch.float64) / 4), (1, 4, 4)),
}


def dense(operator: LinearOperator, event: tuple[int, ...]) -> Tensor:
    """The matrix (M, D) of an operator."""
    one = torch.eye(math.prod(event), dtype=torch.float64).reshape(-1, *event)
    return operator.forward(one).flatten(1).T
