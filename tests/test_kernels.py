"""What kernels do with a move; the laws that decide whether it was right are in `tests/laws/kernels.py`."""

import math
from dataclasses import replace

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor
from torch.fx.experimental.proxy_tensor import make_fx

from scorekit import AnnealedMCMC, Constant, Geometric, Langevin, PerChain, SigmaSquared, SingleLevel, Unadjusted
from scorekit.base import Proposal, Target, WrappedFamily, normal, uniform
from scorekit.densities import Gaussian
from scorekit.kernels import Evaluated, MetropolisAdjusted, Position
from scorekit.line_integrals import FreeCubic, GaussLobatto
from scorekit.models import ScoreOnly
from scorekit.proposals import Hamiltonian, RandomWalk
from tests.laws import kernels as laws
from tests.laws.components import Deciding, Drift, Paint, Play, Watch
from tests.laws.drivers import law_pvalue, neighbour, run
from tests.laws.statistics import ALPHA, BOUND, uniform_pvalue, variance_z_score, z_score
from tests.laws.targets import covariance_of, gauss3, mixture3

H = torch.tensor(0.1, dtype=torch.float64)
MALA, HMC, WALK = (MetropolisAdjusted(proposal) for proposal in (Langevin(), Hamiltonian(4), RandomWalk()))
KERNELS = [MALA, HMC, WALK]
FREE = MetropolisAdjusted(Hamiltonian(2), FreeCubic())
NAMES = ["MALA", "HMC", "walk"]


def _double(value: float) -> Tensor:
    return torch.tensor(value, dtype=torch.float64)


def _x(batch: int, seed: int, event: tuple[int, ...] = (3,)) -> Tensor:
    return torch.randn(batch, *event, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))


def test_the_state_of_an_unadjusted_kernel_is_x_alone():
    point = gauss3().at(0.1).point(torch.zeros(2, 3))
    state = Unadjusted(Langevin()).init(point)
    assert state._fields == ("x",)
    assert state.x is point.x


def test_every_proposed_move_is_made_and_nothing_is_decided():
    kernel, point = Unadjusted(Langevin()), gauss3().at(0.1).point(torch.zeros(2, 3, dtype=torch.float64))
    state, info = kernel.step(point, kernel.init(point), H, generator=PerChain(1))
    move = Langevin().propose(point, H, generator=PerChain(1))
    assert info is None
    assert torch.equal(state.x, move.path[-1].x)


@pytest.mark.parametrize("start", [0.0, 2.0])
def test_the_variance_of_langevin_dynamics_is_its_recursion(start, generator):
    """On N(0, 1) with alpha = 2 h = .1: v <- (1 - h)^2 v + 2 h towards 1 / (1 - h / 2) = 1.0256410; 200,000 chains."""
    h, variance, density = 0.05, start, Gaussian((0.0,))
    sampler = AnnealedMCMC(Unadjusted(Langevin()), SingleLevel(0.0), Constant(h), 60)
    x = start**0.5 * torch.randn(200_000, 1, dtype=torch.float64, generator=generator)
    x = run(sampler, density, x, generator).flatten()
    for _ in range(60):
        variance = (1 - h) ** 2 * variance + 2 * h
    assert abs(z_score(x, 0.0)) < BOUND
    assert abs(variance_z_score(x, variance)) < BOUND
    assert abs(variance_z_score(x, 1.0)) > BOUND  # the bias of the discretisation is seen, and predicted
    assert 1 / (1 - h / 2) == pytest.approx(1.0256410, abs=1e-7)


@pytest.mark.parametrize(("proposal", "right"), [(Langevin(), True), (Drift(noise=1.9), False)])
def test_the_discretised_law_is_stationary(proposal, right, generator):
    """The covariance with C = A C A + 2 h I, A = I - h S^-1: chains that start in it stay in it; n = 20,000."""
    density, h = gauss3(), 0.1
    precision = torch.linalg.inv(covariance_of(density))
    a = torch.eye(3, dtype=torch.float64) - h * precision
    stationary = 2 * h * torch.linalg.inv(torch.eye(3) - a @ a)
    mean = torch.tensor(density.mean, dtype=torch.float64)
    z = torch.randn(20_000, 3, dtype=torch.float64, generator=generator)
    x = mean + z @ torch.linalg.cholesky(stationary).T
    x = run(AnnealedMCMC(Unadjusted(proposal), SingleLevel(0.0), Constant(h), 10), density, x, generator)
    assert (law_pvalue(x, mean, stationary) > ALPHA) is right


@given(
    seed=st.integers(0, 2**16 - 1),
    batch=st.integers(1, 5),
    event=st.lists(st.integers(1, 3), min_size=1, max_size=3).map(tuple),
    kernel=st.sampled_from(
        [Unadjusted(Langevin()), Deciding(), *KERNELS, MetropolisAdjusted(Hamiltonian(2), FreeCubic())]
    ),
)
def test_a_kernel_is_pure(seed, batch, event, kernel):
    """Same state and streams, same bits; nothing it was given has changed."""
    density = Gaussian(torch.zeros(event), 2.0)
    x = torch.randn(batch, *event, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))
    point = density.at(0.3).point(x)
    state = kernel.init(point)
    given = [value for value in (*state, H) if value is not None]
    before = [value.clone() for value in given]
    results = [kernel.step(point, state, H, generator=torch.Generator().manual_seed(seed)) for _ in range(2)]
    for one, two in zip(*(result[0] for result in results), strict=True):
        assert (one is None and two is None) or torch.equal(one, two)
    for value, old in zip(given, before, strict=True):
        assert torch.equal(value, old)
    assert results[0][0].x.shape == x.shape


def test_states_are_tuples_of_tensors():
    assert isinstance(Position(torch.zeros(1, 1)), tuple)


# ------------------------------------------------------------------------------------------- Metropolis: stationarity

STEPS = [(MALA, (0.05, 0.3, 1.0)), (HMC, (0.05, 0.18, 0.5)), (WALK, (0.1, 0.5, 3.0))]
GRID = [pytest.param(k, h, id=f"{name}-{h}") for name, (k, all_h) in zip(NAMES, STEPS, strict=True) for h in all_h]
TARGETS = [name for name in laws.LAWS if name != "exponential2"]


@pytest.mark.parametrize("name", TARGETS)
@pytest.mark.parametrize(("kernel", "h"), GRID)
def test_the_target_is_stationary(kernel, h, name, seed):
    """20,000 chains, 5 steps; the middle h is near the best one, at the last 10 to 55 % of the moves are accepted."""
    law = laws.LAWS[name]()
    assert laws.stationary(kernel, law, h, seed) > ALPHA
    assert laws.antisymmetry(kernel, law, h, seed + 1) > ALPHA
    assert laws.accept_calibration(kernel, law, h, seed + 2) > ALPHA


@pytest.mark.parametrize("name", TARGETS)
@pytest.mark.parametrize(("kernel", "h"), GRID)
def test_the_target_is_stationary_from_its_score_alone(kernel, h, name, seed):
    """Simpson's rule; at the last h the mixture asks for five nodes (`tests/test_mutants_kernels.py` has why)."""
    rule = GaussLobatto(5) if (name, h) in [("gmm2", 1.0), ("gmm2", 0.5), ("gmm2", 3.0)] else GaussLobatto()
    law = laws.LAWS[name]().score_only()
    assert laws.stationary(replace(kernel, line_integral=rule), law, h, seed) > ALPHA


@pytest.mark.parametrize(("num_leapfrog", "h"), [(2, 0.02), (3, 0.02), (4, 0.02), (6, 0.02)])
@pytest.mark.parametrize("name", TARGETS)
def test_the_target_is_stationary_under_the_free_rule_at_small_steps(num_leapfrog, h, name, seed):
    kernel = MetropolisAdjusted(Hamiltonian(num_leapfrog), FreeCubic())
    assert laws.stationary(kernel, laws.LAWS[name]().score_only(), h, seed) > ALPHA


@pytest.mark.parametrize("h", [0.01, 0.03125, 0.3])
@pytest.mark.parametrize("score_only", [False, True])
@pytest.mark.parametrize("kernel", KERNELS, ids=NAMES)
def test_no_chain_leaves_a_bounded_support(kernel, score_only, h, seed):
    """Exponentials whose score and log density are NaN outside: the law is met, no state is outside it or NaN, and none
    exactly at 0."""
    law = laws.exponential2().score_only() if score_only else laws.exponential2()
    generator = torch.Generator().manual_seed(seed)
    made = laws.steps(kernel, law.target, law.draw(20_000, generator), h, 5, generator)
    assert all((after > 0).all() for _, after, _ in made)
    assert uniform_pvalue(law.pit(made[-1].after)) > ALPHA
    assert sum(info.nonfinite.sum() for _, _, info in made) > 100


IMAGE = (3, 4, 4)


@pytest.mark.parametrize(("kernel", "h"), [(MALA, 0.02), (HMC, 0.02), (WALK, 0.003)], ids=NAMES)
@pytest.mark.parametrize("score_only", [False, True])
def test_a_correlated_image_keeps_its_law(kernel, h, score_only, seed):
    """48 numbers correlated over every axis, 5,000 chains; the PIT six coordinates at a time, Bonferroni."""
    z = torch.arange(48, dtype=torch.float64)
    covariance = 0.7 ** (z.unsqueeze(0) - z.unsqueeze(1)).abs() + 0.3
    law = laws.gaussian(Gaussian(torch.linspace(-1, 1, 48).reshape(IMAGE), covariance))
    law = law.score_only() if score_only else law
    generator = torch.Generator().manual_seed(seed)
    x = law.draw(5000, generator)
    made = laws.steps(kernel, law.target, x, h, 5, generator)
    assert made[-1].after.shape == (5000, *IMAGE)
    assert made[-1].info.accepted.shape == (5000,)
    assert 0.2 < made[-1].info.accepted.double().mean() < 0.99
    assert 8 * min(map(uniform_pvalue, law.pit(made[-1].after).split(6, dim=1))) > ALPHA


@pytest.mark.parametrize("kernel", KERNELS, ids=NAMES)
def test_a_step_for_each_coordinate_or_chain_leaves_the_target_invariant(kernel, seed):
    law, scale = laws.LAWS["loggamma2"](), torch.tensor([0.5, 2.0], dtype=torch.float64)
    for h in (0.15 * scale.expand(20_000, 2), 0.15 * torch.linspace(0.1, 3, 20_000, dtype=torch.float64)):
        assert laws.stationary(kernel, law, h, seed) > ALPHA
        assert laws.stationary(kernel, law.score_only(), h, seed + 1) > ALPHA


# ------------------------------------------------------------------------------------------ Metropolis: what it does


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
    """The same draws, 50 steps: no decision differs."""
    density = mixture3()
    family = ScoreOnly(density) if score_only else density
    x = density.sample(50, generator=PerChain(seed), dtype=torch.float64)
    kernels = MALA, MetropolisAdjusted(Hamiltonian(1, 0.0))
    runs = [laws.steps(k, family.at(0.0), x, h, 50, torch.Generator().manual_seed(seed)) for k in kernels]
    for one, other in zip(*runs, strict=True):
        assert torch.equal(one.info.accepted, other.info.accepted)
        assert (one.after - other.after).abs().max() < 1e-12
    accepted = torch.stack([made.info.accepted for made in runs[0]]).double().mean()
    assert 0.1 < accepted < 0.999


def test_the_proposal_draws_first_then_one_uniform_a_chain(seed):
    density = gauss3()
    point, streams = density.at(0.3).point(_x(6, seed)), PerChain(seed)
    y = point.x + 0.3 * point.score + 0.6**0.5 * normal(point.x, generator=streams)
    state, info = MALA.step(point, MALA.init(point), _double(0.3), generator=PerChain(seed))
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
    point = target.point(_x(batch, seed, event))
    state, info = kernel.step(point, kernel.init(point), _double(h), generator=PerChain(seed))
    proposed = kernel.proposal.propose(point, _double(h), generator=PerChain(seed)).path[-1]
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
    there, back = _both_ways(MetropolisAdjusted(proposal), target, x, _double(h), seed)
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
        infos.append(kernel.step(point, kernel.init(point), _double(h), generator=PerChain(seed))[1])
    one, other = infos
    assert ((one.log_accept - other.log_accept).abs() / (1 + one.log_accept.abs())).max() < 1e-9


def _plus(target: Target, c: float) -> Target:
    return Target(target.score, lambda x: target.log_prob(x) + c)


@given(seed=st.integers(0, 2**16 - 1), c=st.integers(-1024, 1024), kernel=st.sampled_from(KERNELS))
def test_a_constant_in_the_log_density_changes_nothing(seed, c, kernel):
    """To rounding; and bit for bit where all values are dyadic."""
    dyadic = Target(torch.zeros_like, lambda x: (4 * x).round().sum(1) / 8)
    for target, bound in ((gauss3().at(0.0), 1e-9), (dyadic, 0.0)):
        infos = []
        for each in (target, _plus(target, float(c))):
            point = each.point(_x(5, seed))
            infos.append(kernel.step(point, kernel.init(point), H, generator=PerChain(seed))[1])
        assert (infos[0].log_accept - infos[1].log_accept).abs().max() <= bound


@pytest.mark.parametrize("score_only", [False, True])
@pytest.mark.parametrize("kernel", [*KERNELS, FREE], ids=[*NAMES, "free"])
def test_a_chain_does_not_depend_on_its_neighbours(kernel, score_only, seed):
    sampler = AnnealedMCMC(kernel, SingleLevel(0.5), Constant(0.2), 10)
    assert neighbour(sampler, ScoreOnly(mixture3()) if score_only else mixture3(), _x(6, seed, (2,)), seed)


@given(seed=st.integers(0, 2**16 - 1), kernel=st.sampled_from(KERNELS))
def test_a_batch_in_two_parts_is_the_batch(seed, kernel):
    x, target = _x(5, seed), gauss3().at(0.0)
    whole = laws.steps(kernel, target, x, 0.2, 3, PerChain(seed))[-1].after
    parts = [laws.steps(kernel, target, x[a:b], 0.2, 3, PerChain(seed, first=a))[-1].after for a, b in ((0, 2), (2, 5))]
    assert (whole - torch.cat(parts)).abs().max() < 1e-12


@given(seed=st.integers(0, 2**16 - 1), kernel=st.sampled_from(KERNELS), score_only=st.booleans())
def test_reshaping_the_event_commutes_with_a_step(seed, kernel, score_only):
    x, results = _x(3, seed, (2, 3)), []
    for event in ((2, 3), (6,), (3, 1, 2)):
        density = Gaussian(torch.zeros(event), (0.5, 1.0, 2.0, 0.3, 0.7, 1.5))
        target = (ScoreOnly(density) if score_only else density).at(0.0)
        results.append(laws.steps(kernel, target, x.reshape(3, *event), 0.3, 3, PerChain(seed))[-1].after.flatten(1))
    assert (results[0] - results[1]).abs().max() < 1e-12
    assert (results[0] - results[2]).abs().max() < 1e-12


@given(seed=st.integers(0, 2**16 - 1), proposal=st.sampled_from([Langevin(), Hamiltonian(3, 0.0), RandomWalk()]))
def test_rotating_the_target_and_the_noise_rotates_the_move(seed, proposal):
    q, _ = torch.linalg.qr(_x(3, seed + 1))
    density, z, x = gauss3(), _x(4, seed + 2), _x(4, seed)
    target = density.at(0.0)
    turned = Target(lambda x: target.score(x @ q.T) @ q, lambda x: target.log_prob(x @ q.T))
    kernel, results = MetropolisAdjusted(proposal), []
    for each, start, noise in ((target, x, z), (turned, x @ q, z @ q)):
        point = each.point(start)
        with Play(noise):
            results.append(kernel.step(point, kernel.init(point), H, generator=torch.Generator().manual_seed(seed)))
    assert (results[0][0].x @ q - results[1][0].x).abs().max() < 1e-9
    assert (results[0][1].log_accept - results[1][1].log_accept).abs().max() < 1e-9


# ------------------------------------------------------------------------------- Metropolis: what is not finite


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
    sound, x = gauss3().at(0.0), _x(4, seed)
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


# ------------------------------------------------------------------------------------------- Metropolis: precision


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16, torch.float32, torch.float64])
@pytest.mark.parametrize("score_only", [False, True])
@pytest.mark.parametrize("kernel", KERNELS, ids=NAMES)
def test_the_ratio_is_in_float32_or_better_and_x_keeps_its_type(kernel, score_only, dtype):
    target = Target(lambda x: -x, None if score_only else lambda x: -x.square().flatten(1).sum(1) / 2)
    x = _x(5, 0, (3, 4)).to(dtype)
    state, info = kernel.step(target.point(x), kernel.init(target.point(x)), H, generator=PerChain(0))
    wide = torch.promote_types(dtype, torch.float32)
    assert state.x.dtype == dtype
    assert info.log_accept.dtype == info.energy_error.dtype == wide
    assert info.accepted.dtype == info.nonfinite.dtype == info.trusted.dtype == torch.bool
    assert all(part is None or part.dtype == dtype for part in state)


@pytest.mark.parametrize("score_only", [False, True])
def test_a_large_offset_of_the_log_density_leaves_float32_chains_right(score_only, seed):
    """1e4 in float32 is a resolution of .001; a score-only kernel does not see it."""
    law = laws.gaussian(gauss3())
    target = Target(law.target.score, None if score_only else _plus(law.target, 1e4).log_prob)
    shifted = replace(law, target=target, draw=lambda n, g: law.draw(n, g).float(), pit=lambda x: law.pit(x.double()))
    assert laws.stationary(MALA, shifted, torch.tensor(0.3), seed) > ALPHA


def test_bfloat16_chains_of_an_image_have_a_ratio_right_to_two_tenths(seed):
    """N(0, I) in 3,072 numbers: summed in bfloat16 the ratio would be off by 5."""
    target = Target(lambda x: -x)
    x = _x(20, seed, (3, 32, 32)).bfloat16()
    kernel, h = MetropolisAdjusted(Hamiltonian(3)), torch.tensor(0.02)
    point = target.point(x)
    _, info = kernel.step(point, kernel.init(point), h, generator=PerChain(seed))
    move = kernel.proposal.propose(point, h, generator=PerChain(seed))
    assert move.momenta is not None
    ends = [v.double().square().flatten(1).sum(1) / 2 for v in (x, *move.momenta, move.path[-1].x)]
    assert (info.log_accept - (ends[0] + ends[1] - ends[2] - ends[3])).abs().max() < 0.2


# ------------------------------------------------------------------------------------------- Metropolis: costs, pairs

NOISE = Geometric(1.0, 0.01, 10)


def _costs(proposal: Proposal, num_steps: int, score_only: bool, rule: GaussLobatto | FreeCubic) -> tuple[int, int]:
    """Evaluations of the score and of the log density."""
    density, log_probs = Gaussian((0.0,)), []
    watch = Watch(ScoreOnly(density) if score_only else density)
    counted = _Counted(watch, log_probs)
    sampler = AnnealedMCMC(MetropolisAdjusted(proposal, rule), NOISE, SigmaSquared(), num_steps)
    assert len(list(sampler.steps(counted, _x(2, 0, (1,)), generator=torch.Generator()))) == 10 * num_steps
    return len(watch.evaluated), len(log_probs)


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
    laws.steps(WALK, target, _x(3, 0), 0.1, 3, PerChain(0))


def test_a_target_that_gives_both_at_once_is_asked_once_a_point():
    calls, density = [], gauss3()

    def both(x: Tensor) -> tuple[Tensor, Tensor]:
        calls.append(x)
        return density.log_prob(x), density.score(x)

    target = Target(_refuse, _refuse, both)
    laws.steps(MALA, target, _x(3, 0), 0.1, 5, PerChain(0))
    assert len(calls) == 6
    del calls[:]
    laws.steps(MetropolisAdjusted(Hamiltonian(3)), target, _x(3, 0), 0.1, 5, PerChain(0))
    assert len(calls) == 16


def _refuse(x: Tensor) -> Tensor:
    raise AssertionError("evaluated twice")


@pytest.mark.parametrize("kernel", KERNELS, ids=NAMES)
def test_the_state_carries_what_the_target_has_and_the_moves_need(kernel):
    target = gauss3().at(0.1)
    for each in (target, Target(target.score)):
        state = kernel.init(each.point(_x(2, 0)))
        assert isinstance(state, Evaluated)
        assert (state.log_prob is None) == (each.log_prob is None)
        assert (state.score is None) == (each.log_prob is not None and not kernel.proposal.needs_score)


@pytest.mark.parametrize("kernel", KERNELS, ids=NAMES)
@pytest.mark.parametrize("score_only", [False, True])
def test_a_family_that_is_asked_again_is_heard(kernel, score_only, seed):
    """refresh = "step": what the state carries is of the target before, so the step goes by the point it is given."""
    old, new = (Gaussian((m, m, m), v) for m, v in ((0.0, 1.0), (2.0, 0.3)))
    x = _x(5, seed)
    targets = [(ScoreOnly(each) if score_only else each).at(0.0) for each in (old, new)]
    stale = kernel.init(targets[0].point(x))
    results = [
        kernel.step(targets[1].point(x), state, _double(0.2), generator=PerChain(seed))
        for state in (stale, kernel.init(targets[1].point(x)))
    ]
    (state, info), (wanted, told) = results
    assert torch.equal(info.log_accept, told.log_accept)
    for one, two in zip(state, wanted, strict=True):
        assert (one is None and two is None) or torch.equal(one, two)


@pytest.mark.parametrize("refresh", ["level", "step"])
@pytest.mark.parametrize("kernel", KERNELS, ids=NAMES)
def test_known_coordinates_are_exact_and_the_others_have_their_conditional_law(kernel, refresh, seed):
    """One level, sigma = 0, so that the observation is exact: x2, x3 given x1 = 1.7; 20,000 chains, started there."""
    density = gauss3()
    mean, s = torch.tensor(density.mean, dtype=torch.float64), covariance_of(density)
    gain = s[1:, 0] / s[0, 0]
    conditional = mean[1:] + gain * (1.7 - mean[0])
    covariance = s[1:, 1:] - torch.outer(gain, s[0, 1:])
    y = torch.tensor([1.7, 0.0, 0.0], dtype=torch.float64)
    family = Paint(ScoreOnly(density), torch.tensor([1, 0, 0]), y, refresh)
    generator = torch.Generator().manual_seed(seed)
    z = torch.randn(20_000, 2, dtype=torch.float64, generator=generator)
    x = torch.cat((torch.full((20_000, 1), 1.7), conditional + z @ torch.linalg.cholesky(covariance).T), dim=1)
    x = run(AnnealedMCMC(kernel, SingleLevel(0.0), Constant(0.2), 5), family, x, generator)
    assert (x[:, 0] == 1.7).all()
    assert law_pvalue(x[:, 1:], conditional, covariance) > ALPHA


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


TRACED = [MALA, WALK, MetropolisAdjusted(Hamiltonian(3, 0.0)), MetropolisAdjusted(Hamiltonian(3, 0.0), FreeCubic())]


@pytest.mark.parametrize("kernel", TRACED, ids=repr)
@pytest.mark.parametrize("score_only", [False, True])
def test_a_step_is_one_graph_of_tensors(kernel, score_only):
    """Traced with fake tensors, which have no values to decide on, it is right at any x."""
    target = Target(lambda x: -x.sinh(), None if score_only else lambda x: -x.cosh().sum(1))

    def step(x: Tensor, z: Tensor) -> tuple[Tensor, Tensor]:
        with Play(z):
            point = target.point(x)
            state, info = kernel.step(point, kernel.init(point), x.new_full((), 0.1))
        return state.x, info.log_accept

    traced = make_fx(step, tracing_mode="fake")(_x(4, 1, (2,)), _x(4, 2, (2,)))
    x, z = _x(4, 3, (2,)), _x(4, 4, (2,))
    assert torch.equal(traced(x, z)[1], step(x, z)[1])


def test_the_tracer_notices_a_decision_on_a_value():
    with pytest.raises(Exception, match="data-dependent"):
        make_fx(lambda x: x if x.sum() > 0 else -x, tracing_mode="fake")(_x(4, 1))


class _Counted(WrappedFamily):
    """A family whose log densities are counted."""

    def __init__(self, family, log_probs):
        self._family, self._log_probs = family, log_probs

    @property
    def family(self):
        return self._family

    def at(self, sigma, *, like=None, generator=None):
        target = self._family.at(sigma, like=like, generator=generator)
        if target.log_prob is None:
            return target

        def log_prob(x):
            self._log_probs.append(x)
            return target.log_prob(x)

        return Target(target.score, log_prob, project=target.project)
