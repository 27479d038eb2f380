"""The sliced Wasserstein distance."""

import math

import pytest
import torch
from scipy import stats

from tests.laws.statistics import BOUND
from tests.metrics.cases import SW, draws


@pytest.mark.parametrize(("n", "m"), [(30, 30), (30, 45), (7, 11), (1, 5)])
def test_on_a_line_it_is_the_exact_distance_for_any_sizes(generator, n, m):
    x, y = draws(generator, n, 1), draws(generator, m, 1, mean=1.0)
    exact = stats.wasserstein_distance(x.flatten().numpy(), y.flatten().numpy())
    assert SW(p=1)(x, y) == pytest.approx(exact, rel=1e-12)
    common = math.lcm(n, m)  # W_2 by copies of equal number, sorted
    a, b = (v.repeat_interleave(common // len(v), 0).sort(0).values for v in (x, y))
    assert SW(p=2)(x, y) == pytest.approx((a - b).square().mean().sqrt().item(), rel=1e-12)


def test_copies_of_a_sample_are_at_no_distance(generator):
    x = draws(generator, 20, 3, 2)
    assert SW()(x, x.repeat_interleave(3, 0)[torch.randperm(60, generator=generator)], generator=generator) < 1e-12


def test_a_shift_in_d_dimensions_and_units(generator, streams, monkeypatch):
    """4,000 lines: the standard error of the mean square is 2 % at D = 8. Lines that are no unit vectors give |v|."""
    x = draws(generator, 5, 2, 4)
    v = torch.arange(8.0, dtype=torch.float64).reshape(2, 4)
    distance = SW(4000)(x, x + v, generator=streams)
    tolerance = BOUND * math.sqrt(2 * 7 / 10 / 4000) / 2  # of theta_1^2: variance 2 (D - 1) / (D^2 (D + 2))
    assert distance == pytest.approx(v.norm().item() / math.sqrt(8), rel=tolerance)
    assert SW(4000)(3 * x, 3 * (x + v), generator=streams) == pytest.approx(3 * distance)
    monkeypatch.setattr(SW, "_lines", lambda self, rows, _: draws(generator, 4000, 8))
    assert SW(4000)(x, x + v) != pytest.approx(v.norm().item() / math.sqrt(8), rel=tolerance)
