r"""Implicit score matching (Hyvarinen, JMLR 2005): integration by parts takes the unknown score out of J(s),

    J(s) = E[ tr J(x) + 1/2 |s(x)|^2 ] + C,     x ~ p_sigma,

for densities that vanish at infinity (a jump of the density, say at the edge of a bounded support, adds a boundary term
that is not counted). It needs no noise, and so estimates the score of the data themselves at sigma = 0.
"""

from dataclasses import dataclass
from typing import ClassVar, Literal, final

from torch import Tensor

from scorekit.base import Estimator, Generator, ScoreModel, TensorFunction, sum_event
from scorekit.estimators.checks import check_curvature, refuse_coupled_batch
from scorekit.estimators.jacobian import linearise, trace
from scorekit.estimators.probes import ProbeLaw, check_probes, draw_probes


@final
@dataclass(frozen=True)
class ImplicitScoreMatching(Estimator):
    """tr J(x) + 1/2 |s(x)|^2, the trace summed over the event (Hyvarinen, JMLR 2005).

    Args:
        trace: "exact", by one vector-Jacobian product for each of the d coordinates of the event (for a perceptron of
            two layers of 256, 10 times the cost of denoising in 10 dimensions, 71 in 100); "hutchinson", the mean of
            v' J v over random probes, which is `SlicedScoreMatching`.
        probe: the law of the probes of "hutchinson".
        num_probes: how many of them are averaged, one product each.

    Raises:
        ValueError: if an argument is none of these, or probes are chosen for the exact trace, which draws none; when
            called, if the score has no derivative in x (see `linearise`).
    """

    trace: Literal["exact", "hutchinson"] = "exact"
    probe: ProbeLaw = "rademacher"
    num_probes: int = 1

    needs_noise: ClassVar[bool] = False

    def __post_init__(self):
        if self.trace not in ("exact", "hutchinson"):
            raise ValueError(f"ImplicitScoreMatching(trace={self.trace!r}): expected one of 'exact', 'hutchinson'")
        check_probes("ImplicitScoreMatching", self.probe, self.num_probes)
        if self.trace == "exact" and (self.probe, self.num_probes) != ("rademacher", 1):
            raise ValueError(
                f"ImplicitScoreMatching(trace='exact', probe={self.probe!r}, num_probes={self.num_probes}): the exact "
                "trace draws no probes; choose trace='hutchinson', or leave them out"
            )

    def check(self, model: ScoreModel) -> None:
        """Refuse a model that couples the examples of a batch."""
        refuse_coupled_batch(self, model)

    def check_score(self, score: TensorFunction, x: Tensor) -> None:
        """Refuse a score whose derivative is 0 at all of x."""
        check_curvature(score, x)

    def __call__(
        self, score: TensorFunction, x: Tensor, sigma: Tensor, eps: Tensor, *, generator: Generator = None
    ) -> Tensor:
        """tr J(x) + 1/2 |s(x)|^2: (B,). sigma and eps are not used: x is a draw from p_sigma, that is all."""
        if self.trace == "hutchinson":
            return hutchinson(score, x, self.probe, self.num_probes, generator=generator)
        value, pull = linearise(score, x)
        return trace(pull, x) + sum_event(value.square()) / 2


def hutchinson(
    score: TensorFunction, x: Tensor, law: ProbeLaw, num_probes: int, *, generator: Generator = None
) -> Tensor:
    """The mean of v' J(x) v over the probes, and 1/2 |s(x)|^2: (B,)."""
    value, pull = linearise(score, x)
    slices = [sum_event(pull(v) * v) for v in draw_probes(law, num_probes, x, generator=generator)]
    return sum(slices[1:], slices[0]) / num_probes + sum_event(value.square()) / 2
