r"""The laws of a kernel that accepts and rejects, and the targets they are checked on.

A kernel is first of all stationary: chains that start in the target's law have it after some steps. A kernel that never
moves is stationary too, and one with a wrong number of leapfrog steps; on log p(x) = c . x every move is accepted and
its law is known, n^2 h c + n sqrt(2 h) z for n leapfrog steps (Langevin: n = 1), which those two do not meet. What the
decision reports is checked against what it did, and, since detailed balance pairs a move with its reverse,

    E[min(1, e^r) f(r)] = 0        for every odd f.

Stationarity, balance and calibration are the conformance kit's (`scorekit.testing`); here are those that know the
kernel's formulas.
"""

import math
from collections.abc import Callable
from contextlib import AbstractContextManager
from typing import Any, TypeAlias

import torch
from torch import Tensor

from scorekit.base import Kernel, PerChain, Proposal, Target, normal
from scorekit.testing.invariance import Made, accept_calibration, antisymmetry, stationary, steps
from scorekit.testing.statistics import normal_pvalue
from scorekit.testing.targets import LAWS, Law, exponential2, gauss3, gaussian, gmm2, loggamma2

__all__ = [
    "LAWS", "LINEAR", "C", "Law", "Made", "Play", "accept_calibration", "antisymmetry", "exponential2",
    "gaussian", "gmm2", "leapfrog", "linear_law", "log_ratio", "loggamma2", "reversal", "stationary", "steps",
]  # fmt: skip


Play: TypeAlias = Callable[[Tensor], AbstractContextManager[Any]]
C = torch.tensor([3.0, -2.0, 5.0], dtype=torch.float64)
LINEAR = Target(lambda x: C.expand_as(x), lambda x: x @ C)


def linear_law(kernel: Kernel[Any], num_leapfrog: int, h: float | Tensor, seed: int, score_only: bool = False) -> float:
    """p of the displacements on log p = c . x, of 2,000 chains x 10 steps: their law, their independence over chains
    and over time. 0 if a move is rejected, or its ratio not 1."""
    x, generator = torch.zeros(2000, 3, dtype=torch.float64), torch.Generator().manual_seed(seed)
    size = torch.as_tensor(h).to(x).expand(x.shape) if isinstance(h, Tensor) else torch.tensor(h).to(x)
    made = steps(kernel, Target(LINEAR.score) if score_only else LINEAR, x, size, 10, generator)
    if not all(info.accepted.all() and info.log_accept.abs().max() < 1e-9 for _, _, info in made):
        return 0.0
    moves = torch.stack([after - before for before, after, _ in made])
    z = (moves - num_leapfrog**2 * size * C) / (num_leapfrog * (2 * size).sqrt())
    over_chains = z.mean(1) * math.sqrt(2000)
    over_time = (z[1:] * z[:-1]).mean((0, 1)) * math.sqrt(9 * 2000)
    together = torch.cat((over_chains.flatten(), over_time)).square().sum()
    independent = torch.special.gammaincc(torch.tensor(33 / 2, dtype=torch.float64), together / 2).item()
    return 2 * min(normal_pvalue(z.reshape(-1, 3)), independent)


def log_ratio(kernel: Kernel[Any], h: float, seed: int) -> float:
    """The largest error of MALA's log ratio against the normal densities it is made of, 3 steps in a row."""
    density, worst = gauss3(), 0.0
    target = density.at(0.0)
    x = density.sample(200, generator=PerChain(seed), dtype=torch.float64)
    state = kernel.init(target.point(x))
    for t in range(3):
        x = state.x
        y = x + h * density.score(x) + (2 * h) ** 0.5 * normal(x, generator=PerChain(seed + t))
        state, info = kernel.step(
            kernel.point(target, state), state, torch.tensor(h, dtype=torch.float64), generator=PerChain(seed + t)
        )
        there, back = (
            torch.distributions.Normal(a + h * density.score(a), (2 * h) ** 0.5).log_prob(b).sum(1)
            for a, b in ((x, y), (y, x))
        )
        wanted = density.log_prob(y) - density.log_prob(x) + back - there
        worst = max(worst, ((info.log_accept - wanted).abs() / (1 + wanted.abs())).max().item())
    return worst


def leapfrog(proposal: Proposal, num_leapfrog: int, h: float, seed: int) -> float:
    """The largest error of a trajectory for log p = -k x^2 / 2 against the power of leapfrog's 2 x 2 matrix."""
    k, e = torch.tensor([0.5, 1.0, 3.0], dtype=torch.float64), (2 * h) ** 0.5
    x = torch.randn(200, 3, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))
    move = proposal.propose(
        Target(lambda x: -k * x).point(x),
        torch.tensor(h, dtype=torch.float64),
        generator=torch.Generator().manual_seed(seed + 1),
    )
    p, q = move.momenta or (x, x)
    kick = torch.stack([torch.tensor([[1.0, 0.0], [-e * each / 2, 1.0]], dtype=torch.float64) for each in k.tolist()])
    drift = torch.tensor([[1.0, e], [0.0, 1.0]], dtype=torch.float64)
    whole = torch.linalg.matrix_power(kick @ drift @ kick, num_leapfrog)
    wanted = torch.einsum("dij,jbd->ibd", whole, torch.stack((x, p)))
    return (torch.stack((move.path[-1].x, q)) - wanted).abs().max().item()


def reversal(proposal: Proposal, target: Target, x: Tensor, h: Tensor, play: Play, seed: int) -> float:
    """How far from x a trajectory ends that is run, turned round and run again. Within `play(z)` the draws are z."""
    there = proposal.propose(target.point(x), h, generator=torch.Generator().manual_seed(seed))
    if there.momenta is None:
        return math.inf
    with play(-there.momenta[1]):
        back = proposal.propose(target.point(there.path[-1].x), h)
    return (back.path[-1].x - x).abs().max().item()
