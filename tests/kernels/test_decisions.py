"""Metropolis: the ratio, what is drawn, and what becomes of a chain."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from scorekit import Langevin, PerChain, Unadjusted
from scorekit.base import Target, normal, uniform
from scorekit.densities import Gaussian
from scorekit.kernels import MetropolisAdjusted
from scorekit.line_integrals import FreeCubic, GaussLobatto
from scorekit.models import ScoreOnly
from scorekit.proposals import Hamiltonian, RandomWalk
from tests.kernels.cases import KERNELS, MALA, chains, double
from tests.laws import kernels as laws
from tests.laws.components import Play
from tests.laws.statistics import ALPHA
from tests.laws.targets import gauss3, mixture3


@pytest.mark.parametrize("num_leapfrog", [1, 2, 4])
@pytest.mark.parametrize("h", [0.01, (0.01, 0.02, 0.05)])
@pytest.mark.parametrize("score_only", [False, True])
def test_on_a_linear_log_density_every_move_is_accepted_and_its_law_known(num_leapfrog, h, score_only, seed):
    size = torch.tensor(h, dtype=torch.float64) if isinstance(h, tuple) else h
    kernels = [MetropolisAdjusted(Hamiltonian(num_leapfrog, 0.0))] + ([MALA] if num_leapfrog == 1 else [])
    for kernel in kernels:
        assert laws.linear_law(kernel, num_leapfrog, size, seed, score_only) > ALPHA


@pytest.mark.parametrize("h", [0.05, 0.3, 1.0])
def test_the_ratio_is_the_closed_form_three_steps_in_a_row(h, seed):
    assert laws.log_ratio(MALA, h, seed) < 1e-9


@pytest.mark.parametrize("h", [0.05, 0.3, 1.0])
@pytest.mark.parametrize("score_only", [False, True])
def test_hmc_with_one_leapfrog_step_is_mala(h, score_only, seed):
    """The same draws from the same states, 50 steps: no decision differs. (Two runs would part: at h = 1 a rounding
    grows a thousandfold over them.)"""
    density = mixture3()
    target = (ScoreOnly(density) if score_only else density).at(0.0)
    kernels = MALA, MetropolisAdjusted(Hamiltonian(1, 0.0))
    state = MALA.init(target.point(density.sample(50, generator=PerChain(seed), dtype=torch.float64)))
    accepted = []
    for t in range(50):
        point = MALA.point(target, state)
        (one, told), (other, info) = (k.step(point, state, double(h), generator=PerChain(seed + t)) for k in kernels)
        assert torch.equal(told.accepted, info.accepted)
        assert (one.x - other.x).abs().max() < 1e-12
        state = one
        accepted.append(told.accepted)
    assert 0.1 < torch.stack(accepted).double().mean() < 0.999


def test_the_proposal_draws_first_then_one_uniform_a_chain(seed):
    density = gauss3()
    point, streams = density.at(0.3).point(chains(6, seed)), PerChain(seed)
    y = point.x + 0.3 * point.score + 0.6**0.5 * normal(point.x, generator=streams)
    state, info = MALA.step(point, MALA.init(point), double(0.3), generator=PerChain(seed))
    u = uniform(point.x[:, 0], generator=streams)
    assert torch.equal(info.accepted, u.log() < info.log_accept)
    assert (state.x - torch.where(info.accepted.unsqueeze(1), y, point.x)).abs().max() < 1e-14


@given(
    seed=st.integers(0, 2**16 - 1),
    batch=st.integers(1, 5),
    event=st.lists(st.integers(1, 3), min_size=1, max_size=3).map(tuple),
    kernel=st.sampled_from(KERNELS),
    h=st.integers(-3, 6).map(lambda k: 2.0**-k),
    score_only=st.booleans(),
)
def test_a_rejected_chain_is_its_input_and_an_accepted_one_its_proposal_bit_for_bit(
    seed, batch, event, kernel, h, score_only
):
    density = Gaussian(torch.zeros(event), 0.7)
    target = (ScoreOnly(density) if score_only else density).at(0.0)
    point = target.point(chains(batch, seed, event))
    state, info = kernel.step(point, kernel.init(point), double(h), generator=PerChain(seed))
    proposed = kernel.proposal.propose(point, double(h), generator=PerChain(seed)).path[-1]
    for i, accepted in enumerate(info.accepted.tolist()):
        source = proposed if accepted else point
        assert torch.equal(state.x[i], source.x[i])
        assert state.score is None or torch.equal(state.score[i], source.score[i])
        assert state.log_prob is None or torch.equal(state.log_prob[i], source.log_prob[i])
    assert all(value.shape == (batch,) for value in info)
    assert info.trusted.all()
    assert not info.nonfinite.any()
    assert torch.equal(info.energy_error, -info.log_accept)


def _both_ways(kernel: MetropolisAdjusted, target: Target, x: Tensor, h: Tensor, seed: int) -> tuple[Tensor, Tensor]:
    """The log ratio of a move, and of the same move backwards: from y with what makes the proposal come back to x."""
    point = target.point(x)
    _, there = kernel.step(point, kernel.init(point), h, generator=torch.Generator().manual_seed(seed))
    move = kernel.proposal.propose(point, h, generator=torch.Generator().manual_seed(seed))
    y = move.path[-1]
    if move.momenta is not None:
        with Play(-move.momenta[1]):
            _, back = kernel.step(target.point(y.x), kernel.init(y), h, generator=torch.Generator().manual_seed(seed))
        return there.log_accept, back.log_accept
    drift = 0 if not kernel.proposal.needs_score else y.score
    with Play((x - y.x - h * drift) / (2 * h).sqrt()):
        _, back = kernel.step(target.point(y.x), kernel.init(y), h, generator=torch.Generator().manual_seed(seed))
    return there.log_accept, back.log_accept


@given(
    seed=st.integers(0, 2**16 - 1),
    h=st.integers(2, 6).map(lambda k: 2.0**-k),
    proposal=st.sampled_from([Langevin(), Hamiltonian(3, 0.0), RandomWalk()]),
    score_only=st.booleans(),
)
def test_the_ratio_of_the_move_back_is_the_opposite(seed, h, proposal, score_only):
    density = mixture3()
    target = (ScoreOnly(density) if score_only else density).at(0.2)
    x = density.sample(4, 0.2, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    there, back = _both_ways(MetropolisAdjusted(proposal), target, x, double(h), seed)
    assert ((there + back).abs() / (1 + there.abs())).max() < 1e-10


@given(
    seed=st.integers(0, 2**16 - 1),
    h=st.integers(0, 6).map(lambda k: 2.0**-k),
    proposal=st.sampled_from([Langevin(), Hamiltonian(3), RandomWalk()]),
)
def test_the_score_alone_gives_the_same_ratio_where_simpson_is_exact(seed, h, proposal):
    """A Gaussian's score is linear; reliability's law 1. One step of the two kernels from the same draws."""
    density, kernel = gauss3(), MetropolisAdjusted(proposal)
    x = density.sample(4, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    infos = []
    for family in (density, ScoreOnly(density)):
        point = family.at(0.0).point(x)
        infos.append(kernel.step(point, kernel.init(point), double(h), generator=PerChain(seed))[1])
    one, other = infos
    assert ((one.log_accept - other.log_accept).abs() / (1 + one.log_accept.abs())).max() < 1e-9


def test_an_untrusted_move_is_rejected_and_counted(seed):
    density = mixture3()
    x = density.sample(500, generator=PerChain(seed), dtype=torch.float64)
    free = MetropolisAdjusted(Hamiltonian(4), FreeCubic(0.1))
    (before, after, info), *_ = laws.steps(free, ScoreOnly(density).at(0.0), x, 0.2, 1, PerChain(seed))
    doubtful = ~info.trusted
    assert 50 < doubtful.sum() < 450
    assert not info.accepted[doubtful].any()
    assert torch.equal(after[doubtful], before[doubtful])
    assert (info.log_accept[doubtful] > 0).any()  # it would have been accepted
    assert not info.nonfinite.any()
    (_, _, exact), *_ = laws.steps(free, density.at(0.0), x, 0.2, 1, PerChain(seed))
    assert exact.trusted.all()  # with a log density the line integral is not asked


@pytest.mark.parametrize(
    ("make", "text"),
    [
        (
            lambda: MetropolisAdjusted(Langevin(), FreeCubic()),
            r"proposal=Langevin\(\), line_integral=FreeCubic.*needs a path of 2 segments at least.*has 1",
        ),
        (lambda: MetropolisAdjusted(Hamiltonian(1), FreeCubic()), "needs a path of 2 segments at least.*has 1"),
        (
            lambda: MALA.init(Target(lambda x: -x, lambda x: -x.square()).point(torch.zeros(2, 3))),
            r"log_prob maps x of shape \(2, 3\) to \(2, 3\): expected one number a chain, \(2,\)",
        ),
        (
            lambda: MALA.init(Target(lambda x: -x, lambda x: -x.square().sum()).point(torch.zeros(2, 3))),
            r"log_prob maps x of shape \(2, 3\) to \(\)",
        ),
    ],
)
def test_pairs_that_do_not_fit_are_refused(make, text):
    with pytest.raises(ValueError, match=text):
        make()


@pytest.mark.parametrize("kernel", [*KERNELS, MetropolisAdjusted(Hamiltonian(2), FreeCubic(2.0))])
def test_a_kernel_is_its_repr(kernel):
    names = {each.__name__: each for each in (MetropolisAdjusted, Langevin, Hamiltonian, RandomWalk)}
    rules = {each.__name__: each for each in (FreeCubic, GaussLobatto)}
    assert eval(repr(kernel), names | rules) == kernel
    assert kernel.adjusted
    assert kernel.num_segments == kernel.proposal.num_segments
    longest = 0.95 if kernel.line_integral == FreeCubic(2.0) else 0.0  # the rate at which the rule is still right
    assert kernel.target_acceptance == max(kernel.proposal.target_acceptance, longest)
    assert not Unadjusted(Langevin()).adjusted
