"""Line integrals next to broken twins: what stationarity sees of them, and on which targets.

On Gaussians the trapezoid rule is exact, so that score-only kernels are judged on others.
"""

from dataclasses import dataclass
from itertools import pairwise
from typing import final

import pytest
import torch
from torch import Tensor

from scorekit import Langevin
from scorekit.base import (
    LineIntegral,
    Point,
    Proposal,
    sum_event,
)
from scorekit.kernels import MetropolisAdjusted
from scorekit.line_integrals import FreeCubic, GaussLobatto
from scorekit.proposals import Hamiltonian, RandomWalk
from tests.laws import kernels as laws
from tests.laws.components import Trapezoid
from tests.laws.statistics import ALPHA
from tests.laws.targets import gauss3


# line integrals
@final
@dataclass(frozen=True)
class OneSided(LineIntegral):
    """The score at the start alone: not antisymmetric."""

    def __call__(self, path: tuple[Point, ...]) -> tuple[Tensor, Tensor]:
        total = torch.stack([sum_event(a.score * (b.x - a.x)) for a, b in pairwise(path)]).sum(0)
        return total, torch.ones_like(total, dtype=torch.bool)


@final
@dataclass(frozen=True)
class Negative(LineIntegral):
    def __call__(self, path: tuple[Point, ...]) -> tuple[Tensor, Tensor]:
        total, trusted = GaussLobatto()(path)
        return -total, trusted


@final
@dataclass(frozen=True)
class Chord(LineIntegral):
    """Simpson's rule on the straight line between a trajectory's ends."""

    def __call__(self, path: tuple[Point, ...]) -> tuple[Tensor, Tensor]:
        return GaussLobatto()((path[0], path[-1]))


@final
@dataclass(frozen=True)
class Truthful(LineIntegral):
    """Another rule's value, trusted where it is negative: a guard that is not symmetric under reversal."""

    def __call__(self, path: tuple[Point, ...]) -> tuple[Tensor, Tensor]:
        total, _ = GaussLobatto()(path)
        return total, total < 0.5


RULES: dict[str, tuple[LineIntegral, Proposal, float, str]] = {
    "trapezoid, MALA": (Trapezoid(), Langevin(), 0.3, "loggamma2"),
    "trapezoid, MALA, a small step": (Trapezoid(), Langevin(), 0.1, "loggamma2"),
    "trapezoid, walk": (Trapezoid(), RandomWalk(), 0.3, "loggamma2"),
    "trapezoid, HMC": (Trapezoid(), Hamiltonian(4), 0.18, "loggamma2"),
    "the score at the start": (OneSided(), Langevin(), 0.3, "loggamma2"),
    "sign": (Negative(), Langevin(), 0.3, "loggamma2"),
    "Simpson on the chord": (Chord(), Hamiltonian(4), 0.18, "gmm2"),
    "a guard on one side": (Truthful(), Langevin(), 0.3, "loggamma2"),
}


@pytest.mark.parametrize("name", RULES)
def test_mutants_of_the_line_integral_are_rejected_and_simpson_is_not(name, seed):
    rule, proposal, h, target = RULES[name]
    law = laws.LAWS[target]().score_only()
    assert laws.stationary(MetropolisAdjusted(proposal, rule), law, h, seed) < ALPHA
    assert laws.stationary(MetropolisAdjusted(proposal), law, h, seed) > ALPHA


def test_a_gaussian_does_not_see_the_trapezoid_rule(seed):
    """Score-only kernels are tested on other targets: on a Gaussian the rule is exact."""
    law = laws.gaussian(gauss3()).score_only()
    assert laws.stationary(MetropolisAdjusted(Langevin(), Trapezoid()), law, 0.3, seed) > ALPHA


def test_three_nodes_are_too_few_for_jumps_between_modes_and_five_are_enough(seed):
    """A walk of h = 4 on modes of std .6 and .8, a sixth of its moves accepted: n = 60,000 see Simpson's error."""
    law = laws.gmm2().score_only()
    three, five = (
        laws.stationary(MetropolisAdjusted(RandomWalk(), GaussLobatto(n)), law, 4.0, seed, n=60_000) for n in (3, 5)
    )
    assert three < ALPHA < five


def test_the_free_rule_is_for_small_steps(seed):
    """loggamma2, four leapfrog steps: at h = .3 its error is seen, guard and all; at h = .02 it is not."""
    law = laws.loggamma2().score_only()
    small, large = (laws.stationary(MetropolisAdjusted(Hamiltonian(4), FreeCubic()), law, h, seed) for h in (0.02, 0.3))
    assert large < ALPHA < small
