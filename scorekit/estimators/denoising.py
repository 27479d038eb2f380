r"""Denoising score matching (Vincent, Neural Computation 2011).

With x = x0 + sigma eps, grad log p(x | x0) = -eps / sigma and

    J(s) = 1/2 E|s(x) + eps / sigma|^2 - C,

where C does not depend on s. NCSN's objective weighs this with sigma^2 (`Objective`): 1/2 |sigma s + eps|^2. The
draw eps is kept and never recovered as (x - x0) / sigma, which loses its digits at small sigma.

**Variance.** The gradient's noise comes from s(x) . eps / sigma and grows as 1 / sigma^2. Two forms of the same mean
are flat in sigma, for a second evaluation of the score:

    L(x, eps) = 1/2 |s(x) + eps / sigma|^2
    antithetic         1/2 [ L(x0 + sigma eps, eps) + L(x0 - sigma eps, -eps) ]
    control variate    L(x0 + sigma eps, eps) - s(x0) . eps / sigma,     E[eps | x0] = 0

In both, s meets eps / sigma only in a difference of two scores some sigma apart, which has a limit as sigma -> 0.
"""

from dataclasses import dataclass
from typing import ClassVar, Literal, final

from torch import Tensor

from scorekit.base import Estimator, Generator, TensorFunction, expand, sum_event

_FORMS = (None, "antithetic", "control_variate")


@final
@dataclass(frozen=True)
class DenoisingScoreMatching(Estimator):
    """1/2 |s(x, sigma) + eps / sigma|^2 summed over the event; needs sigma > 0 (Vincent 2011; NCSN eq. 5).

    Args:
        variance_reduction: None for that form, NCSN's. "antithetic" for its mean over eps and -eps, "control_variate"
            for it less s(x0) . eps / sigma: the variance of their gradient is flat in sigma (at sigma = .01, in 10
            dimensions, thousands of times smaller), for two evaluations of the score; worth it where the smallest sigma
            is below a tenth of the data's scale.

    Raises:
        ValueError: if `variance_reduction` is none of these.
    """

    variance_reduction: Literal["antithetic", "control_variate"] | None = None

    needs_noise: ClassVar[bool] = True

    def __post_init__(self):
        if self.variance_reduction not in _FORMS:
            raise ValueError(
                f"DenoisingScoreMatching(variance_reduction={self.variance_reduction!r}): expected one of "
                f"{', '.join(map(repr, _FORMS))}"
            )

    def __call__(
        self, score: TensorFunction, x: Tensor, sigma: Tensor, eps: Tensor, *, generator: Generator = None
    ) -> Tensor:
        """The squared error of s as a predictor of -eps / sigma, in the form chosen: (B,)."""
        loss = _regression(score(x), sigma, eps)
        step = expand(sigma, x) * eps
        match self.variance_reduction:
            case "antithetic":
                return (loss + _regression(score(x - 2 * step), sigma, -eps)) / 2
            case "control_variate":
                return loss - sum_event(score(x - step) * (eps / expand(sigma, x)))
        return loss


def _regression(score: Tensor, sigma: Tensor, eps: Tensor) -> Tensor:
    return sum_event((score + eps / expand(sigma, score)).square()) / 2
