import math
from dataclasses import replace

import pytest
import torch

from scorekit import AnnealedMCMC, Constant, Denoise, Geometric, Langevin, PerChain, Stay, Unadjusted, sample
from scorekit.base import Transition
from scorekit.densities import Gaussian
from scorekit.noise import Karras
from scorekit.transitions import Ancestral, DPMSolverMultistep, Euler, Heun, ReverseDiffusion
from tests.laws import flows
from tests.laws.components import Paint, Watch
from tests.laws.configs import round_trip
from tests.laws.drivers import chunking, neighbour, run
from tests.laws.statistics import BOUND, variance_z_score
from tests.laws.targets import figure3, gauss3, mixture3, small_mode

MOVING = {
    "euler": Euler(), "heun": Heun(), "reverse diffusion": ReverseDiffusion(), "ancestral": Ancestral(),
    "2M": DPMSolverMultistep(eta=0.0), "half": DPMSolverMultistep(eta=0.5), "stochastic 2M": DPMSolverMultistep(),
}  # fmt: skip
each = pytest.mark.parametrize("transition", MOVING.values(), ids=MOVING)
NOISE = Geometric(3.0, 0.1, 10)


def _x(num_chains: int = 6, seed: int = 0) -> torch.Tensor:
    return torch.randn(num_chains, 3, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))


# ------------------------------------------------------------------------------------------------------ stay, denoise


def test_stay_returns_the_very_tensor_and_evaluates_nothing():
    watch = Watch(gauss3())
    target = watch.at(0.5)
    point = target.point(torch.zeros(2, 3))
    x, carry = Stay().move(watch, point, target, 0.5, 0.1, "anything")
    assert x is point.x
    assert carry is None
    assert watch.evaluated == []


def test_denoise_is_the_posterior_mean_of_a_gaussian():
    """E[x0 | x] = mu + S (S + sigma^2 I)^-1 (x - mu), solved here by a plain inverse."""
    density, sigma = gauss3(), 0.7
    x = torch.randn(50, 3, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    point = density.at(sigma).point(x)
    moved, carry = Denoise().move(density, point, density.at(0.0), sigma, 0.0)
    covariance = torch.tensor(density.covariance, dtype=torch.float64)
    gain = covariance @ torch.linalg.inv(covariance + sigma**2 * torch.eye(3, dtype=torch.float64))
    mean = torch.tensor(density.mean, dtype=torch.float64)
    expected = mean + (x - mean) @ gain.T
    assert (moved - expected).abs().max() < 1e-13
    assert carry is None
    for mutant in (x + sigma * point.score, x - sigma**2 * point.score, x + sigma**2 / 2 * point.score):
        assert (mutant - expected).abs().max() > 0.05


def test_denoise_is_the_posterior_mean_of_a_mixture():
    """By brute force: the mean of 400,000 clean draws near each x, weighted with N(x; x0, sigma^2 I), within 4.9 of its
    standard errors, (sum w^2 (x0 - mean)^2)^1/2."""
    density, sigma = mixture3(), 0.8
    x = torch.tensor([[0.5, 0.5], [2.5, -2.0]], dtype=torch.float64)
    clean = density.sample(400_000, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    weights = (-(x.unsqueeze(1) - clean).square().sum(2) / (2 * sigma**2)).softmax(1)
    mean = weights @ clean
    error = (weights.square().unsqueeze(2) * (clean - mean.unsqueeze(1)).square()).sum(1).sqrt()
    point = density.at(sigma).point(x)
    moved, _ = Denoise().move(density, point, density.at(0.0), sigma, 0.0)
    assert ((moved - mean) / error).abs().max() < BOUND
    for mutant in (x + sigma * point.score, x - sigma**2 * point.score, x + sigma**2 / 2 * point.score):
        assert ((mutant - mean) / error).abs().max() > BOUND


def test_denoise_uses_the_score_that_is_there():
    watch = Watch(gauss3())
    target = watch.at(0.5)
    point = target.point(torch.zeros(2, 3))
    point.score  # noqa: B018
    Denoise().move(watch, point, watch.at(0.0), 0.5, 0.0)
    assert len(watch.evaluated) == 1


@pytest.mark.parametrize(
    ("transition", "only_final"), [(Stay(), False), (Denoise(), True), *((each, False) for each in MOVING.values())]
)
def test_only_denoise_is_bound_to_the_end(transition, only_final):
    assert transition.only_final is only_final


# ----------------------------------------------------------------------------------------------------------- exact laws


@pytest.mark.parametrize(
    ("transition", "by_hand"),
    [
        (Euler(), flows.euler),
        (Heun(), flows.heun),
        (ReverseDiffusion(), flows.reverse_diffusion),
        (Ancestral(), flows.ancestral),
        *((DPMSolverMultistep(eta), flows.dpm_solver(eta)) for eta in (0.0, 0.3, 1.0, 2.0)),
    ],
)
def test_a_run_is_the_published_formula(transition, by_hand, seed):
    assert flows.replay(transition, by_hand, seed) < 1e-13


@pytest.mark.parametrize(
    ("transition", "final", "variance"),
    [
        (Ancestral(), Ancestral(), 0.0618720047),
        (Ancestral(), Denoise(), 0.0618720047),
        (ReverseDiffusion(), ReverseDiffusion(), 0.0630360305),
        (ReverseDiffusion(), Denoise(), 0.0629360305),
    ],
)
def test_the_variance_after_a_thousand_steps(transition, final, variance):
    """Data N(0, .25^2), 1000 levels from 50 to .01, exact scores: the recursion, to all its printed digits."""
    assert flows.golden(transition, final, variance) < 1e-9


def test_chains_have_the_variance_that_impulses_give(generator):
    """20,000 chains of the stochastic 2M at 8 levels, where it is 10 % too small: the laws are about what is drawn."""
    noise, transition = Geometric(10.0, 0.1, 8), DPMSolverMultistep()
    exact = flows.variance(transition, noise, Stay(), 0.0625, 100.0625)
    assert abs(exact / 0.0725 - 1) > 0.05
    x = math.sqrt(100.0625) * torch.randn(20_000, 1, dtype=torch.float64, generator=generator)
    chains = run(flows.sampler(transition, noise), Gaussian((0.0,), 0.0625), x, generator)
    assert abs(chains.var().item() / exact - 1) < BOUND * math.sqrt(2 / 20_000)


@pytest.mark.parametrize(("transition", "order"), [(Euler(), 1), (Heun(), 2), (DPMSolverMultistep(eta=0.0), 2)])
def test_the_order_of_a_flows_transition(transition, order):
    """On mixture3, against an eighth-order solution, with 128 and 256 steps that alternate 1 : 3."""
    assert abs(flows.order(transition) - order) < 0.05


@pytest.mark.parametrize("eta", [0.0, 0.3, 1.0, 2.0])
def test_every_eta_tends_to_the_same_law(eta):
    assert flows.limit(DPMSolverMultistep(eta)) < 3e-4  # h^2, as in `test_mutants_transitions.py`


@pytest.mark.parametrize(("eta", "first_order"), [(0.0, Euler()), (1.0, Ancestral())])
def test_the_first_move_of_the_multistep_solver_is_of_first_order(eta, first_order):
    density = gauss3()
    moved = [
        transition.move(density, density.at(3.0).point(_x()), density.at(1.0), 3.0, 1.0, generator=PerChain(1))[0]
        for transition in (DPMSolverMultistep(eta), first_order)
    ]
    assert (moved[0] - moved[1]).abs().max() < 1e-14


@pytest.mark.parametrize("transition", [MOVING[name] for name in MOVING if name != "reverse diffusion"])
def test_the_move_to_clean_data_is_tweedies_mean(transition):
    density = gauss3()
    point = density.at(0.7).point(_x())
    moved, carry = transition.move(density, point, density.at(0.0), 0.7, 0.0, (_x(seed=1), 0.3), generator=PerChain(1))
    expected, _ = Denoise().move(density, point, density.at(0.0), 0.7, 0.0)
    assert torch.allclose(moved, expected, rtol=0, atol=1e-15)
    assert carry is None


@each
def test_from_clean_data_to_clean_data_nothing_moves(transition):
    density = gauss3()
    moved, _ = transition.move(density, density.at(0.0).point(_x()), density.at(0.0), 0.0, 0.0, generator=PerChain(1))
    assert torch.equal(moved, _x())


# --------------------------------------------------------------------------------------- the mixture of NCSN's figure 3


@pytest.mark.parametrize(
    ("transition", "error", "evaluations"), [(Heun(), -0.00371, 18), (DPMSolverMultistep(eta=0.0), -0.00546, 9)]
)
def test_few_evaluations_of_a_flow_give_the_weights_of_the_modes(transition, error, evaluations):
    """.2 and .8 at -(5, 5) and (5, 5), sigma from 20 to 1, the matched start (which alone gives -.0040)."""
    assert flows.weight(transition) == pytest.approx(error, abs=5e-5)
    assert abs(flows.weight(Euler())) > 0.012  # the mutant: first order, 9 evaluations
    watch = Watch(figure3())
    sample(flows.sampler(transition, Geometric(20.0, 1.0, 10)), watch, (2, 2), generator=torch.Generator())
    assert len(watch.evaluated) == evaluations


def _small_mode(transition: Transition, num_chains: int, generator: torch.Generator) -> float:
    noise = Geometric(20.0, 1.0, 10)
    chains = sample(flows.sampler(transition, noise), figure3(), (num_chains, 2), generator=generator)
    return small_mode(chains)[0].mean().item()


FLOWS = pytest.mark.parametrize("transition", [Heun(), DPMSolverMultistep(eta=0.0)])


@FLOWS
def test_chains_have_the_weights_that_quadrature_gives(transition, generator):
    """20,000 chains, s.e. .0028."""
    bound = BOUND * math.sqrt(0.16 / 20_000)
    assert abs(_small_mode(transition, 20_000, generator) - 0.2 - flows.weight(transition)) < bound


@pytest.mark.slow
@FLOWS
def test_many_chains_have_the_weights_that_quadrature_gives(transition, generator):
    """500,000 chains, s.e. .00057: .0028 from the quadrature's value, and so within .0085 of the truth."""
    bound = BOUND * math.sqrt(0.16 / 500_000)
    assert abs(_small_mode(transition, 500_000, generator) - 0.2 - flows.weight(transition)) < bound


# ------------------------------------------------------------------------------------------ costs, constraints, streams


@each
@pytest.mark.parametrize("final", [Stay(), Denoise(), Euler(), Heun(), Ancestral(), DPMSolverMultistep()])
def test_a_move_costs_one_evaluation_and_heuns_two(transition, final):
    watch = Watch(gauss3())
    run(flows.sampler(transition, NOISE, final), watch, _x(), PerChain(0))
    assert len(watch.evaluated) == 9 * (1 + (transition == Heun())) + (final != Stay())
    assert len(watch.asked) == 11  # each target is made once: at the ten levels and at 0


@each
def test_the_score_that_is_there_is_used(transition):
    watch = Watch(gauss3())
    point, target = watch.at(1.0).point(_x()), watch.at(0.5)
    point.score  # noqa: B018
    transition.move(watch, point, target, 1.0, 0.5, generator=PerChain(0))
    assert watch.calls() == ([(1.0, 1), (0.5, 1)] if transition == Heun() else [(1.0, 1)])


@each
def test_known_coordinates_are_what_scores_are_evaluated_at(transition):
    y, mask = torch.tensor([0.3, -0.2, 0.0], dtype=torch.float64), torch.tensor([1.0, 1.0, 0.0])
    paint = Paint(gauss3(), mask, y)
    chains = run(flows.sampler(transition, NOISE, transition), paint, _x(), PerChain(3))
    assert all(paint.evaluated_on_it)
    assert torch.equal(chains[:, :2], y[:2].expand(6, 2))
    unprojected = Paint(gauss3(), mask, y)
    run(flows.sampler(flows.TwoStage(projects=False), NOISE), unprojected, _x(), PerChain(3))
    assert not all(unprojected.evaluated_on_it)  # the mutant


@each
def test_kernels_correct_after_a_transition(transition):
    """Predictor-corrector: the history goes on past the kernel's steps, and each state costs its own evaluation."""
    watch = Watch(gauss3())
    corrected = replace(flows.sampler(transition, NOISE), steps_per_level=2, step_size=Constant(1e-3))
    chains = run(corrected, watch, _x(), PerChain(0))
    assert chains.isfinite().all()
    assert len(watch.evaluated) == 10 * 2 + 9 * (1 + (transition == Heun()))


@each
def test_a_chain_depends_neither_on_its_neighbours_nor_on_the_batch(transition, seed):
    sampler = AnnealedMCMC(Unadjusted(Langevin()), NOISE, steps_per_level=0, transition=transition, final=transition)
    assert neighbour(sampler, gauss3(), _x(), seed)
    assert chunking(sampler, gauss3(), (7, 3), (1, 2, 3)) < 1e-12


@each
@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.bfloat16])
def test_chains_keep_their_type_and_shape(transition, dtype):
    """And the variance that impulses give, from the matched start: 120 numbers."""
    density, noise = Gaussian(torch.zeros(2, 3, 4), 0.25), Karras(80.0, 0.002, 18)
    sampler = flows.sampler(transition, noise, transition)
    chains = sample(sampler, density, (5, 2, 3, 4), generator=PerChain(0), dtype=dtype)
    assert (chains.dtype, chains.shape) == (dtype, (5, 2, 3, 4))
    assert chains.isfinite().all()
    exact = flows.variance(transition, noise, transition, 0.25, 80.0**2 + 0.25)
    assert abs(variance_z_score(chains.double().flatten(), exact)) < BOUND


# ------------------------------------------------------------------------------------------------------- configuration


@each
def test_a_transition_survives_json(transition):
    assert round_trip(transition) == transition


@pytest.mark.parametrize("eta", [-0.1, math.inf, math.nan])
def test_a_bad_eta_is_refused(eta):
    with pytest.raises(ValueError, match=rf"DPMSolverMultistep\(eta={eta}\): eta must satisfy 0 <= eta < inf"):
        DPMSolverMultistep(eta)


@each
@pytest.mark.parametrize(
    ("sigma_from", "sigma_to"), [(0.5, 1.0), (1.0, 1.0), (1.0, -0.1), (math.inf, 1.0), (1.0, math.nan)]
)
def test_a_move_that_does_not_go_down_is_refused(transition, sigma_from, sigma_to):
    density = gauss3()
    point = density.at(1.0).point(_x())
    with pytest.raises(
        ValueError, match=rf"from sigma = {sigma_from:g} to {sigma_to:g}: expected 0 <= sigma_to < sigma_from"
    ):
        transition.move(density, point, density.at(1.0), sigma_from, sigma_to)
