"""What the metrics of two samples share: their checks, distances in blocks, the median rule, a test's result."""

import math
from collections.abc import Callable, Iterator
from typing import NamedTuple

import torch
from torch import Tensor

from scorekit.base import Generator, fork, uniform

BLOCK = 1 << 22  # numbers in a block of pairwise values: 32 MiB
MEDIAN_ROWS = 1000  # the median rule looks at the pairs of so many rows


class Significance(NamedTuple):
    """A statistic, and how often it would be as large by chance."""

    statistic: float
    pvalue: float


def checked_sample(x: Tensor, name: str, *, at_least: int = 2) -> Tensor:
    """The sample x (N, *E) as rows (N, D) in double precision.

    Raises:
        ValueError: unless x is a finite floating-point (N, *E) of `at_least` examples.
    """
    if x.ndim < 2 or not x.is_floating_point() or len(x) < at_least:
        raise ValueError(
            f"{name} of shape {tuple(x.shape)} and type {x.dtype}: expected a floating-point (N, *E), N >= {at_least}"
        )
    bad = (~x.isfinite()).flatten(1).any(1).sum().item()
    if bad:
        raise ValueError(
            f"{bad} of the {len(x)} examples of {name} are NaN or infinite: count them, then leave them out"
        )
    return x.detach().flatten(1).double()


def checked_pair(x: Tensor, reference: Tensor, *, at_least: int = 2) -> tuple[Tensor, Tensor]:
    """Both samples as rows in double precision.

    Raises:
        ValueError: as `checked_sample`, or if their events differ in shape.
    """
    if x.shape[1:] != reference.shape[1:]:
        raise ValueError(
            f"x of shape {tuple(x.shape)} and reference of shape {tuple(reference.shape)}: expected one event shape"
        )
    return checked_sample(x, "x", at_least=at_least), checked_sample(reference, "reference", at_least=at_least)


def require_bandwidth(owner: object, bandwidth: float | None) -> None:
    """Refuse a bandwidth that is neither None nor positive and finite."""
    if bandwidth is not None and not 0 < bandwidth < math.inf:
        raise ValueError(f"{owner}: bandwidth = {bandwidth} must be positive and finite, or None for the median rule")


def require_count(name: str, value: int, *, at_least: int = 1) -> None:
    """Refuse a count that is not a whole number >= at_least."""
    if not isinstance(value, int) or value < at_least:
        raise ValueError(f"{name} = {value}: expected a whole number >= {at_least}")


def median_distance(rows: Tensor, *, generator: Generator = None) -> float:
    """The median distance of two different rows (N, D), from the pairs of at most 1,000 rows drawn without
    replacement.

    Raises:
        ValueError: if it is 0, as it is when most rows are the same.
    """
    if len(rows) > MEDIAN_ROWS:
        order = uniform(rows.new_empty(len(rows)), generator=fork(generator, "median")).argsort()
        rows = rows[order[:MEDIAN_ROWS]]
    median = torch.pdist(rows).median().item()
    if median <= 0:
        raise ValueError(
            f"the median distance of the {len(rows)} rows looked at is {median:g}: most are the same; give bandwidth="
        )
    return median


def quadratic_forms(
    kernel_rows: Callable[[slice], Tensor], weights: Tensor, *, without_diagonal: bool = True
) -> tuple[Tensor, Tensor, Tensor]:
    """w' K w, w' K 1 and 1' K 1 for each column w of `weights` (N, P), with K made a block of rows at a time.

    Args:
        kernel_rows: the rows of K (n, N) at a slice.
        weights: the columns w, (N, P).
        without_diagonal: leave out K's diagonal, as unbiased statistics do.

    Returns:
        (P,), (P,) and ().
    """
    count = len(weights)
    both, once, total = weights.new_zeros(weights.shape[1]), weights.new_zeros(weights.shape[1]), weights.new_zeros(())
    for rows in blocks(count, count):
        kernel = kernel_rows(rows)
        if without_diagonal:
            kernel.diagonal(rows.start).zero_()
        both += (weights[rows] * (kernel @ weights)).sum(0)
        row_sums = kernel.sum(1)
        once += row_sums @ weights[rows]
        total += row_sums.sum()
    return both, once, total


def blocks(count: int, width: int) -> Iterator[slice]:
    """Slices that cover `count` rows of `width` numbers, each of at most `BLOCK` numbers (one row at least)."""
    step = max(1, BLOCK // max(width, 1))
    return (slice(first, min(first + step, count)) for first in range(0, count, step))


def exceedance(statistics: Tensor) -> Significance:
    """The first of the statistics (1 + P,), and its rank among all: (1 + how many of the others reach it) / (1 + P)."""
    observed = statistics[0]
    reached = (statistics[1:] >= observed).sum().item()
    return Significance(observed.item(), (1 + reached) / len(statistics))
