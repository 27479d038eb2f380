"""The densities under test in two dimensions: each with a quadrature rule for its clean law, and its PIT.

A probability integral transform is written from the definition of the law, by scipy or by quadrature, never from the
density's own code.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass, field, replace

import numpy as np
import torch
from scipy import special, stats
from torch import Tensor

from scorekit.densities import (
    Banana,
    Box,
    Checkerboard,
    Density,
    Empirical,
    Exponential,
    Funnel,
    Gaussian,
    GaussianMixture,
    LogGamma,
    Ring,
    TwoMoons,
    toy_mixture,
)
from tests.laws.targets import mixture3

POINTS = torch.tensor([[0.0, 0.1], [1.0, -0.5], [-1.2, 0.4], [0.3, 1.1], [0.9, 0.8]], dtype=torch.float64)
HERMITE = np.polynomial.hermite_e.hermegauss(40)  # E f(z), z standard normal

Rule = tuple[Tensor, Tensor]  # nodes (M, 2) and weights (M,)


def product(first: Rule, second: Rule) -> Rule:
    """The rule in two dimensions of two rules in one."""
    nodes = torch.cartesian_prod(first[0], second[0])
    return nodes, torch.outer(first[1], second[1]).flatten()


def trapezoid(low: float, high: float, step: float) -> Rule:
    nodes = torch.arange(low, high, step, dtype=torch.float64)
    return nodes, torch.full_like(nodes, step)


def gauss(low: float, high: float, count: int = 40) -> Rule:
    nodes, weights = (torch.from_numpy(each) for each in np.polynomial.legendre.leggauss(count))
    return (low + high) / 2 + (high - low) / 2 * nodes, (high - low) / 2 * weights


def squares_rule(board: Checkerboard) -> Rule:
    side = 2 * board.half_width / board.num_squares
    edges = [-board.half_width + i * side for i in range(board.num_squares)]
    rules = [
        product(gauss(a, a + side, 24), gauss(b, b + side, 24))
        for i, a in enumerate(edges)
        for j, b in enumerate(edges)
        if (i + j) % 2 == 0
    ]
    return torch.cat([nodes for nodes, _ in rules]), torch.cat([weights for _, weights in rules])


def funnel_rule() -> Rule:
    """x_2 = exp(x_1 / 2) t."""
    (nodes, weights) = product(trapezoid(-11, 11, 0.2), trapezoid(-9, 9, 0.25))
    scale = torch.exp(nodes[:, 0] / 2)
    return torch.stack((nodes[:, 0], scale * nodes[:, 1]), dim=1), scale * weights


# ---------------------------------------------------------------------------------------------------------------- PITs


def pit_mixture(means: np.ndarray, weights: np.ndarray, stds: np.ndarray, x: np.ndarray) -> np.ndarray:
    """x_1 by its marginal, x_2 by its conditional."""
    z = (x[:, None, :] - means) / stds[:, None]
    first = weights / stds * np.exp(-(z[:, :, 0] ** 2) / 2)
    cdf = special.ndtr(z)
    return np.stack((cdf[:, :, 0] @ weights, (first * cdf[:, :, 1]).sum(1) / first.sum(1)), axis=1)


def pit_gaussian_mixture(p: GaussianMixture, x: np.ndarray, sigma: float) -> np.ndarray:
    means = np.asarray(p.means)
    weights = np.full(len(means), 1 / len(means)) if p.weights is None else np.asarray(p.weights)
    return pit_mixture(means, weights, np.hypot(np.broadcast_to(p.stds, len(means)), sigma), x)


def pit_moons(p: TwoMoons, x: np.ndarray, sigma: float) -> np.ndarray:
    t = np.pi * np.arange(p.num_points) / (p.num_points - 1)
    means = np.concatenate((np.stack((np.cos(t), np.sin(t)), 1), np.stack((1 - np.cos(t), 0.5 - np.sin(t)), 1)))
    return pit_mixture(means, np.full(len(means), 1 / len(means)), np.full(len(means), math.hypot(p.std, sigma)), x)


def pit_empirical(p: Empirical, x: np.ndarray, sigma: float) -> np.ndarray:
    count = len(p.data)
    return pit_mixture(p.data.numpy(), np.full(count, 1 / count), np.full(count, math.hypot(p.std, sigma)), x)


def pit_ring(p: Ring, x: np.ndarray, sigma: float) -> np.ndarray:
    """The angle is uniform, the radius has Rice's law."""
    scale = math.hypot(p.std, sigma)
    radius = stats.rice.cdf(np.hypot(x[:, 0], x[:, 1]), p.radius / scale, scale=scale)
    return np.stack((np.arctan2(x[:, 1], x[:, 0]) / (2 * np.pi) % 1, radius), axis=1)


def interval(x: np.ndarray, low: float, high: float, sigma: float) -> tuple[np.ndarray, np.ndarray]:
    """The density and the CDF of a uniform variable plus noise."""
    if sigma == 0:
        return ((x >= low) & (x <= high)) / (high - low), np.clip((x - low) / (high - low), 0, 1)
    u, w = (x - low) / sigma, (x - high) / sigma
    rise = [t * special.ndtr(t) + np.exp(-(t**2) / 2) / math.sqrt(2 * math.pi) for t in (u, w)]
    return (special.ndtr(u) - special.ndtr(w)) / (high - low), sigma / (high - low) * (rise[0] - rise[1])


def pit_box(p: Box, x: np.ndarray, sigma: float) -> np.ndarray:
    return np.stack([interval(x[:, j], p.low[j], p.high[j], sigma)[1] for j in range(2)], axis=1)


def pit_board(p: Checkerboard, x: np.ndarray, sigma: float) -> np.ndarray:
    side = 2 * p.half_width / p.num_squares
    parts = [
        (interval(x[:, 0], a, a + side, sigma), interval(x[:, 1], b, b + side, sigma)[1])
        for i in range(p.num_squares)
        for j in range(p.num_squares)
        if (i + j) % 2 == 0
        for a, b in [(i * side - p.half_width, j * side - p.half_width)]
    ]
    density = sum(first for (first, _), _ in parts)
    second = sum(first * cdf for (first, _), cdf in parts)
    return np.stack((sum(cdf for (_, cdf), _ in parts) / len(parts), second / density), axis=1)


def clean_first(x: np.ndarray, std: float, sigma: float) -> tuple[np.ndarray, np.ndarray]:
    """x_1 = c + sigma eps with c ~ N(0, std^2): its PIT, and 40 Hermite nodes of c given x_1."""
    v = std**2 + sigma**2
    nodes = x[:, None] * std**2 / v + HERMITE[0] * std * sigma / math.sqrt(v)
    return special.ndtr(x / math.sqrt(v)), nodes


def pit_banana(p: Banana, x: np.ndarray, sigma: float) -> np.ndarray:
    first, c = clean_first(x[:, 0], p.std, sigma)
    centred = x[:, 1:] - p.bend * (c**2 - p.std**2)
    return np.stack((first, average(special.ndtr(centred / math.hypot(p.width, sigma)))), axis=1)


def pit_funnel(p: Funnel, x: np.ndarray, sigma: float) -> np.ndarray:
    first, c = clean_first(x[:, 0], p.std, sigma)
    return np.stack((first, average(special.ndtr(x[:, 1:] / np.sqrt(np.exp(c) + sigma**2)))), axis=1)


def pit_log_gamma(p: LogGamma, x: np.ndarray, sigma: float) -> np.ndarray:
    nodes = HERMITE[0] if sigma > 0 else np.zeros(len(HERMITE[0]))
    return average(special.gammainc(p.shape, p.rate * np.exp(x[:, :, None] - sigma * nodes)))


def pit_exponential(p: Exponential, x: np.ndarray, sigma: float) -> np.ndarray:
    if sigma == 0:
        return -np.expm1(-p.rate * x)
    return stats.exponnorm.cdf(x, 1 / (sigma * p.rate), scale=sigma)


def pit_gaussian(p: Gaussian, x: np.ndarray, sigma: float) -> np.ndarray:
    factor = np.linalg.cholesky(np.asarray(p.covariance) + sigma**2 * np.eye(2))
    return special.ndtr(np.linalg.solve(factor, (x - np.asarray(p.mean)).T).T)


def average(values: np.ndarray) -> np.ndarray:
    return values @ HERMITE[1] / math.sqrt(2 * math.pi)


# --------------------------------------------------------------------------------------------------------------- cases


@dataclass(frozen=True)
class Case:
    """A density in two dimensions, what its clean law is integrated with, its PIT, and a twin that is 5 % off.

    `fold`: the fraction of fold * PIT is uniform too, and sees structure that is finer than the whole law's.
    """

    density: Density
    rule: Rule = field(repr=False)
    pit: Callable[..., np.ndarray]
    twin: Density
    noisy: bool = True  # whether score and log_prob are known at sigma > 0
    bounded: bool = False
    fold: int = 1


def case(density: Density, rule: Rule, pit: Callable[..., np.ndarray], change: dict, **options) -> Case:
    return Case(density, rule, pit, replace(density, **change), **options)


def plane(low: float, high: float, step: float) -> Rule:
    return product(trapezoid(low, high, step), trapezoid(low, high, step))


BOARD, ODD_BOARD = Checkerboard(), Checkerboard(3, 1.5)
CASES = {
    "gaussian": case(
        Gaussian((0.3, -0.2), ((1.0, 0.4), (0.4, 0.5))), plane(-8, 8, 0.15), pit_gaussian,
        {"covariance": ((1.1, 0.44), (0.44, 0.55))},
    ),
    "mixture": case(mixture3(), plane(-9, 10, 0.15), pit_gaussian_mixture, {"stds": (0.525, 1.05, 0.84)}),
    "toy mixture": case(toy_mixture(), plane(-13, 13, 0.25), pit_gaussian_mixture, {"stds": 1.05}),
    "ring": case(Ring(1.0, 0.15), plane(-2.3, 2.3, 0.05), pit_ring, {"std": 0.1575}),
    "wide ring": case(Ring(3.0, 1.0), plane(-11, 11, 0.2), pit_ring, {"radius": 3.15}),
    "box": case(
        Box((-1.0, 0.5), (1.0, 2.0)), product(gauss(-1, 1), gauss(0.5, 2)), pit_box, {"high": (1.1, 2.075)},
        bounded=True,
    ),
    "checkerboard": case(BOARD, squares_rule(BOARD), pit_board, {"half_width": 4.2}, bounded=True, fold=4),
    "odd checkerboard": case(
        ODD_BOARD, squares_rule(ODD_BOARD), pit_board, {"half_width": 1.575}, bounded=True, fold=3
    ),
    "moons": case(
        TwoMoons(0.1, 40), product(trapezoid(-1.9, 2.9, 0.04), trapezoid(-1.4, 1.9, 0.04)), pit_moons, {"std": 0.105}
    ),
    "empirical": case(Empirical(POINTS, 0.3), plane(-4.5, 4.5, 0.1), pit_empirical, {"std": 0.315}),
    "banana": case(
        Banana(1.0, 0.7, 0.5), product(trapezoid(-7, 7, 0.1), trapezoid(-6, 38, 0.1)), pit_banana, {"width": 0.525},
        noisy=False,
    ),
    "funnel": case(Funnel(2, 1.5), funnel_rule(), pit_funnel, {"std": 1.575}, noisy=False),
    "log-gamma": case(LogGamma(), plane(-14, 3.5, 0.1), pit_log_gamma, {"rate": 2.1}, noisy=False),
    "exponential": case(
        Exponential(1.5), product(gauss(0, 30, 80), gauss(0, 30, 80)), pit_exponential, {"rate": 1.575}, noisy=False,
        bounded=True,
    ),
}  # fmt: skip
NOISY = {name: each for name, each in CASES.items() if each.noisy}
CLEAN = {name: each for name, each in CASES.items() if not each.noisy}
