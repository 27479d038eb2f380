r"""Products with the Jacobian J of a score, by reverse mode: v -> v' J(x), one backward pass each.

In eager code the double backward (a loss made of v' J v, differentiated again for the parameters) is faster than
forward mode, 2.2 against 3.9 times the cost of denoising's gradient.
"""

from collections.abc import Callable
from typing import TypeAlias

import torch
from torch import Tensor

from scorekit.base import TensorFunction, sum_event

Pullback: TypeAlias = Callable[[Tensor], Tensor]

_NO_PATH = (
    "this estimator needs the derivative of the score in x, and there is no differentiable path from x to the score. "
    "Its expected cause: the score is constant in x, it is detached, or it is a gradient that was taken without "
    "create_graph=True (write it with torch.func.grad)"
)


def linearise(score: TensorFunction, x: Tensor) -> tuple[Tensor, Pullback]:
    """s(x), and the function v -> v' J(x) of (B, *E).

    Where the caller is differentiating, both can be differentiated again; under `torch.no_grad` (a held-out loss)
    autograd is on only inside, and what comes out holds no graph.

    What is found here without reading a value: no path from x to s(x). A path whose derivative is 0 in every number
    (the second derivative of a ReLU network) is not: see `check_curvature`.

    Raises:
        ValueError: if s(x) does not depend on x through a differentiable path, or autograd cannot be on (inference
            mode).
    """
    if torch.is_inference_mode_enabled():
        raise ValueError(
            "this estimator differentiates the score, which torch.inference_mode() rules out: evaluate it under "
            "torch.no_grad()"
        )
    differentiating = torch.is_grad_enabled()
    with torch.enable_grad():
        leaf = x if x.requires_grad else x.detach().requires_grad_()
        value = score(leaf)
    if not value.requires_grad:
        raise ValueError(_NO_PATH)

    def pull(v: Tensor) -> Tensor:
        (row,) = torch.autograd.grad(value, leaf, v, retain_graph=True, create_graph=differentiating, allow_unused=True)
        if row is None:
            raise ValueError(_NO_PATH)
        return row

    return (value if differentiating else value.detach()), pull


def trace(pull: Pullback, like: Tensor) -> Tensor:
    """tr J (B,), summed over the d coordinates of the event: d products, of which one entry each is used."""
    coordinates = torch.arange(like[0].numel(), device=like.device).reshape(like.shape[1:])
    directions = ((coordinates == i).to(like.dtype).expand_as(like) for i in range(coordinates.numel()))
    return torch.stack([sum_event(pull(e) * e) for e in directions]).sum(0)
