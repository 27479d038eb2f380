"""The kernels that are tried, and what the tests make chains and targets of."""

import torch
from torch import Tensor

from scorekit import Langevin
from scorekit.base import Target
from scorekit.kernels import MetropolisAdjusted
from scorekit.line_integrals import FreeCubic
from scorekit.proposals import Hamiltonian, RandomWalk

H = torch.tensor(0.1, dtype=torch.float64)
MALA, HMC, WALK = (MetropolisAdjusted(proposal) for proposal in (Langevin(), Hamiltonian(4), RandomWalk()))
KERNELS = [MALA, HMC, WALK]
FREE = MetropolisAdjusted(Hamiltonian(2), FreeCubic())
NAMES = ["MALA", "HMC", "walk"]


def double(value: float) -> Tensor:
    return torch.tensor(value, dtype=torch.float64)


def chains(batch: int, seed: int, event: tuple[int, ...] = (3,)) -> Tensor:
    return torch.randn(batch, *event, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))


def plus(target: Target, c: float) -> Target:
    return Target(target.score, lambda x: target.log_prob(x) + c)
