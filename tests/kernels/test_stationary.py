"""Metropolis: the target's law is kept. The laws that decide are in `tests/laws/kernels.py`."""

from dataclasses import replace

import pytest
import torch

from scorekit import AnnealedMCMC, Constant, SingleLevel
from scorekit.densities import Gaussian
from scorekit.kernels import MetropolisAdjusted
from scorekit.line_integrals import FreeCubic, GaussLobatto
from scorekit.models import ScoreOnly
from scorekit.proposals import Hamiltonian
from tests.kernels.cases import HMC, KERNELS, MALA, NAMES, WALK
from tests.laws import kernels as laws
from tests.laws.components import Paint
from tests.laws.drivers import law_pvalue, run
from tests.laws.statistics import ALPHA, uniform_pvalue
from tests.laws.targets import covariance_of, gauss3

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
    """Simpson's rule; at the last h the mixture asks for five nodes (tests/test_mutants_line_integrals.py says why)."""
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
