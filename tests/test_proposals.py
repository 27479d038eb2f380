from dataclasses import dataclass
from typing import final

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from scorekit import Langevin, PerChain
from scorekit.base import GaussianProposal, Move, Point, Proposal, Target, expand, normal, uniform
from scorekit.proposals import Hamiltonian, RandomWalk
from tests.laws import kernels as laws
from tests.laws.components import Drift, Play
from tests.laws.statistics import ALPHA, BOUND, normal_pvalue
from tests.laws.targets import gauss3


def _standardised(proposal: Proposal, generator: torch.Generator) -> torch.Tensor:
    """Ten steps of h = .01 on `laws.LINEAR` by 2,000 chains, less h c, over sqrt(2 h): (10, 2000, 3)."""
    h = torch.tensor(0.01, dtype=torch.float64)
    x, steps = torch.zeros(2_000, 3, dtype=torch.float64), []
    for _ in range(10):
        move = proposal.propose(laws.LINEAR.point(x), h, generator=generator)
        steps.append((move.path[-1].x - x - h * laws.C) / (2 * h).sqrt())
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


@final
@dataclass(frozen=True)
class InPlace(GaussianProposal):
    """Langevin's move, which scribbles on what it is given."""

    what: str

    def mean(self, point: Point, step_size: torch.Tensor) -> torch.Tensor:
        drift = expand(step_size, point.x) * point.score
        {"x": point.x, "score": point.score, "h": step_size}[self.what].mul_(1.5)
        return point.x + drift


def _leaves_its_inputs(proposal: Proposal) -> bool:
    point, h = gauss3().at(0.2).point(torch.ones(4, 3, dtype=torch.float64)), torch.tensor(0.3, dtype=torch.float64)
    given = (point.x, point.score, h)
    before = [value.clone() for value in given]
    move = proposal.propose(point, h, generator=PerChain(3))
    proposal.log_q_ratio(move, h)
    return all(map(torch.equal, before, given)) and move.path[0] is point


def test_what_a_proposal_is_given_stays_as_it_is_bit_for_bit():
    assert all(_leaves_its_inputs(each) for each in (Langevin(), RandomWalk(), Hamiltonian(3)))
    assert not any(_leaves_its_inputs(InPlace(what)) for what in ("x", "score", "h"))


# ------------------------------------------------------------------------------------------------- Hamiltonian


@pytest.mark.parametrize("num_leapfrog", [1, 2, 5, 20])
def test_a_harmonic_trajectory_is_the_power_of_leapfrogs_matrix(num_leapfrog, seed):
    assert laws.leapfrog(Hamiltonian(num_leapfrog, 0.0), num_leapfrog, 0.1, seed) < 1e-10
    assert laws.leapfrog(Hamiltonian(num_leapfrog, 0.0), num_leapfrog + 1, 0.1, seed) > 1e-2


@given(
    num_leapfrog=st.integers(1, 20),
    h=st.integers(3, 6).map(lambda k: 2.0**-k),  # sqrt(2 h) <= 1/2: the stiffest axis, std .44, is stable below .88
    seed=st.integers(0, 2**16 - 1),
    kind=st.sampled_from(["one", "chain", "coordinate"]),
)
def test_a_trajectory_turned_round_comes_back(num_leapfrog, h, seed, kind):
    density = gauss3()
    x = density.sample(5, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    step = torch.full({"one": (), "chain": (5,), "coordinate": (5, 3)}[kind], h, dtype=torch.float64)
    assert laws.reversal(Hamiltonian(num_leapfrog, 0.0), density.at(0.0), x, step, Play, seed) < 1e-9


@pytest.mark.parametrize("num_leapfrog", [1, 4])
def test_a_path_has_a_point_and_one_evaluation_a_leapfrog_step(num_leapfrog):
    calls = []

    def score(x: torch.Tensor) -> torch.Tensor:
        calls.append(x)
        return -x

    proposal, point = Hamiltonian(num_leapfrog), Target(score).point(torch.ones(2, 3))
    assert point.score.sum() == -6
    move = proposal.propose(point, torch.tensor(0.1), generator=PerChain(0))
    assert proposal.num_segments == num_leapfrog == len(move.path) - 1 == len(calls) - 1
    assert move.path[0] is point
    proposal.log_q_ratio(move, torch.tensor(0.1))
    assert [each.score is not None for each in move.path] == [True] * len(move.path)
    assert len(calls) == num_leapfrog + 1


def test_every_point_of_a_path_meets_the_targets_constraint():
    known = torch.tensor([True, False, False])
    target = Target(lambda x: torch.where(known, 0.0, -x), project=lambda x: torch.where(known, 7.0, x))
    move = Hamiltonian(4).propose(target.point(torch.zeros(5, 3)), torch.tensor(0.1), generator=PerChain(0))
    assert all((point.x[:, 0] == 7).all() for point in move.path)
    assert (move.path[-1].x[:, 1:] != 0).all()
    assert move.momenta is not None
    assert torch.equal(move.momenta[0][:, 0], move.momenta[1][:, 0])  # no work on what is known


def test_the_momenta_are_drawn_first_then_one_uniform_a_chain_for_the_jitter():
    x, h = torch.ones(4, 2, 3, dtype=torch.float64), torch.tensor(0.08, dtype=torch.float64)
    target = Target(lambda x: torch.zeros_like(x))
    streams = PerChain(3)
    z = normal(x, generator=streams)
    u = uniform(x[:, 0, 0], generator=streams)
    for proposal, scale in ((Hamiltonian(3, 0.0), torch.ones(4)), (Hamiltonian(3, 0.2), 1 + 0.2 * (2 * u - 1))):
        move = proposal.propose(target.point(x), h, generator=PerChain(3))
        assert move.momenta is not None
        assert torch.equal(move.momenta[0], z)
        wanted = x + 3 * 0.4 * scale.reshape(4, 1, 1).double() * z
        assert (move.path[-1].x - wanted).abs().max() < 1e-14
    assert len(set(u.tolist())) == 4


def test_without_jitter_no_uniform_is_drawn():
    generators = [torch.Generator().manual_seed(1) for _ in range(2)]
    x = torch.zeros(4, 3)
    Hamiltonian(2, 0.0).propose(Target(lambda x: -x).point(x), torch.tensor(0.1), generator=generators[0])
    normal(x, generator=generators[1])
    assert torch.equal(generators[0].get_state(), generators[1].get_state())


def test_a_step_for_each_coordinate_is_a_diagonal_mass(seed):
    """x / sqrt(2 h), coordinate by coordinate, moves as it does under one step and the target in those coordinates."""
    h, density = torch.tensor([0.02, 0.1, 0.3], dtype=torch.float64), gauss3()
    x = density.sample(6, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    scale = (2 * h).sqrt()
    there = Target(lambda y: scale * density.score(scale * y))
    one = Hamiltonian(4).propose(density.at(0.0).point(x), h.expand(6, 3), generator=PerChain(seed))
    other = Hamiltonian(4).propose(there.point(x / scale), torch.tensor(0.5).double(), generator=PerChain(seed))
    assert (one.path[-1].x - scale * other.path[-1].x).abs().max() < 1e-12
    ratios = [Hamiltonian(4).log_q_ratio(move, h.expand(6, 3)) for move in (one, other)]
    assert (ratios[0] - ratios[1]).abs().max() < 1e-12


@given(seed=st.integers(0, 2**16 - 1), h=st.integers(0, 6).map(lambda k: 2.0**-k), batch=st.integers(1, 5))
def test_hamiltonian_with_one_leapfrog_step_is_langevin(seed, h, batch):
    x = torch.randn(batch, 3, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))
    target, step = gauss3().at(0.0), torch.tensor(h, dtype=torch.float64)
    moves = [p.propose(target.point(x), step, generator=PerChain(seed)) for p in (Langevin(), Hamiltonian(1, 0.0))]
    one, other = (move.path[-1].x for move in moves)
    assert (one - other).abs().max() < 1e-12 * (1 + one.abs().max())
    one, other = (p.log_q_ratio(move, step) for p, move in zip((Langevin(), Hamiltonian(1, 0.0)), moves, strict=True))
    assert ((one - other).abs() / (1 + one.abs())).max() < 1e-12


def test_the_ratio_is_summed_over_the_whole_event_in_float32_or_better():
    """In bfloat16 the sum of 3072 squares would be off by 16."""
    before = torch.full((2, 3, 32, 32), 1.0078125, dtype=torch.bfloat16)
    point = Target(lambda x: x).point(before)
    ratio = Hamiltonian().log_q_ratio(Move((point, point), (before, torch.ones_like(before))), torch.tensor(0.1))
    assert ratio.dtype == torch.float32
    assert torch.equal(ratio, torch.full((2,), 3072 * (1.0078125**2 - 1) / 2))
    double = Hamiltonian().log_q_ratio(Move((point, point), (before.double(), before.double())), torch.tensor(0.1))
    assert double.dtype == torch.float64


def test_a_move_of_another_proposal_has_no_momenta_to_compare():
    point = Target(lambda x: -x).point(torch.zeros(1, 1))
    with pytest.raises(TypeError, match="has no momenta"):
        Hamiltonian().log_q_ratio(Langevin().propose(point, torch.tensor(0.1)), torch.tensor(0.1))


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        ((0,), r"num_leapfrog=0\): expected an integer >= 1"),
        ((2.0,), r"num_leapfrog=2.0\): expected an integer"),
        ((3, 1.0), r"jitter=1.0\): expected 0 <= jitter < 1"),
        ((3, -0.1), "jitter=-0.1"),
        ((3, float("nan")), "jitter=nan"),
    ],
)
def test_a_trajectory_that_is_none_is_refused(arguments, text):
    with pytest.raises(ValueError, match=text):
        Hamiltonian(*arguments)


# --------------------------------------------------------------------------------------------------- random walk


def test_a_random_walk_asks_for_no_score_and_its_ratio_is_1():
    def score(x: torch.Tensor) -> torch.Tensor:
        raise AssertionError("the score was asked for")

    x, h = torch.ones(4, 2, 3, dtype=torch.float64), torch.tensor([0.1, 0.2, 0.3, 0.4], dtype=torch.float64)
    move = RandomWalk().propose(Target(score).point(x), h, generator=PerChain(2))
    wanted = x + (2 * h).sqrt().reshape(4, 1, 1) * normal(x, generator=PerChain(2))
    assert torch.equal(move.path[-1].x, wanted)
    assert torch.equal(RandomWalk().log_q_ratio(move, h), torch.zeros(4, dtype=torch.float64))
    assert not RandomWalk().needs_score
    assert Langevin().needs_score
