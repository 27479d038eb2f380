r"""The laws of annealed Langevin dynamics.

On a Gaussian N(mu, S) every step is affine: with A = I - h (S + sigma^2 I)^-1,

    m <- mu + A (m - mu),        C <- A C A' + 2 h I,

so the exact law of the chains is known after any number of steps, converged or not. A short run keeps the memory of
every fault; a long one forgets most of them.
"""

import torch
from torch import Tensor

from scorekit.base import PerChain, Sampler, StepSize, TargetFamily, normal
from scorekit.densities import Gaussian
from scorekit.samplers import sample
from scorekit.target import Point, Target, identity
from tests.laws.statistics import normal_pvalue
from tests.laws.targets import covariance_of


def exact_law(
    density: Gaussian, mean: Tensor, covariance: Tensor, levels: list[float], step_sizes: list[float], num_steps: int
) -> tuple[Tensor, Tensor]:
    """The mean (n,) and covariance (n, n) of the chains after `num_steps` steps at each level."""
    mu, s = torch.tensor(density.mean, dtype=torch.float64), covariance_of(density)
    one = torch.eye(len(mu), dtype=torch.float64)
    for sigma, h in zip(levels, step_sizes, strict=True):
        a = one - h * torch.linalg.inv(s + sigma**2 * one)
        for _ in range(num_steps):
            mean, covariance = mu + a @ (mean - mu), a @ covariance @ a.T + 2 * h * one
    return mean, covariance


def law_pvalue(x: Tensor, mean: Tensor, covariance: Tensor) -> float:
    """p that the rows of x (n, d) are independent draws of N(mean, covariance)."""
    if not x.isfinite().all():
        return 0.0
    whitened = torch.linalg.solve_triangular(torch.linalg.cholesky(covariance), (x - mean).T, upper=False).T
    return normal_pvalue(whitened)


def step_sizes(rule: StepSize, levels: list[float]) -> list[float]:
    """h at each level."""
    point = Point(Target(identity), torch.zeros(1, 1, dtype=torch.float64))
    return [rule(sigma, point).item() for sigma in levels]


def run(sampler: Sampler, family: TargetFamily, x: Tensor, generator: torch.Generator | PerChain) -> Tensor:
    """The last state of the chains that start at x."""
    for step in sampler.steps(family, x, generator=generator):
        x = step.x
    return x


def replay(family: Gaussian, x: Tensor, levels: list[float], h: list[float], num_steps: int, seed: int) -> Tensor:
    """Annealed Langevin dynamics as one writes it by hand, drawing in the same order."""
    generator = torch.Generator().manual_seed(seed)
    for sigma, step in zip(levels, h, strict=True):
        for _ in range(num_steps):
            x = x + step * family.score(x, sigma) + (2 * step) ** 0.5 * normal(x, generator=generator)
    return x


def neighbour(sampler: Sampler, family: TargetFamily, x: Tensor, seed: int) -> bool:
    """True if the first chain is bit-equal when the others start seven times as far out."""
    others = torch.cat((x[:1], 7 * x[1:]))
    one, two = (run(sampler, family, start, PerChain(seed)) for start in (x, others))
    return torch.equal(one[0], two[0])


def chunking(sampler: Sampler, family: TargetFamily, shape: tuple[int, ...], cuts: tuple[int, ...]) -> float:
    """The largest difference between one run and the same run in chunks of each size."""
    whole, *parts = (
        sample(sampler, family, shape, generator=PerChain(5), batch_size=size, dtype=torch.float64)
        for size in (None, *cuts)
    )
    return max((whole - part).abs().max().item() for part in parts)
