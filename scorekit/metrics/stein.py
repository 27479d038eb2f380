r"""Kernel Stein discrepancy (Gorham and Mackey, "Measuring sample quality with kernels", ICML 2017): a sample against a
score, where no reference sample is at hand and no normalising constant known.

    k_p(x, y) = s(x).s(y) k + s(x).grad_y k + s(y).grad_x k + div_x grad_y k,        E_p k_p(x, .) = 0
    KSD^2 = E k_p(x, x'),    x, x' independent draws of the sample's law

With r = x - y and the inverse multiquadric k = q^(-1/2), q = b^2 + |r|^2, whose KSD detects non-convergence where a
Gaussian kernel's does not (their Theorems 6 and 8),

    k_p = s(x).s(y) q^(-1/2) + ((s(x) - s(y)).r + D) q^(-3/2) - 3 |r|^2 q^(-5/2).

Like every method that sees the score only, it is nearly blind to the weights of modes far apart: between them there is
no sample to tell (`ModeWeightError` tells).
"""

from collections.abc import Callable
from typing import Literal

import torch
from torch import Tensor

from scorekit.base import Generator, TensorFunction, fork, rademacher, uniform
from scorekit.metrics._samples import (
    Significance,
    blocks,
    checked_sample,
    exceedance,
    median_distance,
    quadratic_forms,
    require_bandwidth,
    require_count,
)


def kernel_stein_discrepancy(
    x: Tensor,
    score: TensorFunction,
    *,
    bandwidth: float | None = None,
    statistic: Literal["u", "v"] = "u",
    generator: Generator = None,
) -> float:
    """KSD^2 of a sample against a score.

    Args:
        x: the sample (N, *E).
        score: x -> grad log p(x), (B, *E) -> (B, *E): `family.at(sigma).score`.
        bandwidth: b, in the units of x; None takes the median distance in the sample.
        statistic: "u" leaves out the pairs of an example with itself: unbiased, perhaps negative; "v" keeps them: >= 0.
        generator: where the rows of the median rule are drawn from.

    Raises:
        ValueError: for a sample that is not finite floating-point (N, *E) with N >= 2, a bandwidth that is not
            positive, an unknown statistic, or a score that changes the shape or is not finite.
    """
    if statistic not in ("u", "v"):
        raise ValueError(f"kernel_stein_discrepancy(statistic={statistic!r}): expected 'u' or 'v'")
    rows, kernel = _stein_kernel(x, score, bandwidth, generator)
    n, unbiased = len(rows), statistic == "u"
    total = quadratic_forms(kernel, rows.new_ones(n, 1), without_diagonal=unbiased)[2].item()
    return total / (n * (n - 1) if unbiased else n**2)


def stein_test(
    x: Tensor,
    score: TensorFunction,
    *,
    bandwidth: float | None = None,
    num_bootstrap: int = 500,
    flip_probability: float = 0.5,
    generator: Generator = None,
) -> Significance:
    """KSD^2 (unbiased), and the p-value of "x is drawn from the density with this score" by the wild bootstrap.

    Each replicate gives the examples signs w and takes the mean of w_i w_j k_p(x_i, x_j) over the pairs i != j
    (Chwialkowski, Strathmann and Gretton, ICML 2016). Signs of a chain's neighbours must agree as long as the chain
    remembers: w flips from an example to the next with `flip_probability`.

    Args:
        x: the sample (N, *E); the states of one chain in their order, if it is one.
        score: x -> grad log p(x).
        bandwidth: b; None takes the median distance in the sample.
        num_bootstrap: replicates; the smallest p-value is 1 / (num_bootstrap + 1).
        flip_probability: 1/2 for independent draws; about 1 over the autocorrelation time for a chain.
        generator: where the signs, and the rows of the median rule, are drawn from.

    Raises:
        ValueError: as `kernel_stein_discrepancy`; unless num_bootstrap >= 1 and 0 < flip_probability <= 1/2.
    """
    require_count("num_bootstrap", num_bootstrap)
    if not 0 < flip_probability <= 0.5:
        raise ValueError(f"stein_test(flip_probability={flip_probability}): expected 0 < flip_probability <= 1/2")
    rows, kernel = _stein_kernel(x, score, bandwidth, generator)
    n = len(rows)
    signs = _signs(rows.new_empty(num_bootstrap, n), flip_probability, fork(generator, "signs"))
    both, _, _ = quadratic_forms(kernel, torch.cat((rows.new_ones(n, 1), signs.T), dim=1))
    return exceedance(both / (n * (n - 1)))


def _signs(like: Tensor, flip_probability: float, generator: Generator) -> Tensor:
    """Markov chains of signs along the rows of `like`, stationary: the first is fair."""
    first = rademacher(like[:, :1], generator=fork(generator, "first"))
    flips = torch.where(uniform(like[:, 1:], generator=fork(generator, "flips")) < flip_probability, -1.0, 1.0)
    return torch.cat((first, flips.to(like)), dim=1).cumprod(1)


def _stein_kernel(
    x: Tensor, score: TensorFunction, bandwidth: float | None, generator: Generator
) -> tuple[Tensor, Callable[[slice], Tensor]]:
    """The rows of x (N, D), and a function that makes rows of k_p (n, N)."""
    require_bandwidth("kernel Stein discrepancy", bandwidth)
    rows = checked_sample(x, "x")
    rows = rows - rows.mean(0)  # only differences count: an offset would cost digits
    scores = _scores(x, score)
    b = bandwidth or median_distance(rows, generator=generator)
    own, dimension = (scores * rows).sum(1), rows.shape[1]

    def kernel(part: slice) -> Tensor:
        squared = torch.cdist(rows[part], rows).square_()
        q = squared + b**2
        aligned = scores[part] @ scores.T
        pulled = own[part].unsqueeze(1) + own - scores[part] @ rows.T - rows[part] @ scores.T
        return aligned * q**-0.5 + (pulled + dimension) * q**-1.5 - 3 * squared * q**-2.5

    return rows, kernel


def _scores(x: Tensor, score: TensorFunction) -> Tensor:
    with torch.no_grad():
        values = [score(x[part]) for part in blocks(len(x), 16 * x.shape[1:].numel())]
    scores = torch.cat(values)
    if scores.shape != x.shape or not scores.isfinite().all():
        raise ValueError(
            f"the score of x {tuple(x.shape)} has shape {tuple(scores.shape)} and {(~scores.isfinite()).sum().item()} "
            "values that are not finite: expected the shape of x, all finite"
        )
    return scores.flatten(1).double()
