"""What a step does not depend on: constants, neighbours, the batch, the event's shape and axes, values in the graph."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor
from torch.fx.experimental.proxy_tensor import make_fx

from scorekit import AnnealedMCMC, Constant, Langevin, PerChain, SingleLevel, Unadjusted
from scorekit.base import Target
from scorekit.densities import Gaussian
from scorekit.kernels import MetropolisAdjusted
from scorekit.line_integrals import FreeCubic
from scorekit.models import ScoreOnly
from scorekit.proposals import Hamiltonian, RandomWalk
from tests.kernels.cases import FREE, KERNELS, MALA, NAMES, WALK, H, chains, plus
from tests.laws import kernels as laws
from tests.laws.components import Deciding, Play
from tests.laws.drivers import neighbour
from tests.laws.targets import gauss3, mixture3


@given(
    seed=st.integers(0, 2**16 - 1),
    batch=st.integers(1, 5),
    event=st.lists(st.integers(1, 3), min_size=1, max_size=3).map(tuple),
    kernel=st.sampled_from([Unadjusted(Langevin()), Deciding(), *KERNELS, FREE]),
)
def test_a_kernel_is_pure(seed, batch, event, kernel):
    """Same state and streams, same bits; nothing it was given has changed."""
    density = Gaussian(torch.zeros(event), 2.0)
    point = density.at(0.3).point(chains(batch, seed, event))
    state = kernel.init(point)
    given = [value for value in (*state, H) if value is not None]
    before = [value.clone() for value in given]
    results = [kernel.step(point, state, H, generator=torch.Generator().manual_seed(seed)) for _ in range(2)]
    for one, two in zip(*(result[0] for result in results), strict=True):
        assert (one is None and two is None) or torch.equal(one, two)
    for value, old in zip(given, before, strict=True):
        assert torch.equal(value, old)
    assert results[0][0].x.shape == point.x.shape


@given(seed=st.integers(0, 2**16 - 1), c=st.integers(-1024, 1024), kernel=st.sampled_from(KERNELS))
def test_a_constant_in_the_log_density_changes_nothing(seed, c, kernel):
    """To rounding; and bit for bit where all values are dyadic."""
    dyadic = Target(torch.zeros_like, lambda x: (4 * x).round().sum(1) / 8)
    for target, bound in ((gauss3().at(0.0), 1e-9), (dyadic, 0.0)):
        infos = []
        for each in (target, plus(target, float(c))):
            point = each.point(chains(5, seed))
            infos.append(kernel.step(point, kernel.init(point), H, generator=PerChain(seed))[1])
        assert (infos[0].log_accept - infos[1].log_accept).abs().max() <= bound


@pytest.mark.parametrize("score_only", [False, True])
@pytest.mark.parametrize("kernel", [*KERNELS, FREE], ids=[*NAMES, "free"])
def test_a_chain_does_not_depend_on_its_neighbours(kernel, score_only, seed):
    sampler = AnnealedMCMC(kernel, SingleLevel(0.5), Constant(0.2), 10)
    assert neighbour(sampler, ScoreOnly(mixture3()) if score_only else mixture3(), chains(6, seed, (2,)), seed)


@given(seed=st.integers(0, 2**16 - 1), kernel=st.sampled_from(KERNELS))
def test_a_batch_in_two_parts_is_the_batch(seed, kernel):
    x, target = chains(5, seed), gauss3().at(0.0)
    whole = laws.steps(kernel, target, x, 0.2, 3, PerChain(seed))[-1].after
    parts = [laws.steps(kernel, target, x[a:b], 0.2, 3, PerChain(seed, first=a))[-1].after for a, b in ((0, 2), (2, 5))]
    assert (whole - torch.cat(parts)).abs().max() < 1e-12


@given(seed=st.integers(0, 2**16 - 1), kernel=st.sampled_from(KERNELS), score_only=st.booleans())
def test_reshaping_the_event_commutes_with_a_step(seed, kernel, score_only):
    x, results = chains(3, seed, (2, 3)), []
    for event in ((2, 3), (6,), (3, 1, 2)):
        density = Gaussian(torch.zeros(event), (0.5, 1.0, 2.0, 0.3, 0.7, 1.5))
        target = (ScoreOnly(density) if score_only else density).at(0.0)
        results.append(laws.steps(kernel, target, x.reshape(3, *event), 0.3, 3, PerChain(seed))[-1].after.flatten(1))
    assert (results[0] - results[1]).abs().max() < 1e-12
    assert (results[0] - results[2]).abs().max() < 1e-12


@given(seed=st.integers(0, 2**16 - 1), proposal=st.sampled_from([Langevin(), Hamiltonian(3, 0.0), RandomWalk()]))
def test_rotating_the_target_and_the_noise_rotates_the_move(seed, proposal):
    q, _ = torch.linalg.qr(chains(3, seed + 1))
    density, z, x = gauss3(), chains(4, seed + 2), chains(4, seed)
    target = density.at(0.0)
    turned = Target(lambda x: target.score(x @ q.T) @ q, lambda x: target.log_prob(x @ q.T))
    kernel, results = MetropolisAdjusted(proposal), []
    for each, start, noise in ((target, x, z), (turned, x @ q, z @ q)):
        point = each.point(start)
        with Play(noise):
            results.append(kernel.step(point, kernel.init(point), H, generator=torch.Generator().manual_seed(seed)))
    assert (results[0][0].x @ q - results[1][0].x).abs().max() < 1e-9
    assert (results[0][1].log_accept - results[1][1].log_accept).abs().max() < 1e-9


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

    traced = make_fx(step, tracing_mode="fake")(chains(4, 1, (2,)), chains(4, 2, (2,)))
    x, z = chains(4, 3, (2,)), chains(4, 4, (2,))
    assert torch.equal(traced(x, z)[1], step(x, z)[1])


def test_the_tracer_notices_a_decision_on_a_value():
    with pytest.raises(Exception, match="data-dependent"):
        make_fx(lambda x: x if x.sum() > 0 else -x, tracing_mode="fake")(chains(4, 1))
