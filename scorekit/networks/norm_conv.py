r"""Normalise, activate, convolve: the step that a RefineNet repeats, as one autograd node.

    z = norm(x)        the conditional norm of `norm.py`
    y = ELU(z)         or z
    out = conv(y)      the convolution of `convolution.py`

Plain autograd keeps x, x - mu, z and y for the backward pass; the node keeps x and its statistics, and computes the
rest again. Its backward pass is put together from the first derivatives in those two files. Without a norm, y is all
that has to be kept. Where a derivative is itself to be differentiated, and under `torch.func`'s transforms (jvp among
them), the same arithmetic goes through plain autograd instead. Forward mode by `torch.autograd.forward_ad` alone is
not supported.
"""

from collections.abc import Callable
from typing import Any, NamedTuple, final

import torch
import torch.nn.functional as F
from torch import Tensor

from scorekit.networks.convolution import Geometry, convolve, convolve_backward
from scorekit.networks.norm import Statistics, normalise, normalise_again, normalise_backward


class Elementwise(NamedTuple):
    """The node up to its convolution: what costs passes over memory, not arithmetic."""

    forward: Callable[[Tensor, Tensor], tuple[Tensor, Statistics]]  # (x, style) -> y and the statistics of x
    again: Callable[[Tensor, Tensor, Statistics], Tensor]  # (x, style, statistics) -> y
    backward: Callable[[Tensor, Tensor, Tensor, Tensor, Statistics], tuple[Tensor, Tensor]]
    # (gradient at y, y, x, style, statistics) -> the gradients at x and style
    unnormed: Callable[[Tensor], Tensor]  # x -> y without the norm


def _elu(x: Tensor, style: Tensor) -> tuple[Tensor, Statistics]:
    z, known = normalise(x, style)
    return F.elu_(z), known


def _elu_again(x: Tensor, style: Tensor, known: Statistics) -> Tensor:
    return F.elu_(normalise_again(x, style, known))


def _elu_backward(grad: Tensor, y: Tensor, x: Tensor, style: Tensor, known: Statistics) -> tuple[Tensor, Tensor]:
    return normalise_backward(torch.ops.aten.elu_backward(grad, 1, 1, 1, True, y), x, style, known)


def _linear_backward(grad: Tensor, y: Tensor, x: Tensor, style: Tensor, known: Statistics) -> tuple[Tensor, Tensor]:
    return normalise_backward(grad, x, style, known)


def _elu_alone(x: Tensor) -> Tensor:
    return F.elu(x) if _by_plain_autograd() else _Elu.apply(x)


def _identity(x: Tensor) -> Tensor:
    return x


ELU = Elementwise(_elu, _elu_again, _elu_backward, _elu_alone)
LINEAR = Elementwise(normalise, normalise_again, _linear_backward, _identity)


def norm_conv(
    x: Tensor, style: Tensor | None, weight: Tensor, bias: Tensor | None, parts: Elementwise, geometry: Geometry
) -> Tensor:
    """conv(ELU(norm(x))), or conv(norm(x)).

    Args:
        x: (B, C, H, W).
        style: the norm's rows (B, 3 C); None for no norm.
        weight, bias: the convolution's (C', C, k, k) and (C',).
        parts: `ELU` or `LINEAR`.
        geometry: the convolution's.
    """
    if style is None:
        return convolve(parts.unnormed(x), weight, bias, geometry)
    if torch.is_autocast_enabled(x.device.type):
        dtype = torch.get_autocast_dtype(x.device.type)
        weight, bias = weight.to(dtype), None if bias is None else bias.to(dtype)
    if _by_plain_autograd():
        return norm_conv_plain(x, style, weight, bias, parts, geometry)
    return _NormConv.apply(x, style, weight, bias, parts, geometry)


def _by_plain_autograd() -> bool:
    """Whether a node of our own would be of no use, or is not understood."""
    transformed = torch._C._are_functorch_transforms_active()
    return transformed or torch.compiler.is_compiling() or not torch.is_grad_enabled()


def norm_conv_plain(
    x: Tensor, style: Tensor, weight: Tensor, bias: Tensor | None, parts: Elementwise, geometry: Geometry
) -> Tensor:
    """The same by plain autograd. The norm works in the style's precision, the convolution in the weight's."""
    y, _ = parts.forward(x.to(style.dtype), style)
    return convolve(y.to(weight.dtype), weight, bias, geometry)


@final
class _Elu(torch.autograd.Function):
    """ELU that keeps its output, which the convolution after it keeps anyway, and not its input."""

    @staticmethod
    def forward(ctx: Any, *inputs: Any) -> Tensor:
        y = F.elu(*inputs)
        ctx.save_for_backward(y)
        return y

    @staticmethod
    def backward(ctx: Any, *gradients: Any) -> Any:
        return torch.ops.aten.elu_backward(*gradients, 1, 1, 1, True, *ctx.saved_tensors)


@final
class _NormConv(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, *inputs: Any) -> Tensor:
        x, style, weight, bias, ctx.parts, ctx.geometry = inputs
        y, known = ctx.parts.forward(x.to(style.dtype), style)
        ctx.save_for_backward(x, style, weight, bias, *known)
        return convolve(y.to(weight.dtype), weight, bias, ctx.geometry)

    @staticmethod
    def backward(ctx: Any, *gradients: Any) -> Any:
        (grad,) = gradients
        x, style, weight, bias, *statistics = ctx.saved_tensors
        if torch.is_grad_enabled():
            return *_plain_backward(ctx, grad, (x, style, weight, bias)), None, None
        known, wide = Statistics(*statistics), x.to(style.dtype)
        y = ctx.parts.again(wide, style, known)
        mask = (ctx.needs_input_grad[2], ctx.needs_input_grad[3])
        dy, dweight, dbias = convolve_backward(grad, y.to(weight.dtype), weight, ctx.geometry, mask)
        dx, dstyle = ctx.parts.backward(dy.to(style.dtype), y, wide, style, known)
        return dx.to(x.dtype), dstyle, dweight, dbias, None, None


def _plain_backward(ctx: Any, grad: Tensor, inputs: tuple[Any, ...]) -> list[Tensor | None]:
    """The node's gradients as differentiable functions of the inputs and of `grad`."""
    moving = [i for i in range(4) if ctx.needs_input_grad[i]]

    def plain(*values: Tensor) -> Tensor:
        x, style, weight, bias = (values[moving.index(i)] if i in moving else inputs[i] for i in range(4))
        return norm_conv_plain(x, style, weight, bias, ctx.parts, ctx.geometry)

    pull = torch.func.vjp(plain, *(inputs[i] for i in moving))[1]
    pulled = pull(grad)
    return [pulled[moving.index(i)] if i in moving else None for i in range(4)]
