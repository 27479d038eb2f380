import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from scorekit import Langevin, PerChain
from scorekit.base import Proposal, Target, normal
from tests.laws.components import Drift
from tests.laws.statistics import ALPHA, BOUND, normal_pvalue
from tests.laws.targets import gauss3

C = torch.tensor([3.0, -2.0, 5.0], dtype=torch.float64)


def _standardised(proposal: Proposal, generator: torch.Generator) -> torch.Tensor:
    """Ten steps of h = .01 on log p = c.x by 2,000 chains, less h c, over sqrt(2 h): (10, 2000, 3)."""
    target, h = Target(lambda x: C.expand_as(x)), torch.tensor(0.01, dtype=torch.float64)
    x, steps = torch.zeros(2_000, 3, dtype=torch.float64), []
    for _ in range(10):
        move = proposal.propose(target.point(x), h, generator=generator)
        steps.append((move.path[-1].x - x - h * C) / (2 * h).sqrt())
        x = move.path[-1].x
    return torch.stack(steps)


def test_the_displacement_on_a_linear_log_density_is_its_law(generator):
    """N(h c, 2 h I), independent over chains and steps; n = 2,000 x 10."""
    z = _standardised(Langevin(), generator)
    assert normal_pvalue(z.reshape(-1, 3)) > ALPHA
    lag = (z[1:] * z[:-1]).mean() * z[1:].numel() ** 0.5
    assert abs(lag) < BOUND


FAULTS = [Drift(0.5), Drift(2.0), Drift(-1.0), Drift(noise=1.0), Drift(noise=4.0), Drift(noise=2 * 0.95**2)]


@pytest.mark.parametrize("proposal", FAULTS, ids=repr)
def test_other_displacements_are_rejected(proposal, generator):
    assert normal_pvalue(_standardised(proposal, generator).reshape(-1, 3)) < ALPHA


def test_langevins_mean_and_draw_order():
    density, h = gauss3(), torch.tensor(0.3, dtype=torch.float64)
    point = density.at(0.2).point(torch.ones(4, 3, dtype=torch.float64))
    assert torch.equal(Langevin().mean(point, h), point.x + h * point.score)
    move = Langevin().propose(point, h, generator=PerChain(3))
    replayed = point.x + 0.3 * point.score + 0.6**0.5 * normal(point.x, generator=PerChain(3))
    assert (move.path[-1].x - replayed).abs().max() < 1e-15
    assert move.path[0] is point
    assert move.momenta is None


@given(
    h=st.integers(0, 6).map(lambda k: 2.0**-k),
    seed=st.integers(0, 2**16 - 1),
    batch=st.integers(1, 5),
    kind=st.sampled_from(["one", "chain", "coordinate"]),
)
def test_a_step_per_chain_or_coordinate_is_that_chains_own(h, seed, batch, kind):
    """The same number in every shape that h may have gives the same move and ratio, bit for bit."""
    x = torch.randn(batch, 2, 2, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))
    target = Target(lambda x: -x)
    step = torch.full({"one": (), "chain": (batch,), "coordinate": (batch, 2, 2)}[kind], h, dtype=torch.float64)
    one, other = (Langevin().propose(target.point(x), size, generator=PerChain(seed)) for size in (step, step.mean()))
    assert torch.equal(one.path[-1].x, other.path[-1].x)
    assert torch.allclose(Langevin().log_q_ratio(one, step), Langevin().log_q_ratio(other, step.mean()), rtol=1e-12)


def test_one_evaluation_for_a_move_and_two_for_its_ratio():
    calls = []

    def score(x: torch.Tensor) -> torch.Tensor:
        calls.append(1)
        return -x

    move = Langevin().propose(Target(score).point(torch.zeros(1, 1)), torch.tensor(0.1), generator=PerChain(0))
    assert len(calls) == 1
    Langevin().log_q_ratio(move, torch.tensor(0.1))
    Langevin().log_q_ratio(move, torch.tensor(0.1))
    assert len(calls) == 2
