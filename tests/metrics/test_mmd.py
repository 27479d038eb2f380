"""The maximum mean discrepancy: the sum over pairs, its bias, the median rule, the permutation test."""

import itertools
import math

import pytest
import torch
from torch import Tensor

from scorekit.metrics import _samples, mmd
from tests.laws.statistics import BOUND, z_score
from tests.metrics.cases import MMD, draws, uniform_mean_z


def written_out(x: Tensor, y: Tensor, bandwidth: float, *, biased: bool = False) -> float:
    def mean(a: Tensor, b: Tensor, same: bool) -> float:
        pairs = [(i, j) for i in range(len(a)) for j in range(len(b)) if biased or not same or i != j]
        return sum(math.exp(-(a[i] - b[j]).square().sum() / (2 * bandwidth**2)) for i, j in pairs) / len(pairs)

    return mean(x, x, True) + mean(y, y, True) - 2 * mean(x, y, False)


def exact_mmd(shift: float, bandwidth: float, dimension: int) -> float:
    """Between N(0, I) and N(shift 1, I): x - y has variance 2 in each coordinate."""
    spread = bandwidth**2 + 2
    same = (bandwidth**2 / spread) ** (dimension / 2)
    return 2 * same * (1 - math.exp(-dimension * shift**2 / (2 * spread)))


def test_mmd_is_the_sum_over_pairs(generator):
    x, y = draws(generator, 7, 2, 2), draws(generator, 5, 2, 2, mean=0.5)
    assert MMD(1.3)(x, y) == pytest.approx(written_out(x, y, 1.3), abs=1e-14)


def test_mmd_is_unbiased_and_its_biased_twin_is_not(generator):
    """500 samples of 10 and 8: the standard error is about .004, the twin's bias .08."""
    pairs = [(draws(generator, 10, 2), draws(generator, 8, 2, mean=0.7)) for _ in range(500)]
    wanted = exact_mmd(0.7, 1.0, 2)
    assert abs(z_score(torch.tensor([MMD(1.0)(x, y) for x, y in pairs]), wanted)) < BOUND
    biased = torch.tensor([written_out(x, y, 1.0, biased=True) for x, y in pairs[:60]])
    assert abs(z_score(biased, wanted)) > BOUND


def test_the_median_rule_is_the_median_distance_and_takes_a_subset_of_many_rows(generator, streams):
    rows = draws(generator, 50, 3)
    distances = [(a - b).norm().item() for a, b in itertools.combinations(rows, 2)]
    assert _samples.median_distance(rows) == pytest.approx(sorted(distances)[(len(distances) - 1) // 2])
    many = torch.arange(3000.0, dtype=torch.float64).unsqueeze(1)  # in order, as chains are: the first 1,000 would lie
    assert _samples.median_distance(many, generator=streams) == pytest.approx(3000 * (1 - math.sqrt(0.5)), rel=0.05)
    with pytest.raises(ValueError, match="give bandwidth="):
        MMD()(torch.zeros(9, 1), torch.ones(1, 1).expand(2, 1))


def test_the_permutation_test_has_its_level_and_power(generator, monkeypatch):
    """300 samples under the null; 150 and 100 examples .5 apart. A twin that never permutes rejects nothing."""
    null = [
        MMD(1.0).test(draws(generator, 12, 1), draws(generator, 9, 1), num_permutations=39, generator=generator).pvalue
        for _ in range(300)
    ]
    assert abs(uniform_mean_z([p - 1 / 80 for p in null])) < BOUND
    x, y = draws(generator, 150, 2), draws(generator, 100, 2, mean=0.5)
    found = MMD().test(x, y, num_permutations=199, generator=generator)
    assert found.statistic == pytest.approx(MMD(_samples.median_distance(torch.cat((x, y))))(x, y))
    assert found.pvalue == 1 / 200
    assert MMD().test(x, draws(generator, 100, 2), num_permutations=199, generator=generator).pvalue > 0.005
    monkeypatch.setattr(mmd, "uniform", lambda like, generator: torch.arange(like.shape[1]).expand_as(like))
    assert MMD().test(x, y, num_permutations=199).pvalue > 0.5  # 1, but for sums in another order
