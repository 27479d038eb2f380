r"""Energies: log densities, known up to a constant, whose score is had by differentiation.

    p_sigma(x) = exp(-E(x, sigma)) / Z_sigma        s(x, sigma) = grad log p_sigma(x) = -grad_x E(x, sigma)

Z_sigma is unknown, and may differ from level to level. The score is a gradient field by construction: its Jacobian is
symmetric, and a Metropolis kernel has the log ratio E(x) - E(y) itself, without a line integral. It costs two to three
times a score network of the same size, to evaluate (forward and backward) and to train (that, differentiated again).

The gradient is that of the sum of E over the batch, which is every row's own as long as no row depends on another. It
is taken by `torch.func`, so that it is there whether autograd is on (then it can be differentiated again, in x and in
the parameters) or off (`torch.no_grad`, `torch.inference_mode`).
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import final

import torch
from torch import Tensor

from scorekit.base import Generator, Target, TensorFunction
from scorekit.base.families import condition_for
from scorekit.models import FunctionFamily, Moments, NetworkModel, function_arguments


def value_and_score(log_prob: TensorFunction, x: Tensor) -> tuple[Tensor, Tensor]:
    """log p(x) (B,) and grad log p(x) (B, *E), in one forward and one backward pass.

    Raises:
        ValueError: if the log density was not computed from x by differentiable operations. Its gradient would come out
            as zero, in silence.
    """

    def total(y: Tensor) -> tuple[Tensor, Tensor]:
        value = log_prob(y)
        if not value.requires_grad:
            raise ValueError(
                f"a log density of shape {tuple(value.shape)} that cannot be differentiated in x, of shape "
                f"{tuple(x.shape)}: expected torch operations on x, outside no_grad and without detach(); to one that "
                "is flat add 0 * x.flatten(1).sum(1)"
            )
        return value.sum(), value

    score, (_, value) = torch.func.grad_and_value(total, has_aux=True)(x)
    return value, score


def _target(log_prob: TensorFunction) -> Target:
    def both(x: Tensor) -> tuple[Tensor, Tensor]:
        return value_and_score(log_prob, x)

    return Target(lambda x: both(x)[1], log_prob, both)


@final
class EnergyModel(NetworkModel):
    """s(x, sigma) = -grad_x f(x, sigma): the network gives one number per example, the energy.

    LeCun et al., "A tutorial on energy-based learning" (2006); by score matching: Hyvarinen, JMLR 6 (2005).

    The network needs smooth activations, because training differentiates it twice in x; no normalisation over the
    batch; and no last bias, which never gets a gradient (DDP takes that for a fault). `networks.ScalarMLP` is one;
    `networks.InnerProduct` makes one of a network for scores.

    Args:
        net: the network f(x, sigma[, condition]), (B, *E), (B,) -> (B,).
        noise: the schedule with the only levels that f knows; None if f knows every sigma or keeps its own table.

    Raises:
        ValueError: when called, if x has no event axis, sigma is not one number per example, the network's output is
            not (B,), or it does not depend on x.
    """

    def energy(self, x: Tensor, sigma: Tensor, condition: Tensor | None = None) -> Tensor:
        """E(x, sigma), (B,), in the dtype of x, or float32 where that is narrower.

        Args:
            x: (B, *E).
            sigma: (B,).
            condition: handed to the network, if there is one.
        """
        output = self.output(x, sigma, condition)
        if output.shape != x.shape[:1]:
            raise ValueError(
                f"{type(self.net).__name__} maps x of shape {tuple(x.shape)} to {tuple(output.shape)}: an energy is "
                f"one number per example, here {tuple(x.shape[:1])} (a score, of the shape of x, belongs in "
                "DirectScore)"
            )
        return output.to(torch.promote_types(x.dtype, torch.float32))

    def forward(self, x: Tensor, sigma: Tensor, condition: Tensor | None = None) -> Tensor:
        """The score -grad_x E (B, *E) at x (B, *E) and sigma (B,), in the dtype of x."""
        return value_and_score(lambda y: -self.energy(y, sigma, condition), x)[1]

    def at(
        self,
        sigma: float,
        *,
        like: Tensor | None = None,
        generator: Generator = None,
        condition: Tensor | None = None,
    ) -> Target:
        """The target at one level: its score, its log density -E, and both for the price of the score."""
        return _target(lambda x: -self.energy(x, x.new_full((x.shape[0],), sigma), condition_for(condition, x)))

    @property
    def inference_mode(self) -> bool:
        """False: it differentiates inside. (Under inference mode it gives the same numbers, where torch allows.)"""
        return False


@final
@dataclass(frozen=True, eq=False, repr=False)
class LogProbFunction(FunctionFamily):
    """A family given by a function (x, sigma) -> log p_sigma(x); see `from_log_prob`."""

    def at(self, sigma: float, *, like: Tensor | None = None, generator: Generator = None) -> Target:
        """The target at one level: the function's log density, its gradient, and both together."""
        return _target(lambda x: self._checked(self.function(x, sigma), x))

    def _checked(self, log_prob: Tensor, x: Tensor) -> Tensor:
        if log_prob.shape != x.shape[:1]:
            raise ValueError(
                f"the log density maps x of shape {tuple(x.shape)} to {tuple(log_prob.shape)}: expected one number per "
                f"example, here {tuple(x.shape[:1])} (a score, of the shape of x, belongs to from_score)"
            )
        return log_prob

    def __repr__(self) -> str:
        return f"from_log_prob({self.function!r})"


def from_log_prob(
    function: Callable[[Tensor, float], Tensor],
    *,
    min_sigma: float = 0.0,
    moments: Moments | tuple[float, float] | None = None,
) -> LogProbFunction:
    """A target family from someone else's log density.

    Args:
        function: (x, sigma) -> log p_sigma(x) up to a constant, with x (B, *E), sigma one Python float, and the
            result (B,). Its gradient is taken by `torch.func`: it has to be torch operations on x, and a row of x may
            not depend on another. Where there is one density only, it may ignore sigma.
        min_sigma: the smallest sigma at which it is valid.
        moments: (mean, std) of the clean data, numbers or tensors broadcastable to E: what the matched start needs.

    Returns:
        A family that every sampler takes, and that knows its log density.

    Raises:
        TypeError: if `function` cannot be called.
        ValueError: if min_sigma is negative, or a moment not finite, or std < 0; when sampling, if the function does
            not give one number per example, or one that does not depend on x.
    """
    return LogProbFunction(*function_arguments("from_log_prob", function, "log density (B,)", min_sigma, moments))
