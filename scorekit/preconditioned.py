r"""A network preconditioned around a Gaussian (Karras et al., arXiv 2206.00364, table 1).

Were the data N(m, s^2 I), the score would be -(x - m) / (sigma^2 + s^2). The network adds what the data have beyond
that, at a scale that is the same at every sigma:

    u = x - m,    r = sqrt(sigma^2 + s^2),    score = -u / r^2 + s / (sigma r) f(u / r, sigma).

The denoised state x + sigma^2 score is then m + s^2 / r^2 u + sigma s / r f: Karras et al.'s c_skip, c_out and c_in.
The network sees inputs of unit variance and aims at outputs of unit variance. `PreconditionedWeight` makes the
objective the plain mean square of what f is off by:

    w(sigma) = sigma^2 (sigma^2 + s^2) / s^2,    w(sigma) |score - score*|^2 = |f - f*|^2.
"""

import math
from dataclasses import dataclass
from typing import final

from torch import Tensor, nn

from scorekit.base import NoiseSchedule, expand, wide
from scorekit.models import NetworkModel


@final
class Preconditioned(NetworkModel):
    """s(x, sigma) = -u / r^2 + s / (sigma r) f(u / r, sigma), u = x - m, r^2 = sigma^2 + s^2.

    Args:
        net: the network f, (B, *E), (B,) -> (B, *E).
        scale: s > 0, the standard deviation of a coordinate of the data.
        center: m, the mean of a coordinate.
        noise: the schedule with the only levels that f knows; None if f knows every sigma or keeps its own table.
        min_sigma: the smallest level at which the score may be asked for, > 0: the quotient has no limit at 0.

    Raises:
        ValueError: unless 0 < scale < inf, center is finite and 0 < min_sigma < inf; when called, if the network
            changes the shape of x.
    """

    def __init__(
        self,
        net: nn.Module,
        scale: float,
        center: float = 0.0,
        noise: NoiseSchedule | None = None,
        min_sigma: float = 1e-3,
    ):
        super().__init__(net, noise)
        if not (0 < scale < math.inf and math.isfinite(center)):
            raise ValueError(
                f"Preconditioned(scale={scale}, center={center}): expected 0 < scale < inf and a finite mean"
            )
        if not 0 < min_sigma < math.inf:
            raise ValueError(f"Preconditioned(min_sigma={min_sigma}): expected 0 < min_sigma < inf")
        self.scale, self.center, self._min_sigma = scale, center, min_sigma

    @property
    def min_sigma(self) -> float:
        """The smallest level at which the score may be asked for."""
        return self._min_sigma

    def forward(self, x: Tensor, sigma: Tensor, condition: Tensor | None = None) -> Tensor:
        """The score (B, *E) at x (B, *E) and sigma (B,)."""
        r = expand((wide(sigma).square() + self.scale**2).sqrt(), x)  # in float16 300^2 is infinite
        u = (x - self.center) / r
        output = self.output(u, sigma, condition)
        if output.shape != x.shape:
            raise ValueError(
                f"{type(self.net).__name__} maps x of shape {tuple(x.shape)} to {tuple(output.shape)}: a score has the "
                "shape of x"
            )
        return (self.scale / expand(sigma, x) * output.to(x.dtype) - u) / r


@final
@dataclass(frozen=True)
class PreconditionedWeight:
    """w(sigma) = sigma^2 (sigma^2 + s^2) / s^2: the objective of a `Preconditioned` model is then the mean square of
    what its network is off by, at every level alike.

    Args:
        scale: s > 0, as the model has it.

    Raises:
        ValueError: unless 0 < scale < inf.
    """

    scale: float

    def __post_init__(self):
        if not 0 < self.scale < math.inf:
            raise ValueError(f"{self}: expected 0 < scale < inf")

    def __call__(self, sigma: Tensor) -> Tensor:
        """The weights (B,) of levels (B,)."""
        return sigma.square() * (1 + (sigma / self.scale).square())
