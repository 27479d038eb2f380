"""Samples and chains with known laws, and the law of p-values."""

import math

import torch
from torch import Tensor

from scorekit import metrics
from scorekit.samplers import Chains
from tests.laws.statistics import z_score

MMD, SW = metrics.MaximumMeanDiscrepancy, metrics.SlicedWasserstein


def draws(generator: torch.Generator, *shape: int, mean: float = 0.0) -> Tensor:
    return mean + torch.randn(*shape, dtype=torch.float64, generator=generator)


def uniform_mean_z(pvalues: list[float]) -> float:
    """p-values k / (P + 1) under the null: the mean is about 1/2, the std 1 / sqrt(12)."""
    return z_score(torch.tensor(pvalues, dtype=torch.float64), 0.5, 1 / math.sqrt(12))


def ar1(rho: float, time: int, chains: int, coordinates: int, generator: torch.Generator) -> Tensor:
    """Stationary AR(1) chains (T, B, E) of unit variance."""
    noise = draws(generator, time, chains, coordinates)
    x = [noise[0]]
    for t in range(1, time):
        x.append(rho * x[-1] + math.sqrt(1 - rho**2) * noise[t])
    return torch.stack(x)


def one_level(x: Tensor) -> Chains:
    return Chains(x, torch.ones(len(x), dtype=torch.float64), None)
