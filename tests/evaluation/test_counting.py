"""Evaluations of the network for each sample: known numbers, and the same as a real run makes."""

import pytest
import torch

import scorekit as sk
from scorekit.densities import Gaussian
from scorekit.diagnostics import RecordRun
from scorekit.evaluation import evaluations_per_sample
from scorekit.models import ScoreOnly
from tests.evaluation.cases import SHAPE, model

L, T = 10, 20
NOISE = sk.Geometric(1.0, 0.01, L)
LEVELS = sk.Geometric(1.0, 0.1, 6)
ENERGY = sk.from_log_prob(lambda x, sigma: -x.square().sum(1) / 2 / (1 + sigma**2), moments=(0.0, 1.0))
SCORE = ScoreOnly(ENERGY)

KNOWN = [
    pytest.param(sk.annealed_langevin(NOISE), SCORE, 1000, id="the-paper"),
    pytest.param(sk.annealed_langevin(NOISE, steps_per_level=T), SCORE, L * T, id="annealed-langevin"),
    pytest.param(sk.annealed_langevin(NOISE, steps_per_level=T, final=sk.Denoise()), SCORE, L * T + 1, id="denoised"),
    pytest.param(sk.annealed_mala(NOISE, steps_per_level=T), ENERGY, L * T + L, id="mala"),
    pytest.param(sk.annealed_mala(NOISE, steps_per_level=T), SCORE, 2 * L * T + L, id="mala-simpson"),
    pytest.param(sk.annealed_hmc(NOISE), ENERGY, 310, id="hmc"),
    pytest.param(sk.annealed_hmc(NOISE), SCORE, 610, id="hmc-simpson"),
    pytest.param(sk.annealed_hmc(NOISE, line_integral=sk.FreeCubic()), SCORE, 310, id="hmc-free"),
    pytest.param(sk.langevin(sigma=0.1, num_steps=70), SCORE, 70, id="langevin"),
    pytest.param(sk.ancestral(LEVELS), SCORE, 5 + 1, id="ancestral"),
    pytest.param(sk.dpm_solver(LEVELS), SCORE, 5 + 1, id="dpm-solver"),
    pytest.param(sk.heun(LEVELS), SCORE, 2 * 5 + 1, id="heun"),
    pytest.param(sk.predictor_corrector(LEVELS), SCORE, 5 + 6 + 1, id="predictor-corrector"),
]


@pytest.mark.parametrize(("sampler", "family", "expected"), KNOWN)
def test_the_numbers_are_those_of_the_formulas(sampler, family, expected):
    assert evaluations_per_sample(sampler, family, (3,)) == expected


def test_a_density_that_gives_score_and_log_density_one_by_one_costs_twice():
    assert evaluations_per_sample(sk.annealed_mala(NOISE, steps_per_level=T), Gaussian((0.0,)), (1,)) == 2 * (L * T + L)


def test_a_walk_costs_log_densities():
    walk = sk.random_walk(sigma=0.1, num_steps=30)
    assert evaluations_per_sample(walk, Gaussian((0.0,)), (1,)) == 31


@pytest.mark.parametrize(
    "sampler",
    [sk.annealed_langevin(LEVELS, steps_per_level=3), sk.annealed_mala(LEVELS, steps_per_level=3), sk.heun(LEVELS)],
)
def test_a_real_run_makes_as_many(sampler):
    watched = RecordRun(model())
    sk.sample(sampler, watched, (2, *SHAPE), generator=sk.PerChain(0))
    assert watched.evaluations == evaluations_per_sample(sampler, model(), SHAPE)


def test_the_network_is_not_evaluated():
    def refuse(x, sigma):
        raise AssertionError("evaluated")

    assert evaluations_per_sample(sk.annealed_langevin(NOISE, steps_per_level=T), sk.from_score(refuse), (3,)) == L * T


def test_the_count_is_not_the_number_of_updates():
    """The mutant: `num_updates`, which is right for annealed Langevin alone."""
    for sampler, updates in ((sk.annealed_mala(NOISE, steps_per_level=T), L * T), (sk.heun(LEVELS), 6)):
        assert sampler.num_updates() == updates != evaluations_per_sample(sampler, SCORE, (3,))


def test_the_global_generator_is_left_alone():
    before = torch.random.get_rng_state()
    evaluations_per_sample(sk.annealed_mala(NOISE, steps_per_level=1), SCORE, (3,))
    assert torch.equal(before, torch.random.get_rng_state())
