"""The kernel Stein discrepancy and its test."""

import pytest
import torch
from torch import Tensor

import scorekit as sk
from scorekit import metrics
from scorekit.metrics import stein
from tests.laws.statistics import BOUND, z_score
from tests.metrics.cases import MMD, ar1, draws, uniform_mean_z

GAUSS = sk.densities.Gaussian((0.0, 1.0), ((1.0, 0.3), (0.3, 0.5)))


def stein_by_autograd(x: Tensor, y: Tensor, bandwidth: float) -> float:
    def k(a: Tensor, b: Tensor) -> Tensor:
        return (bandwidth**2 + (a - b).square().sum()) ** -0.5

    first, second = torch.func.grad(k, 0), torch.func.grad(k, 1)
    s, t = GAUSS.score(x.unsqueeze(0))[0], GAUSS.score(y.unsqueeze(0))[0]
    cross = torch.func.jacfwd(second, 0)(x, y).trace()
    return ((s @ t) * k(x, y) + s @ second(x, y) + t @ first(x, y) + cross).item()


def test_stein_kernel_is_the_one_that_autograd_gives(generator):
    x = draws(generator, 6, 2)
    table = torch.tensor([[stein_by_autograd(a, b, 0.8) for a in x] for b in x], dtype=torch.float64)
    assert metrics.kernel_stein_discrepancy(x, GAUSS.score, bandwidth=0.8, statistic="v") == pytest.approx(
        table.mean().item(), rel=1e-12
    )
    pairs = (table.sum() - table.trace()).item() / 30
    assert metrics.kernel_stein_discrepancy(x, GAUSS.score, bandwidth=0.8) == pytest.approx(pairs, rel=1e-12)
    events = x.reshape(6, 1, 2)  # an event is an event, whatever its shape
    shaped = metrics.kernel_stein_discrepancy(
        events, lambda v: GAUSS.score(v.flatten(1)).reshape(v.shape), bandwidth=0.8
    )
    assert shaped == pytest.approx(pairs, rel=1e-12)


STEIN_MUTANTS = {
    "score sign": lambda x: -GAUSS.score(x),
    "half the score": lambda x: GAUSS.score(x) / 2,
    "1.6 times the score": lambda x: 1.6 * GAUSS.score(x),
    "shifted by .4": lambda x: GAUSS.score(x - 0.4),
}


def ksd_z(score, samples: list[Tensor], statistic: str = "u") -> float:
    values = [metrics.kernel_stein_discrepancy(x, score, bandwidth=1.0, statistic=statistic) for x in samples]
    return abs(z_score(torch.tensor(values, dtype=torch.float64), 0.0))


def test_ksd_is_zero_in_the_mean_for_the_right_score_and_no_mutant(generator):
    samples = [GAUSS.sample(40, generator=generator, dtype=torch.float64) for _ in range(200)]
    assert ksd_z(GAUSS.score, samples) < BOUND
    for name, mutant in STEIN_MUTANTS.items():
        assert ksd_z(mutant, samples) > BOUND, name
    assert ksd_z(GAUSS.score, samples, "v") > BOUND  # with the diagonal it is biased


def test_the_stein_test_has_its_level_and_power(generator, monkeypatch):
    """200 samples of 60 under the null; shifted by .5 standard deviations, 200 points, at least 19 of 20 are rejected,
    and none by a twin whose signs are all the same."""
    null = [
        metrics.stein_test(draws(generator, 60, 1), torch.neg, bandwidth=1.0, num_bootstrap=39, generator=generator)
        for _ in range(200)
    ]
    assert abs(uniform_mean_z([found.pvalue - 1 / 80 for found in null])) < BOUND
    shifted = [
        metrics.stein_test(draws(generator, 200, 1, mean=0.5), torch.neg, num_bootstrap=99, generator=generator)
        for _ in range(20)
    ]
    assert sum(found.pvalue <= 0.01 for found in shifted) >= 19
    monkeypatch.setattr(stein, "_signs", lambda like, *_: torch.ones_like(like))
    assert metrics.stein_test(draws(generator, 200, 1, mean=0.5), torch.neg, num_bootstrap=99).pvalue == 1


def test_a_chain_needs_signs_that_agree_as_long_as_it_remembers(generator):
    """AR(1) chains of rho = .9 with the right law: signs for independent draws reject nearly always."""
    chains = ar1(0.9, 300, 40, 1, generator).transpose(0, 1)

    def rejections(flip_probability: float) -> int:
        found = [
            metrics.stein_test(
                x, torch.neg, bandwidth=1.0, num_bootstrap=99, flip_probability=flip_probability, generator=generator
            )
            for x in chains
        ]
        return sum(each.pvalue <= 0.05 for each in found)

    assert rejections(0.5) > 20
    assert rejections(0.03) < 10


def test_ksd_is_nearly_blind_to_the_weights_of_modes_far_apart(generator):
    claimed = sk.densities.GaussianMixture(((-9.0,), (9.0,)), (0.9, 0.1))
    x = sk.densities.GaussianMixture(((-9.0,), (9.0,)), (0.5, 0.5)).sample(200, generator=generator)
    assert metrics.stein_test(x, claimed.score, bandwidth=1.0, num_bootstrap=999, generator=generator).pvalue > 0.001
    reference = claimed.sample(200, generator=generator)
    assert metrics.ModeWeightError(claimed.means)(x, reference) > 0.3  # what sees it
    assert MMD().test(x, reference, num_permutations=99, generator=generator).pvalue <= 0.01
