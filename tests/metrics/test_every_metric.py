"""What holds for every metric of two samples, and what all of them refuse."""

import math
import sys

import pytest
import torch

import scorekit as sk
from scorekit import metrics
from scorekit.base import Metric
from scorekit.metrics import _samples
from tests.metrics.cases import MMD, SW, draws, one_level

METRICS = {
    "mmd": MMD(),
    "mmd of a bandwidth": MMD(1.5),
    "sliced": SW(),
    "sliced 1": SW(16, p=1),
    "modes": metrics.ModeWeightError(((0.0, 0.0, 0.0), (3.0, 3.0, 3.0))),
    "frechet": metrics.FrechetDistance(),
}


@pytest.mark.parametrize("metric", METRICS.values(), ids=METRICS)
def test_a_metric_sees_a_shift_and_not_the_right_law(metric, generator, streams):
    x, same, shifted = draws(generator, 400, 3), draws(generator, 300, 3), draws(generator, 300, 3, mean=2.0)
    right, wrong = metric(x, same, generator=streams), metric(x, shifted, generator=streams)
    assert isinstance(metric, Metric)
    assert wrong > 5 * abs(right)
    assert metric(x, same, generator=streams) == right  # the same streams, whatever was drawn before


@pytest.mark.parametrize("metric", METRICS.values(), ids=METRICS)
def test_a_metric_refuses_what_it_cannot_compare(metric):
    x = torch.zeros(4, 3)
    with pytest.raises(ValueError, match="shape"):
        metric(x, torch.zeros(4, 2))
    with pytest.raises(ValueError, match="1 of the 4 examples"):
        metric(x, torch.cat((torch.full((1, 3), torch.nan), torch.zeros(3, 3))))
    with pytest.raises(ValueError, match="floating-point"):
        metric(x.long(), x.long())
    with pytest.raises(ValueError, match="N >= "):
        metric(x, x[:0])


def test_metrics_are_the_same_in_small_blocks(monkeypatch, generator, streams):
    x, y = draws(generator, 41, 3), draws(generator, 30, 3, mean=0.3)
    score = sk.densities.Gaussian((0.0, 0.0, 0.0)).score

    def values() -> list[float]:
        stein = metrics.kernel_stein_discrepancy(x, score)
        tests = (
            MMD().test(x, y, num_permutations=20, generator=streams),
            metrics.stein_test(x, score, generator=streams),
        )
        each = [metric(x, y, generator=streams) for metric in METRICS.values()]
        return [*each, stein, *(value for test in tests for value in test)]

    whole = values()
    monkeypatch.setattr(_samples, "BLOCK", 200)
    assert values() == pytest.approx(whole, rel=1e-12, abs=1e-14)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: MMD(0.0), "bandwidth = 0.0"),
        (lambda: MMD(math.nan), "bandwidth = nan"),
        (lambda: SW(0), "num_projections = 0"),
        (lambda: SW(p=0.5), "p = 0.5"),
        (lambda: metrics.ModeWeightError((1.0, 2.0)), r"means of shape \(2,\)"),
        (lambda: metrics.ModeWeightError(((1.0,), (1.0,))), "two modes are the same"),
        (lambda: metrics.kernel_stein_discrepancy(torch.zeros(3, 1), torch.neg, bandwidth=-1), "bandwidth = -1"),
        (lambda: metrics.kernel_stein_discrepancy(torch.zeros(3, 1), torch.neg, statistic="w"), "statistic='w'"),
        (lambda: metrics.kernel_stein_discrepancy(torch.eye(3), lambda x: x.sum(1)), r"has shape \(3,\)"),
        (lambda: metrics.stein_test(torch.eye(3), lambda x: x / 0), "not finite"),
        (lambda: metrics.stein_test(torch.eye(3), torch.neg, flip_probability=0.7), "flip_probability=0.7"),
        (lambda: MMD().test(torch.eye(3), torch.eye(3), num_permutations=0), "num_permutations = 0"),
    ],
)
def test_bad_input_is_refused_with_its_value(make, message):
    with pytest.raises(ValueError, match=message):
        make()


def test_without_arviz_stats_the_error_names_the_extra(monkeypatch):
    monkeypatch.setitem(sys.modules, "arviz_stats.base", None)
    with pytest.raises(ImportError, match=r"pip install 'scorekit\[diagnostics\]'"):
        metrics.split_r_hat(one_level(torch.zeros(9, 2, 1)))


def test_metrics_survive_their_repr():
    for metric in METRICS.values():
        assert eval(repr(metric), vars(metrics)) == metric
