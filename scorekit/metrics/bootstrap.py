r"""How far a Frechet distance of few samples is known: its bootstrap (Efron, Ann. Statist. 7, 1979).

N samples are drawn again from the N samples, with replacement, and each time the distance to the same reference is
taken. Their standard deviation is what another N samples of the same model would move the distance by. It says nothing
of the **bias**: with N samples the covariance has N - 1 directions and is off in all of them, so that d^2 lies above
its limit of many samples, by about a constant over N. The replicates lie above the estimate by much the same again: a
mean far above the estimate shows that the estimate itself is still mostly bias.
"""

from typing import NamedTuple

import torch
from torch import Tensor

from scorekit.base import Generator, fork, uniform
from scorekit.metrics._samples import checked_sample, require_count
from scorekit.metrics.features import FeatureStatistics, checked_features
from scorekit.metrics.frechet import factor, shared_trace


class FrechetBootstrap(NamedTuple):
    """A Frechet distance d^2, and the law of its replicates."""

    estimate: float  # of the samples as they are
    mean: float  # of the replicates; above the estimate by about as much as that is above the truth
    std: float  # of the replicates: the standard error of the estimate, at this number of samples


def frechet_bootstrap(
    features: Tensor, reference: FeatureStatistics, *, num: int = 100, generator: Generator = None
) -> FrechetBootstrap:
    """The Frechet distance d^2 of stored features from a reference, and its bootstrap over the features.

    The reference counts as exact. A replicate costs the singular values of an (N, D) matrix: for N up to some
    thousands.

    Args:
        features: those of the samples (N, D).
        reference: mean and covariance of the reference features.
        num: how many replicates.
        generator: where they are drawn from.

    Raises:
        ValueError: unless features are finite floating-point (N, D) with N >= 2 and the reference's D, the reference
            has two rows, and num >= 2.
    """
    require_count("num", num, at_least=2)
    rows = checked_features(checked_sample(features, "features"), "features", reference.num_features)
    centre, n = rows.mean(0), len(rows)
    rows, gap = rows - centre, centre - reference.mean  # the means of replicates are then small differences
    axes, spread = factor(reference.cov, "the reference's covariance"), reference.cov.trace()

    def distance(counts: Tensor) -> Tensor:
        shift = counts @ rows / n
        scaled = (rows - shift) * (counts / (n - 1)).sqrt().unsqueeze(1)
        scaled = scaled[counts > 0]
        return (gap + shift).square().sum() + scaled.square().sum() + spread - 2 * shared_trace(scaled, axes.T)

    draws = fork(generator, "bootstrap")
    chosen = (uniform(rows.new_empty(num, n), generator=draws) * n).long()
    replicates = torch.stack([distance(each.bincount(minlength=n).double()) for each in chosen])
    return FrechetBootstrap(distance(rows.new_ones(n)).item(), replicates.mean().item(), replicates.std().item())
