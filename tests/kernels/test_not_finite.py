"""Metropolis where scores or log densities are NaN or infinite."""

import math
from dataclasses import replace

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from scorekit import PerChain
from scorekit.base import Target
from tests.kernels.cases import KERNELS, NAMES, WALK, H, chains
from tests.laws import kernels as laws
from tests.laws.targets import gauss3


def _planted(target: Target, x: Tensor, row: int, where: str, value: float) -> Target:
    """The target with a fault in the score or the log density of one row, wherever that row is not at x."""

    def fault(y: Tensor) -> Tensor:
        return (y != x).any(1) & (torch.arange(len(x)) == row)

    def score(y: Tensor) -> Tensor:
        return torch.where(fault(y).unsqueeze(1), value, target.score(y))

    def log_prob(y: Tensor) -> Tensor:
        return torch.where(fault(y), value, target.log_prob(y))

    faulty = {"score": score} if where == "score" else {"log_prob": log_prob}
    return replace(target, **faulty)


@given(
    seed=st.integers(0, 2**16 - 1),
    kernel=st.sampled_from(KERNELS),
    value=st.sampled_from([math.nan, math.inf, -math.inf]),
    where=st.sampled_from(["score", "log_prob"]),
    score_only=st.booleans(),
    row=st.integers(0, 3),
)
def test_what_is_not_finite_at_a_proposal_rejects_it_and_leaves_the_others_alone(
    seed, kernel, value, where, score_only, row
):
    """A walk on a target with a log density does not see the score at all."""
    score_only = (score_only or not kernel.proposal.needs_score) if where == "score" else False
    sound, x = gauss3().at(0.0), chains(4, seed)
    sound = Target(sound.score) if score_only else sound
    results = []
    for each in (_planted(sound, x, row, where, value), sound):
        point = each.point(x)
        results.append(kernel.step(point, kernel.init(point), H, generator=PerChain(seed)))
    (state, info), (other, told) = results
    assert not info.accepted[row]
    assert info.nonfinite.tolist() == [i == row for i in range(4)]
    assert torch.equal(state.x[row], x[row])
    rest = torch.arange(4) != row
    assert torch.equal(state.x[rest], other.x[rest])
    for one, two in zip(info, told, strict=True):
        assert torch.equal(one[rest], two[rest])
    assert all(part is None or part.isfinite().all() for part in state)


@pytest.mark.parametrize("kernel", KERNELS, ids=NAMES)
def test_a_chain_that_starts_in_nan_stays_there_and_is_counted(kernel):
    x = torch.tensor([[0.5, 0.5], [-1.0, 0.5]], dtype=torch.float64)  # the second outside the support
    made = laws.steps(kernel, laws.exponential2().target, x, 0.01, 20, PerChain(1))
    assert all(torch.equal(after[1], x[1]) for _, after, _ in made)
    assert all(info.nonfinite[1] for _, _, info in made)
    assert not all(info.nonfinite[0] for _, _, info in made)


@pytest.mark.parametrize("kernel", KERNELS, ids=NAMES)
def test_from_outside_the_support_a_finite_proposal_is_accepted(kernel, seed):
    """log p = -inf with a finite score there: every chain enters when it first proposes to, and never leaves again."""
    target = Target(lambda x: -torch.ones_like(x), lambda x: torch.where((x > 0).all(1), -x.sum(1), -math.inf))
    x = torch.full((500, 1), -0.5, dtype=torch.float64)
    made = laws.steps(kernel, target, x, 0.5, 60, torch.Generator().manual_seed(seed))
    entered = 0
    for before, after, info in made:
        crosses = (before <= 0).flatten() & (after > 0).flatten()
        assert info.accepted[crosses].all()
        assert not info.nonfinite[crosses].any()
        assert (info.log_accept[crosses] == math.inf).all()
        stays = (before <= 0).flatten() & ~crosses
        assert info.nonfinite[stays].all()
        assert torch.equal(after[stays], before[stays])
        assert (after[(before > 0).flatten()] > 0).all()
        entered += int(crosses.sum())
    assert entered > 250


def test_a_move_to_infinite_density_is_rejected():
    target = Target(torch.zeros_like, lambda x: torch.where(x[:, 0] > 0, math.inf, 0.0).to(x))
    x = torch.full((200, 1), -0.1, dtype=torch.float64)
    (before, after, info), *_ = laws.steps(WALK, target, x, 0.5, 1, PerChain(0))
    up = info.log_accept == math.inf
    assert 50 < up.sum() < 150
    assert info.nonfinite[up].all()
    assert torch.equal(after[up], before[up])
    assert info.accepted[~up].all()
