r"""NCSNv2's automatic choices: the noise levels and the step size from the data alone.

Song and Ermon, "Improved techniques for training score-based generative models", arXiv 2006.09011. With D the number of
coordinates of an example, g = sigma_i / sigma_{i+1} the ratio of neighbouring levels and T the steps at each level:

**Technique 1.** sigma_1 is the largest Euclidean distance between two examples: a chain at the first level then passes
from any example's neighbourhood to any other's.

**Technique 2.** The radius of N(0, sigma^2 I_D) is about N(sqrt(D) sigma, sigma^2 / 2) for large D. The ratio g is such
that a level's radii within three deviations of their mean have the probability `overlap` at the next larger level:

    Phi(sqrt(2 D) (g - 1) + 3 g) - Phi(sqrt(2 D) (g - 1) - 3 g) = overlap,      L = 1 + log(sigma_1 / sigma_L) / log g,

rounded to the nearest integer. The left side is .9973 at g = 1 and falls to 0 if sqrt(2 D) > 3; else it never falls
to any smaller overlap, and the equation has no solution. The paper says "about .5"; its five published ladders
have .566 to .567, hence the default `OVERLAP`, which gives CIFAR-10's 232 levels, CelebA's 500 and FFHQ's 2,311 (of
LSUN's 788 and 1,086, one more each).

**Technique 4.** T Langevin steps x <- x + h s + sqrt(2 h) z on N(0, sigma^2 I), h = r sigma^2, from the level before
leave the variance s_T^2, the same at every level in units of sigma^2:

    s_T^2 / sigma^2 = (1 - r)^(2 T) (g^2 - b) + b,      b = 2 r / (1 - (1 - r)^2) = 1 / (1 - r / 2).

For 0 < r < 2 it is a weighted mean of g^2 and b, both above 1; epsilon = r sigma_L^2 is where it is least. In the
convention of this library (and of NCSNv2's code) epsilon is h itself: `SigmaSquared(epsilon, sigma_min=sigma_L)`.
"""

import math
from collections.abc import Iterator
from dataclasses import dataclass
from statistics import NormalDist
from typing import final

import numpy as np
import torch
from torch import Tensor

from scorekit.base import Generator, fork, shift, uniform
from scorekit.data.sources import Source
from scorekit.data.wrapping import Data, as_source
from scorekit.noise import Geometric
from scorekit.step_sizes import SigmaSquared

OVERLAP = 0.567
"""Technique 2's constant, as the published ladders have it; the paper's text says "about .5"."""

_FULL_OVERLAP = math.erf(3 / math.sqrt(2))  # at g = 1
_ROWS = 1024  # of a block of distances: 8 MB in float64, whatever the number of examples
_BATCH = 256


@final
@dataclass(frozen=True)
class NCSNv2Settings:
    """What `ncsnv2_settings` chose, and what it was chosen from.

    Args:
        noise: the levels (techniques 1 and 2), for training and for sampling.
        step_size: the rule for annealed Langevin dynamics (technique 4).
        steps_per_level: T, which `step_size` was chosen for.
        largest_distance: the largest distance between two examples, = noise.sigma_max.
        num_examples: among how many examples that is.
        overlap: technique 2's constant, as it was asked for.
        variance_ratio: s_T^2 / sigma^2 at the end of each level, for a Gaussian; 1 is perfect.
    """

    noise: Geometric
    step_size: SigmaSquared
    steps_per_level: int
    largest_distance: float
    num_examples: int
    overlap: float
    variance_ratio: float


def ncsnv2_settings(
    data: Data,
    *,
    sigma_min: float = 0.01,
    overlap: float = OVERLAP,
    steps_per_level: int = 5,
    max_examples: int = 10_000,
    generator: Generator = None,
) -> NCSNv2Settings:
    """NCSNv2's noise levels and Langevin step size for some data (techniques 1, 2 and 4).

    Args:
        data: whatever `scorekit.data.as_source` takes: a tensor or array (N, *E), `Images`, a data set, a DataLoader.
        sigma_min: the smallest level sigma_L.
        overlap: technique 2's constant.
        steps_per_level: T; from the budget of evaluations, L T.
        max_examples: see `largest_distance`.
        generator: see `largest_distance`.

    Raises:
        ValueError: from `largest_distance`, `num_levels_for_overlap` and `epsilon_for`; if no two examples are further
            apart than sigma_min.
        TypeError: from `largest_distance`.
    """
    _check_steps(steps_per_level)
    _check_overlap(overlap)
    if not 0 < sigma_min < math.inf:
        raise ValueError(f"ncsnv2_settings(sigma_min={sigma_min}): expected 0 < sigma_min < inf")
    examples = _examples(as_source(data), max_examples, generator)
    distance = _diameter(examples)
    if distance <= sigma_min:
        raise ValueError(
            f"ncsnv2_settings(sigma_min={sigma_min}): the largest distance between two of {len(examples)} examples is "
            f"{distance:g}; sigma_1 is that distance, and must be larger than sigma_min"
        )
    levels = num_levels_for_overlap(examples[0].numel(), distance, sigma_min, overlap)
    noise = Geometric(distance, sigma_min, levels)
    epsilon = epsilon_for(noise, steps_per_level)
    return NCSNv2Settings(
        noise,
        SigmaSquared(epsilon, sigma_min=sigma_min),
        steps_per_level,
        largest_distance=distance,
        num_examples=len(examples),
        overlap=overlap,
        variance_ratio=variance_ratio(noise, steps_per_level, epsilon),
    )


# ----------------------------------------------------------------------------------------------------- technique 1


def largest_distance(data: Data, *, max_examples: int = 10_000, generator: Generator = None) -> float:
    """The largest Euclidean distance between two examples, as the model sees them (technique 1's sigma_1).

    Exact for up to `max_examples` examples, else among that many of them, drawn at random without replacement: a little
    less than the truth (50.4 against 53.2 on CIFAR-10). The work is quadratic in their number, the memory is not.

    Args:
        data: whatever `scorekit.data.as_source` takes. A DataLoader is read once, from its start to its end.
        max_examples: how many examples are compared at most, >= 2.
        generator: what the choice and the data's transform (dequantisation, flips) draw from.

    Raises:
        ValueError: if max_examples < 2, or there are fewer than two examples.
        TypeError: if the examples are not floating point once transformed.
    """
    return _diameter(_examples(as_source(data), max_examples, generator))


def _examples(source: Source, count: int, generator: Generator) -> Tensor:
    """At most `count` transformed examples: (M, *E), on the CPU."""
    if count < 2:
        raise ValueError(f"max_examples={count}: a distance needs two examples at least")
    draws = fork(generator, "ncsnv2")
    stored = _chosen(source, count, fork(draws, "choice"))
    if len(stored) < 2:
        raise ValueError(f"the largest distance between examples needs two of them at least; there are {len(stored)}")
    parts = []
    for first, chunk in zip(range(0, len(stored), _BATCH), stored.cpu().split(_BATCH), strict=True):
        parts.append(source.transform.forward(chunk, generator=shift(fork(draws, "transform"), first)))
    x = torch.cat(parts)
    if not x.is_floating_point():
        raise TypeError(f"{source.transform}: distances are between floating-point examples, these are {x.dtype}")
    return x


def _chosen(source: Source, count: int, generator: Generator) -> Tensor:
    """At most `count` stored examples, without replacement; all of them, in order, if there are no more."""
    total = source.num_examples
    if total is None:
        return _reservoir(source.scan(_BATCH), count, generator)
    if total <= count:
        return source.take(torch.arange(total))
    order = uniform(torch.empty(total, dtype=torch.float64), generator=generator).argsort(stable=True)
    return source.take(order[:count].sort().values)


def _reservoir(batches: Iterator[Tensor], count: int, generator: Generator) -> Tensor:
    """A uniform choice from examples that pass by once (Waterman's algorithm R; Knuth, TAOCP 2, section 3.4.2)."""
    kept: list[Tensor] = []
    seen = 0
    for batch in batches:
        units = uniform(torch.empty(len(batch), dtype=torch.float64), generator=generator).tolist()
        for example, unit in zip(batch, units, strict=True):
            seen += 1
            place = int(unit * seen)
            if len(kept) < count:
                kept.append(example)
            elif place < count:
                kept[place] = example
    return torch.stack(kept) if kept else torch.empty(0)


def _diameter(x: Tensor) -> float:
    """The largest distance between two rows of x (N, *E), a block of pairs at a time.

    Blocks are found in the type of x around its mean, where |a|^2 + |b|^2 - 2 ab loses no digits; the distance itself
    is that of the farthest pair in float64.
    """
    flat = x.flatten(1).to(torch.promote_types(x.dtype, torch.float32))
    centred = flat - flat.mean(0)
    farthest, pair = -1.0, (0, 0)
    for i, rows in enumerate(centred.split(_ROWS)):
        for j, columns in enumerate(centred.split(_ROWS)[i:], i):
            distances = torch.cdist(rows, columns)
            place = int(distances.argmax())
            if float(distances.flatten()[place]) > farthest:
                a, b = divmod(place, len(columns))
                farthest, pair = float(distances.flatten()[place]), (i * _ROWS + a, j * _ROWS + b)
    return float((flat[pair[0]].double() - flat[pair[1]].double()).norm())


# ----------------------------------------------------------------------------------------------------- technique 2


def overlap_of(dim: int, ratio: float) -> float:
    """The left side of technique 2's equation: how much neighbouring levels in the ratio g overlap in D = `dim`
    coordinates."""
    shift_, width = math.sqrt(2 * dim) * (ratio - 1), 3 * ratio
    return _upper_tail(shift_ - width) - _upper_tail(shift_ + width)


def _upper_tail(z: float) -> float:
    return math.erfc(z / math.sqrt(2)) / 2


def ratio_for_overlap(dim: int, overlap: float = OVERLAP) -> float:
    """The ratio g of neighbouring levels whose overlap in D = `dim` coordinates is `overlap`.

    Raises:
        ValueError: unless 0 < overlap < .9973, the overlap at g = 1; for dim <= 4, where no ratio has it.
    """
    from scipy.optimize import root_scalar

    _check_overlap(overlap)
    growth = math.sqrt(2 * dim) - 3 if dim > 0 else -math.inf
    if growth <= 0:
        raise ValueError(
            f"dim = {dim}: no ratio of levels has the overlap {overlap}, since sqrt(2 dim) <= 3; NCSNv2's rule is for "
            "many dimensions: in few, choose num_levels yourself (ratios of 1.4 to 2 are usual)"
        )
    # the lower limit of the interval, growth g - sqrt(2 D), is where the tail alone is `overlap`: the whole is less
    upper = (math.sqrt(2 * dim) - NormalDist().inv_cdf(overlap)) / growth
    found = root_scalar(lambda g: overlap_of(dim, g) - overlap, bracket=(1.0, upper), method="brentq", xtol=1e-14)
    return float(found.root)


def _check_overlap(overlap: float) -> None:
    if not 0 < overlap < _FULL_OVERLAP:
        raise ValueError(f"overlap = {overlap}: expected 0 < overlap < {_FULL_OVERLAP:.4f}, what equal levels have")


def num_levels_for_overlap(dim: int, sigma_max: float, sigma_min: float, overlap: float = OVERLAP) -> int:
    """The number of geometric levels L from sigma_max to sigma_min whose neighbours overlap as wanted (technique 2).

    Args:
        dim: D, the number of coordinates of an example.
        sigma_max: sigma_1.
        sigma_min: sigma_L.
        overlap: technique 2's constant; the paper's text has "about .5", its ladders .566 to .567.

    Returns:
        1 + log(sigma_max / sigma_min) / log g, to the nearest integer, at least 2.

    Raises:
        ValueError: unless 0 < sigma_min < sigma_max < inf; from `ratio_for_overlap`.
    """
    if not 0 < sigma_min < sigma_max < math.inf:
        raise ValueError(f"sigma_max = {sigma_max}, sigma_min = {sigma_min}: expected 0 < sigma_min < sigma_max < inf")
    exact = 1 + math.log(sigma_max / sigma_min) / math.log(ratio_for_overlap(dim, overlap))
    return max(2, math.floor(exact + 0.5))


# ----------------------------------------------------------------------------------------------------- technique 4


def variance_ratio(noise: Geometric, steps_per_level: int, epsilon: float) -> float:
    """s_T^2 / sigma^2 at the end of a level of annealed Langevin dynamics on a Gaussian (technique 4's equation).

    Args:
        noise: the levels.
        steps_per_level: T.
        epsilon: the step h at the smallest level.
    """
    return float(_variance_ratio(_ratio(noise), steps_per_level, np.asarray(epsilon / noise.sigma_min**2)))


def epsilon_for(noise: Geometric, steps_per_level: int) -> float:
    """The step h at the smallest level for which `variance_ratio` is nearest to 1 (technique 4).

    Use it as `SigmaSquared(epsilon, sigma_min=noise.sigma_min)`.

    Args:
        noise: the levels.
        steps_per_level: T >= 1.

    Raises:
        ValueError: if steps_per_level < 1.
    """
    from scipy.optimize import minimize_scalar

    _check_steps(steps_per_level)
    g = _ratio(noise)
    # the ratio exceeds 1 everywhere, falls at r = 0 and rises at r = 1; a grid brackets the least of its minima
    grid = np.geomspace(1e-9, 1.0, 1000)
    best = int(np.clip(_variance_ratio(g, steps_per_level, grid).argmin(), 1, len(grid) - 2))
    found = minimize_scalar(
        lambda log_r: float(_variance_ratio(g, steps_per_level, np.exp(log_r))),
        bounds=(math.log(grid[best - 1]), math.log(grid[best + 1])),
        method="bounded",
        options={"xatol": 1e-10},
    )
    return math.exp(found.x) * noise.sigma_min**2


def _check_steps(steps_per_level: int) -> None:
    if not isinstance(steps_per_level, int) or steps_per_level < 1:
        raise ValueError(f"steps_per_level = {steps_per_level!r}: expected an integer >= 1")


def _ratio(noise: Geometric) -> float:
    """g."""
    return (noise.sigma_max / noise.sigma_min) ** (1 / (noise.num_levels - 1))


def _variance_ratio(g: float, num_steps: int, r: np.ndarray) -> np.ndarray:
    b = 1 / (1 - r / 2)
    return (1 - r) ** (2 * num_steps) * (g**2 - b) + b
