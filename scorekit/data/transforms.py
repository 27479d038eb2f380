r"""From stored pixels to what a model sees, and back to pictures.

- `Dequantize`: x = (k + u) / levels with u uniform on [0, 1): a density on [0, 1) that gives each cell [k, k + 1) /
  levels the mass of grey level k. NCSN's code writes it x 255/256 + u/256 with x = k/255.
- `Rescale`: x = k / (levels - 1): grey levels as they are, black 0 and white 1.
- `RandomHorizontalFlip`: each picture is mirrored with probability p.
- `Logit`: y = log x' - log(1 - x') with x' = lam + (1 - 2 lam) x: the unit interval stretched over the real line. Off
  by default.
- `Compose`: one after another.

`inverse` leads back to pictures in [0, 1]; a flip is not undone, since a mirrored picture is a picture.

`branches` replaces what `forward` draws by a finite law, weights w_i and outputs y_i with

    sum_i w_i y_i = E[forward(x)],    sum_i w_i y_i^2 = E[forward(x)^2]    in every coordinate,

so that data moments need no Monte Carlo. For u these are quadrature nodes: Gauss's two are exact, since n nodes
integrate polynomials up to degree 2n - 1. A logit of u is no polynomial and has a logarithm at the darkest and
brightest levels; there `Logit` asks for 16 nodes in u = v^2 (3 - 2v), which are still exact for degree 2 and leave an
error of 5e-4 in the standard deviation (two nodes: .3 to .4).
"""

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import final

import numpy as np
import torch
from torch import Tensor

from scorekit._tensor import expand
from scorekit.random import Generator, uniform

Branches = list[tuple[float, Tensor]]


class Transform(ABC):
    """A map of batches (B, *E), random or not, on any device."""

    @property
    @abstractmethod
    def num_nodes(self) -> int:
        """How many quadrature nodes `branches` needs for each uniform draw up to and in this transform."""

    @abstractmethod
    def forward(self, x: Tensor, *, generator: Generator = None) -> Tensor:
        """Stored pixels to what the model sees."""

    @abstractmethod
    def inverse(self, x: Tensor) -> Tensor:
        """What the model sees, or a sampler gives, to pictures in [0, 1]."""

    @abstractmethod
    def branches(self, x: Tensor, num_nodes: int) -> Branches:
        """Weights and outputs with the first two moments of `forward`; floating point outputs are float64."""


@final
@dataclass(frozen=True)
class Dequantize(Transform):
    """x = (k + u) / levels, u uniform on [0, 1): into [0, 1), never rounded up into the next level's cell.

    Integers are grey levels k; floating point numbers in [0, 1] are k / (levels - 1), as torchvision's `ToTensor` gives
    them. The result has torch's default dtype for integers, else the dtype of the input. Its inverse clamps to [0, 1].

    Args:
        levels: the number of grey levels, >= 2.

    Raises:
        ValueError: if `levels` < 2; in `forward`, for values outside 0..levels-1 or [0, 1].
    """

    levels: int = 256

    def __post_init__(self):
        if self.levels < 2:
            raise ValueError(f"{self}: there are at least 2 grey levels")

    @property
    def num_nodes(self) -> int:
        """Two: E u and E u^2."""
        return 2

    def forward(self, x: Tensor, *, generator: Generator = None) -> Tensor:
        """(k + u) / levels."""
        grey = self._grey(x, x.dtype if x.is_floating_point() else torch.get_default_dtype())
        # float32 rounds 255 + u up to 256 for u > 1 - 2^-17; y (1 - eps/2) is the number next below y
        below_next = (grey + 1) / self.levels * (1 - torch.finfo(grey.dtype).eps / 2)
        return torch.minimum((grey + uniform(grey, generator=generator)) / self.levels, below_next)

    def inverse(self, x: Tensor) -> Tensor:
        """Clamp to [0, 1]."""
        return x.clamp(0, 1)

    def branches(self, x: Tensor, num_nodes: int) -> Branches:
        """One branch for each node u."""
        grey = self._grey(x, torch.float64)
        return [(weight, (grey + node) / self.levels) for node, weight in unit_nodes(num_nodes)]

    def _grey(self, x: Tensor, dtype: torch.dtype) -> Tensor:
        top = 1 if x.is_floating_point() else self.levels - 1
        _require_range(self, x, top)
        return x.to(dtype) * (self.levels - 1) if x.is_floating_point() else x.to(dtype)


@final
@dataclass(frozen=True)
class Rescale(Transform):
    """x = k / (levels - 1): grey levels k onto [0, 1], without noise (NCSNv2's data). Its inverse clamps to [0, 1].

    Integers are grey levels; floating point numbers lie in [0, 1] already and stay as they are. The result has torch's
    default dtype for integers, else the dtype of the input.

    Args:
        levels: the number of grey levels, >= 2.

    Raises:
        ValueError: if `levels` < 2; in `forward`, for values outside 0..levels-1 or [0, 1].
    """

    levels: int = 256

    def __post_init__(self):
        if self.levels < 2:
            raise ValueError(f"{self}: there are at least 2 grey levels")

    @property
    def num_nodes(self) -> int:
        """One: nothing is drawn."""
        return 1

    def forward(self, x: Tensor, *, generator: Generator = None) -> Tensor:
        """k / (levels - 1)."""
        return self._scaled(x, torch.get_default_dtype())

    def inverse(self, x: Tensor) -> Tensor:
        """Clamp to [0, 1]."""
        return x.clamp(0, 1)

    def branches(self, x: Tensor, num_nodes: int) -> Branches:
        """One: nothing is drawn."""
        return [(1.0, self._scaled(x, torch.float64))]

    def _scaled(self, x: Tensor, dtype: torch.dtype) -> Tensor:
        _require_range(self, x, 1 if x.is_floating_point() else self.levels - 1)
        return x if x.is_floating_point() else x.to(dtype) / (self.levels - 1)


@final
@dataclass(frozen=True)
class RandomHorizontalFlip(Transform):
    """Mirror each picture (B, C, H, W) along its last axis with probability p, one uniform draw a picture.

    Args:
        p: the probability, in [0, 1].

    Raises:
        ValueError: if `p` lies outside [0, 1]; in `forward`, for batches with fewer than three axes.
    """

    p: float = 0.5

    def __post_init__(self):
        if not 0 <= self.p <= 1:
            raise ValueError(f"{self}: a probability lies in [0, 1]")

    @property
    def num_nodes(self) -> int:
        """One, that is no rule at all: the law has two outcomes."""
        return 1

    def forward(self, x: Tensor, *, generator: Generator = None) -> Tensor:
        """x, some rows mirrored."""
        unit = uniform(torch.empty(x.shape[0], dtype=torch.float32, device=x.device), generator=generator)
        return torch.where(expand(unit < self.p, x).bool(), self._mirrored(x), x)

    def inverse(self, x: Tensor) -> Tensor:
        """x itself."""
        return x

    def branches(self, x: Tensor, num_nodes: int) -> Branches:
        """As it is, and mirrored."""
        return [(1 - self.p, x), (self.p, self._mirrored(x))]

    def _mirrored(self, x: Tensor) -> Tensor:
        if x.ndim < 3:
            raise ValueError(f"{self}: expected pictures (B, C, H, W), got the shape {tuple(x.shape)}")
        return x.flip(-1)


@final
@dataclass(frozen=True)
class Logit(Transform):
    """y = log x' - log(1 - x'), x' = lam + (1 - 2 lam) x, for x in [0, 1].

    1 - x' is formed as lam + (1 - 2 lam)(1 - x), so that white is as accurate as black: y(1 - x) = -y(x).

    Args:
        lam: how far x' stays from 0 and 1, in (0, 1/2).

    Raises:
        ValueError: if `lam` lies outside (0, 1/2); in `forward`, for x outside [0, 1].
        TypeError: in `forward`, for integers.
    """

    lam: float = 1e-6

    def __post_init__(self):
        if not 0 < self.lam < 0.5:
            raise ValueError(f"{self}: lam lies in (0, 1/2)")

    @property
    def num_nodes(self) -> int:
        """Sixteen: the logarithm is no polynomial."""
        return 16

    def forward(self, x: Tensor, *, generator: Generator = None) -> Tensor:
        """The logit of x'."""
        if not x.is_floating_point():
            raise TypeError(f"{self}: expected floating point numbers in [0, 1], got {x.dtype}; Dequantize comes first")
        _require_range(self, x, 1)
        return self._inside(x).log() - self._inside(1 - x).log()

    def inverse(self, x: Tensor) -> Tensor:
        """(sigmoid(y) - lam) / (1 - 2 lam), clamped to [0, 1]: a sampler may step outside the image of `forward`."""
        return ((x.sigmoid() - self.lam) / (1 - 2 * self.lam)).clamp(0, 1)

    def branches(self, x: Tensor, num_nodes: int) -> Branches:
        """One: nothing is drawn."""
        return [(1.0, self.forward(x))]

    def _inside(self, x: Tensor) -> Tensor:
        return self.lam + (1 - 2 * self.lam) * x


@final
@dataclass(frozen=True)
class Compose(Transform):
    """The transforms one after another, in the order given; none at all is the identity.

    Args:
        transforms: the transforms.
    """

    transforms: tuple[Transform, ...] = ()

    @property
    def num_nodes(self) -> int:
        """What the neediest part needs."""
        return max((part.num_nodes for part in self.transforms), default=1)

    def forward(self, x: Tensor, *, generator: Generator = None) -> Tensor:
        """The last of ... the first of x; all draw from the one generator, in that order."""
        for part in self.transforms:
            x = part.forward(x, generator=generator)
        return x

    def inverse(self, x: Tensor) -> Tensor:
        """The inverses, last first."""
        for part in reversed(self.transforms):
            x = part.inverse(x)
        return x

    def branches(self, x: Tensor, num_nodes: int) -> Branches:
        """Every branch of each part on every branch of the parts before it."""
        found = [(1.0, x)]
        for part in self.transforms:
            found = [(weight * w, y) for weight, branch in found for w, y in part.branches(branch, num_nodes)]
        return found


def unit_nodes(num_nodes: int) -> list[tuple[float, float]]:
    """Pairs (node in (0, 1), weight) of a rule for the integral over [0, 1].

    Up to 4 nodes it is Gauss's rule in u, from 5 on Gauss's rule in v with u = v^2 (3 - 2v). With 2 nodes or more both
    are exact for polynomials of degree 2; the second also copes with log u and log(1 - u).
    """
    raw_nodes, raw_weights = np.polynomial.legendre.leggauss(num_nodes)
    node, weight = (raw_nodes + 1) / 2, raw_weights / 2
    if num_nodes > 4:
        node, weight = node**2 * (3 - 2 * node), weight * 6 * node * (1 - node)
    return list(zip(node.tolist(), weight.tolist(), strict=True))


def _require_range(transform: Transform, x: Tensor, top: int) -> None:
    if x.numel() == 0:
        return
    low, high = (value.item() for value in x.aminmax())
    if not (low >= 0 and high <= top):  # NaN fails it too: aminmax propagates it
        raise ValueError(f"{transform}: expected values in 0..{top}, got {low} to {high}")
