r"""Maximum mean discrepancy (Gretton et al., JMLR 13, 2012): two samples through the eyes of a kernel.

    MMD^2 = E k(x, x') + E k(y, y') - 2 E k(x, y),        k(x, y) = exp(-|x - y|^2 / 2 b^2)

is 0 if and only if the two laws are one. Its unbiased estimate leaves out the pairs of an example with itself, and so
may be negative. With the kernel matrix K of both samples put together and the indicator z of the first, all three
sums are z'Kz, z'K1 and 1'K1: one pass over K serves the estimate and every permutation of its test.
"""

from dataclasses import dataclass
from typing import final

import torch
from torch import Tensor

from scorekit.base import Generator, Metric, fork, uniform
from scorekit.metrics._samples import (
    Significance,
    checked_pair,
    exceedance,
    median_distance,
    quadratic_forms,
    require_bandwidth,
    require_count,
)


@final
@dataclass(frozen=True)
class MaximumMeanDiscrepancy(Metric):
    """The unbiased MMD^2 under a Gaussian kernel: dimensionless, at most 2, 0 in the mean for equal laws.

    Time grows as (N + M)^2, memory does not.

    Args:
        bandwidth: b, in the units of x; None takes the median distance of both samples put together.

    Raises:
        ValueError: unless bandwidth is None or positive and finite; when called, for samples that are not finite
            floating-point (N, *E) of one event shape, with two examples each at least.
    """

    bandwidth: float | None = None

    def __post_init__(self):
        require_bandwidth(self, self.bandwidth)

    def __call__(self, x: Tensor, reference: Tensor, *, generator: Generator = None) -> float:
        """MMD^2 of x (N, *E) and reference (M, *E); `generator` draws the rows of the median rule."""
        x, reference = checked_pair(x, reference)
        labels = _labels(len(x), len(reference), x).unsqueeze(1)
        return self._statistics(x, reference, labels, generator).item()

    def test(
        self, x: Tensor, reference: Tensor, *, num_permutations: int = 500, generator: Generator = None
    ) -> Significance:
        """MMD^2, and the p-value of equal laws by permutation: exact at any sample size for independent draws.

        Args:
            x: the samples (N, *E).
            reference: draws from the law they should have, (M, *E).
            num_permutations: how many; the smallest p-value is 1 / (num_permutations + 1).
            generator: where the permutations, and the rows of the median rule, are drawn from.
        """
        require_count("num_permutations", num_permutations)
        x, reference = checked_pair(x, reference)
        labels = _labels(len(x), len(reference), x)
        draws = uniform(labels.new_empty(num_permutations, len(labels)), generator=fork(generator, "permutations"))
        columns = torch.cat((labels.unsqueeze(0), labels[draws.argsort(1)])).T
        return exceedance(self._statistics(x, reference, columns, generator))

    def _statistics(self, x: Tensor, reference: Tensor, labels: Tensor, generator: Generator) -> Tensor:
        """MMD^2 for each column of labels (N + M, P), 1 for the examples of the first sample: (P,)."""
        rows = torch.cat((x, reference))
        b = self.bandwidth or median_distance(rows, generator=generator)
        within, crossed, total = quadratic_forms(
            lambda part: torch.cdist(rows[part], rows).square_().div_(-2 * b**2).exp_(), labels
        )
        n, m = len(x), len(reference)
        other = total - 2 * crossed + within
        return within / (n * (n - 1)) + other / (m * (m - 1)) - 2 * (crossed - within) / (n * m)


def _labels(n: int, m: int, like: Tensor) -> Tensor:
    return torch.cat((like.new_ones(n), like.new_zeros(m)))
