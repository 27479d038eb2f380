r"""Estimators of the Fisher divergence J(s) = 1/2 E|s(x) - grad log p_sigma(x)|^2, x ~ p_sigma, up to a constant that
does not depend on s. Norms are summed over the event; v is a random probe with E vv' = I; J(x) is the Jacobian of s.

    DenoisingScoreMatching      1/2 |s(x) + eps / sigma|^2                     needs sigma > 0; s once (or twice)
    ImplicitScoreMatching       tr J(x) + 1/2 |s(x)|^2                         s once and d vector-Jacobian products
    SlicedScoreMatching         v' J(x) v + 1/2 |s(x)|^2                       s once and one such product a probe
    FiniteDifferenceSliced      the same with v' J(x) v by differences         s twice a probe, nothing differentiated
    ExplicitScoreMatching       1/2 |s(x) - grad log p_sigma(x)|^2             the truth is known

All but the first also train on clean data (sigma = 0). The three in the middle need a score that is a function of one
example alone: `check` refuses what couples a batch; `check_curvature` finds scores without a derivative.
"""

from scorekit.estimators.checks import check_curvature
from scorekit.estimators.denoising import DenoisingScoreMatching
from scorekit.estimators.explicit import ExplicitScoreMatching
from scorekit.estimators.finite_difference import FiniteDifferenceSliced
from scorekit.estimators.implicit import ImplicitScoreMatching
from scorekit.estimators.probes import ProbeLaw
from scorekit.estimators.sliced import SlicedScoreMatching

__all__ = [
    "DenoisingScoreMatching", "ExplicitScoreMatching", "FiniteDifferenceSliced", "ImplicitScoreMatching", "ProbeLaw",
    "SlicedScoreMatching", "check_curvature",
]  # fmt: skip
