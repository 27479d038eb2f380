"""What estimators that differentiate the score ask of a model, checked once and not in the loop."""

from collections.abc import Iterator

import torch
from torch import Tensor
from torch.nn.modules.batchnorm import _BatchNorm

from scorekit.base import Estimator, ScoreModel, TensorFunction
from scorekit.estimators.jacobian import linearise


def refuse_coupled_batch(estimator: Estimator, model: ScoreModel) -> None:
    """Refuse a model with batch normalisation, whatever mode it is in: training puts it into training mode.

    The score of one example then depends on the others, so that tr J has terms that belong to no example. It reads the
    types of the modules and no tensor; a coupling written in a `forward` (a mean over the batch) is not found.

    Raises:
        ValueError: naming the first such layer.
    """
    for name, module in model.named_modules():
        if isinstance(module, _BatchNorm):
            raise ValueError(
                f"{estimator} differentiates the score of each example by itself; in {model.title} the layer {name!r} "
                f"is a {type(module).__name__}, which couples the examples of a batch: expected a normalisation within "
                "the example, such as GroupNorm or InstanceNorm"
            )


def check_curvature(score: TensorFunction, x: Tensor) -> None:
    """Refuse a score whose derivative in x is exactly 0 at every example of a batch, and stays so as it is trained.

    That is the energy of a ReLU network: its gradient is piecewise constant, autograd gives zeros, and an estimator
    made of tr J would train the score to 0 without a word. Nothing short of reading a value shows it, so this waits for
    the device: call it once, on a first batch, before training; estimators never do. It asks for one product u' J with
    a fixed, irregular u, and draws nothing. A network whose last layer starts at 0 has a derivative of 0 too, but one
    that moves with the weights: where the product is 0, the gradient of u' J u tells the two apart.

    Args:
        score: y -> s(y, sigma), as an `Estimator` takes it.
        x: a batch (B, *E) of (noisy) data.

    Raises:
        ValueError: if the derivative vanishes at all of x, or there is none.
    """
    u = x.new_ones(x[0].numel()).cumsum(0).sin().reshape(x.shape[1:])  # sin k: irregular, and 0 for no integer k
    with torch.enable_grad():
        _, pull = linearise(score, x)
        product = pull(u.expand_as(x))
        fixed = not product.any() and not _moves((product * u).sum())
    if fixed:
        raise ValueError(
            f"the derivative of the score in x is exactly 0 at all {len(x)} examples, so that an estimator made of its "
            "trace has nothing to learn from: expected a score that is not piecewise constant (an energy needs smooth "
            "activations such as softplus or SiLU, not ReLU)"
        )


def _moves(value: Tensor) -> bool:
    """Whether a number has a gradient other than 0 in anything that it was computed from."""
    leaves = list(_leaves(value))
    gradients = torch.autograd.grad(value, leaves, allow_unused=True) if leaves else ()
    return any(bool(gradient.any()) for gradient in gradients if gradient is not None)


def _leaves(value: Tensor) -> Iterator[Tensor]:
    """What autograd would leave gradients in: the weights, and x."""
    seen, waiting = set(), [value.grad_fn]
    while waiting:
        node = waiting.pop()
        if node is None or node in seen:
            continue
        seen.add(node)
        waiting.extend(below for below, _ in node.next_functions)
        if node.name() == "torch::autograd::AccumulateGrad":
            yield node.variable  # pyrefly: ignore[missing-attribute]  # torch's stubs do not know it
