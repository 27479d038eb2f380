r"""Estimators of the Fisher divergence J(s) = 1/2 E|s(x) - grad log p_sigma(x)|^2 (norms summed over the event).

**Denoising score matching** (Vincent, Neural Computation 2011). With x = x0 + sigma eps, grad log p(x | x0) = -eps /
sigma and

    J(s) = 1/2 E|s(x) + eps / sigma|^2 - C,

where C does not depend on s. NCSN's objective weighs this with sigma^2 (`Objective`): 1/2 |sigma s + eps|^2. The
draw eps is kept and never recovered as (x - x0) / sigma, which loses its digits at small sigma.
"""

from dataclasses import dataclass
from typing import ClassVar, final

from torch import Tensor

from scorekit.base import Estimator, Generator, TensorFunction, expand, sum_event


@final
@dataclass(frozen=True)
class DenoisingScoreMatching(Estimator):
    """1/2 |s(x, sigma) + eps / sigma|^2 summed over the event; needs sigma > 0 (Vincent 2011; NCSN eq. 5)."""

    needs_noise: ClassVar[bool] = True

    def __call__(
        self, score: TensorFunction, x: Tensor, sigma: Tensor, eps: Tensor, *, generator: Generator = None
    ) -> Tensor:
        """The squared error of s(x) as a predictor of -eps / sigma: (B,)."""
        return sum_event((score(x) + eps / expand(sigma, x)).square()) / 2
