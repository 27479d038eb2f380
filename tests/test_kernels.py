import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from scorekit import AnnealedMCMC, Constant, Langevin, PerChain, SingleLevel, Unadjusted
from scorekit.densities import Gaussian
from scorekit.kernels import Position
from tests.laws.components import Deciding, Drift
from tests.laws.drivers import law_pvalue, run
from tests.laws.statistics import ALPHA, BOUND, variance_z_score, z_score
from tests.laws.targets import covariance_of, gauss3

H = torch.tensor(0.1, dtype=torch.float64)


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
    kernel=st.sampled_from([Unadjusted(Langevin()), Deciding()]),
)
def test_a_kernel_is_pure(seed, batch, event, kernel):
    """Same state and streams, same bits; nothing it was given has changed."""
    density = Gaussian(torch.zeros(event), 2.0)
    x = torch.randn(batch, *event, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))
    point = density.at(0.3).point(x)
    state = kernel.init(point)
    before = [value.clone() for value in (*state, H)]
    results = [kernel.step(point, state, H, generator=torch.Generator().manual_seed(seed)) for _ in range(2)]
    for one, two in zip(*(result[0] for result in results), strict=True):
        assert torch.equal(one, two)
    for value, old in zip((*state, H), before, strict=True):
        assert torch.equal(value, old)
    assert results[0][0].x.shape == x.shape


def test_states_are_tuples_of_tensors():
    assert isinstance(Position(torch.zeros(1, 1)), tuple)
