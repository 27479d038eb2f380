"""What a step evaluates, what its state carries, and when that is asked for again."""

import pytest
import torch
from torch import Tensor

from scorekit import AnnealedMCMC, Geometric, Langevin, PerChain, SigmaSquared
from scorekit.base import Proposal, Target
from scorekit.densities import Gaussian
from scorekit.kernels import Evaluated, MetropolisAdjusted
from scorekit.line_integrals import FreeCubic, GaussLobatto
from scorekit.models import ScoreOnly
from scorekit.proposals import Hamiltonian, RandomWalk
from tests.kernels.cases import KERNELS, MALA, NAMES, WALK, chains, double
from tests.laws import kernels as laws
from tests.laws.components import Watch
from tests.laws.targets import gauss3

NOISE = Geometric(1.0, 0.01, 10)


def _costs(proposal: Proposal, num_steps: int, score_only: bool, rule: GaussLobatto | FreeCubic) -> tuple[int, int]:
    """Evaluations of the score and of the log density."""
    density = Gaussian((0.0,))
    watch = Watch(ScoreOnly(density) if score_only else density)
    sampler = AnnealedMCMC(MetropolisAdjusted(proposal, rule), NOISE, SigmaSquared(), num_steps)
    assert len(list(sampler.steps(watch, chains(2, 0, (1,)), generator=torch.Generator()))) == 10 * num_steps
    return len(watch.evaluated), watch.num_log_probs


COSTS = [
    pytest.param(Langevin(), 10, False, GaussLobatto(), 110, id="MALA"),
    pytest.param(Langevin(), 10, True, GaussLobatto(), 210, id="MALA-Simpson"),
    pytest.param(Hamiltonian(3), 10, False, GaussLobatto(), 310, id="HMC"),
    pytest.param(Hamiltonian(3), 10, True, FreeCubic(), 310, id="HMC-free"),
    pytest.param(Hamiltonian(3), 10, True, GaussLobatto(), 610, id="HMC-Simpson"),
    pytest.param(Hamiltonian(3), 10, True, GaussLobatto(5), 1210, id="HMC-five-nodes"),
    pytest.param(RandomWalk(), 10, False, GaussLobatto(), 0, id="walk"),
    pytest.param(RandomWalk(), 10, True, GaussLobatto(), 210, id="walk-Simpson"),
]


@pytest.mark.parametrize(("proposal", "num_steps", "score_only", "rule", "scores"), COSTS)
def test_the_number_of_evaluations_is_known(proposal, num_steps, score_only, rule, scores):
    """10 levels: one evaluation to begin each, then the proposal's and the rule's for each step."""
    log_probs = 0 if score_only else 10 + 10 * num_steps
    assert _costs(proposal, num_steps, score_only, rule) == (scores, log_probs)


def test_a_walk_does_not_ask_a_target_for_both_where_the_log_density_alone_will_do():
    def both(x: Tensor) -> tuple[Tensor, Tensor]:
        raise AssertionError("value_and_score was asked for")

    density = gauss3()
    target = Target(density.score, density.log_prob, both)
    laws.steps(WALK, target, chains(3, 0), 0.1, 3, PerChain(0))


def test_a_target_that_gives_both_at_once_is_asked_once_a_point():
    calls, density = [], gauss3()

    def both(x: Tensor) -> tuple[Tensor, Tensor]:
        calls.append(x)
        return density.log_prob(x), density.score(x)

    target = Target(_refuse, _refuse, both)
    laws.steps(MALA, target, chains(3, 0), 0.1, 5, PerChain(0))
    assert len(calls) == 6
    del calls[:]
    laws.steps(MetropolisAdjusted(Hamiltonian(3)), target, chains(3, 0), 0.1, 5, PerChain(0))
    assert len(calls) == 16


def _refuse(x: Tensor) -> Tensor:
    raise AssertionError("evaluated twice")


@pytest.mark.parametrize("kernel", KERNELS, ids=NAMES)
def test_the_state_carries_what_the_target_has_and_the_moves_need(kernel):
    target = gauss3().at(0.1)
    for each in (target, Target(target.score)):
        state = kernel.init(each.point(chains(2, 0)))
        assert isinstance(state, Evaluated)
        assert (state.log_prob is None) == (each.log_prob is None)
        assert (state.score is None) == (each.log_prob is not None and not kernel.proposal.needs_score)


@pytest.mark.parametrize("kernel", KERNELS, ids=NAMES)
@pytest.mark.parametrize("score_only", [False, True])
def test_a_family_that_is_asked_again_is_heard(kernel, score_only, seed):
    """refresh = "step": what the state carries is of the target before, so the step goes by the point it is given."""
    old, new = (Gaussian((m, m, m), v) for m, v in ((0.0, 1.0), (2.0, 0.3)))
    x = chains(5, seed)
    targets = [(ScoreOnly(each) if score_only else each).at(0.0) for each in (old, new)]
    stale = kernel.init(targets[0].point(x))
    results = [
        kernel.step(targets[1].point(x), state, double(0.2), generator=PerChain(seed))
        for state in (stale, kernel.init(targets[1].point(x)))
    ]
    (state, info), (wanted, told) = results
    assert torch.equal(info.log_accept, told.log_accept)
    for one, two in zip(state, wanted, strict=True):
        assert (one is None and two is None) or torch.equal(one, two)
