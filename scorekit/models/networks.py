"""Score models around a network: the checks at the boundary, and the parametrisations."""

import math
from abc import abstractmethod
from typing import final

import torch
from torch import Tensor, nn

from scorekit._kinds import require_kind
from scorekit.base import NoiseSchedule, ScoreModel, expand


class NetworkModel(ScoreModel):
    """A score model around one network: the checks at its boundary, and the levels at which it is valid.

    Args:
        net: f(x, sigma[, condition]), with x (B, *E) and sigma (B,).
        noise: the schedule with the only levels that f knows; None if f knows every sigma or keeps its own table.

    Raises:
        TypeError: if the network is no module, or the schedule something else.
        ValueError: if both name levels, and not the same ones.
    """

    def __init__(self, net: nn.Module, noise: NoiseSchedule | None = None):
        require_kind(type(self).__name__, nn.Module, "MLP(...), say; a function is for from_score", net=net)
        if noise is not None:
            require_kind(type(self).__name__, NoiseSchedule, "Levels((2.0, 0.5)), say", noise=noise)
        super().__init__()
        table = _table(net)
        if noise is not None and table is not None:
            _require_same(type(net).__name__, table, noise)
        self.net, self.noise = net, noise

    @final
    def output(self, x: Tensor, sigma: Tensor, condition: Tensor | None = None) -> Tensor:
        """What the network makes of x (B, *E) and sigma (B,).

        Raises:
            ValueError: if x has no event axis, or sigma is not one number per example.
        """
        if x.ndim < 2 or sigma.shape != x.shape[:1]:
            raise ValueError(
                f"a score model takes x of shape (B, *E) and sigma of shape (B,); got {tuple(x.shape)} and "
                f"{tuple(sigma.shape)}"
            )
        return self.net(x, sigma) if condition is None else self.net(x, sigma, condition)

    @property
    def noise_levels(self) -> Tensor | None:
        """The levels of `noise`, else the network's buffer `noise_levels`, else None."""
        return _table(self.net) if self.noise is None else self.noise.levels()


# Where wrappers keep their module: torch.compile's; those of several processes and of averages; a network of a network.
_WRAPPERS = {"_orig_mod", "module", "net"}


def _table(net: nn.Module) -> Tensor | None:
    for name, buffer in net.named_buffers():
        *path, last = name.split(".")
        if last == "noise_levels" and _WRAPPERS.issuperset(path):
            return buffer
    return None


def _require_same(name: str, table: Tensor, noise: NoiseSchedule) -> None:
    levels = noise.levels()
    known = table.to(levels).flatten().sort(descending=True).values  # a table has no order
    if known.shape != levels.shape or not torch.allclose(known, levels, rtol=5e-3, atol=0):  # bfloat16 rounds by 4e-3
        raise ValueError(
            f"noise={noise}: {name} keeps a table of its own, of {len(known)} levels from {known[0]:g} to "
            f"{known[-1]:g}: expected the same levels, or noise=None"
        )


class NetworkScore(NetworkModel):
    """A score model around a network with an output of the shape of x.

    Args:
        net: f(x, sigma[, condition]), (B, *E), (B,) -> (B, *E).
        noise: the schedule with the only levels that f knows; None if f knows every sigma or keeps its own table.
    """

    @abstractmethod
    def parametrise(self, output: Tensor, x: Tensor, sigma: Tensor) -> Tensor:
        """The score from the network's output."""

    @final
    def forward(self, x: Tensor, sigma: Tensor, condition: Tensor | None = None) -> Tensor:
        """The score (B, *E) at x (B, *E) and sigma (B,), in the dtype of x whatever autocast did inside the network.

        Raises:
            ValueError: if x has no event axis, sigma is not one number per example, or the network changes the shape.
        """
        output = self.output(x, sigma, condition)
        if output.shape != x.shape:
            raise ValueError(
                f"{type(self.net).__name__} maps x of shape {tuple(x.shape)} to {tuple(output.shape)}: a score has the "
                "shape of x"
            )
        return self.parametrise(output.to(x.dtype), x, sigma)


@final
class DirectScore(NetworkScore):
    """s(x, sigma) = f(x, sigma): the network gives the score itself (NCSN).

    Args:
        net: the network f.
        noise: see `NetworkScore`.
    """

    def parametrise(self, output: Tensor, x: Tensor, sigma: Tensor) -> Tensor:
        """The output as it is."""
        return output


@final
class ScaledScore(NetworkScore):
    """s(x, sigma) = f(x, sigma) / sigma: the network gives minus the predicted noise, of norm about sqrt(d) at every
    level (NCSNv2).

    Args:
        net: the network f.
        noise: see `NetworkScore`.
        min_sigma: the smallest level at which the score may be asked for, > 0: the quotient has no limit at 0.

    Raises:
        ValueError: unless 0 < min_sigma < inf.
    """

    def __init__(self, net: nn.Module, noise: NoiseSchedule | None = None, min_sigma: float = 1e-5):
        super().__init__(net, noise)
        if not 0 < min_sigma < math.inf:
            raise ValueError(f"ScaledScore(min_sigma={min_sigma}): the score f / sigma needs 0 < min_sigma < inf")
        self._min_sigma = min_sigma

    @property
    def min_sigma(self) -> float:
        """The smallest level at which the score may be asked for."""
        return self._min_sigma

    def parametrise(self, output: Tensor, x: Tensor, sigma: Tensor) -> Tensor:
        """The output over sigma."""
        return output / expand(sigma, x)
