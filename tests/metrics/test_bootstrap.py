"""The bootstrap of the Frechet distance."""

import pytest
import torch
from torch import Tensor

from scorekit.base import uniform
from scorekit.metrics import FeatureStatistics, FrechetDistance, bootstrap, frechet_bootstrap, frechet_distance
from tests.metrics.cases import draws


def exact_normal(dimension: int) -> FeatureStatistics:
    """N(0, I), as statistics of a million rows would be."""
    state = {
        "count": torch.tensor(1_000_001),
        "mean": torch.zeros(dimension, dtype=torch.float64),
        "scatter": 1_000_000 * torch.eye(dimension, dtype=torch.float64),
    }
    return FeatureStatistics.from_state(state)


def statistics_of(rows: Tensor) -> FeatureStatistics:
    made = FeatureStatistics(rows.shape[1])
    made.update(rows)
    return made


@pytest.mark.parametrize("n", [6, 40])
def test_the_estimate_and_each_replicate_are_frechet_distances_of_the_rows(n, generator, monkeypatch):
    features, reference = draws(generator, n, 10, mean=2.0), statistics_of(draws(generator, 300, 10))
    chosen = torch.rand(3, n, dtype=torch.float64, generator=generator)
    monkeypatch.setattr(bootstrap, "uniform", lambda like, generator: chosen.to(like))
    found = frechet_bootstrap(features, reference, num=3)

    def written_out(rows: Tensor) -> float:
        return frechet_distance(rows.mean(0), rows.T.cov(), reference.mean, reference.cov)

    replicates = torch.tensor([written_out(features[(each * n).long()]) for each in chosen], dtype=torch.float64)
    assert found.estimate == pytest.approx(written_out(features), rel=1e-9)
    assert found.mean == pytest.approx(replicates.mean().item(), rel=1e-9)
    assert found.std == pytest.approx(replicates.std().item(), rel=1e-7)


def test_the_deviation_is_that_of_other_samples_and_its_twin_without_replacement_has_none(
    generator, streams, monkeypatch
):
    """300 samples of 100 rows, two apart from the reference: their deviation is known to 4 %, and the mean of ten
    bootstraps to some 8 %."""
    reference = exact_normal(3)
    shift = torch.tensor([2.0, 0.0, 0.0], dtype=torch.float64)
    others = [draws(generator, 100, 3) + shift for _ in range(300)]
    estimates = torch.tensor([frechet_distance(x.mean(0), x.T.cov(), reference.mean, reference.cov) for x in others])

    def deviation() -> float:
        return sum(frechet_bootstrap(x, reference, num=100, generator=streams).std for x in others[:10]) / 10

    wanted = pytest.approx(estimates.std().item(), rel=0.35)
    assert deviation() == wanted
    monkeypatch.setattr(
        bootstrap, "uniform", lambda like, generator: (uniform(like, generator=generator).argsort(1) + 0.5) / 100
    )
    assert deviation() != wanted


def test_few_samples_bias_the_distance_upwards_and_the_replicates_show_it(generator, streams):
    """The truth is 0. With 20, 80 and 320 rows in 8 dimensions, 30 samples each."""
    reference, means = exact_normal(8), []
    for n in (20, 80, 320):
        found = [frechet_bootstrap(draws(generator, n, 8), reference, num=10, generator=streams) for _ in range(30)]
        means.append(sum(each.estimate for each in found) / 30)
        assert all(each.mean > each.estimate > 0 for each in found)
    assert means[0] > 2.5 * means[1] > 6 * means[2]  # about a constant over n


def test_a_generator_decides_the_replicates_and_another_gives_others(generator, streams):
    features, reference = draws(generator, 30, 4), exact_normal(4)
    first = frechet_bootstrap(features, reference, num=8, generator=streams)
    assert frechet_bootstrap(features, reference, num=8, generator=streams) == first
    assert frechet_bootstrap(features, reference, num=8, generator=streams.fork("other")).mean != first.mean
    assert first.estimate == pytest.approx(
        frechet_distance(features.mean(0), features.T.cov(), reference.mean, reference.cov), rel=1e-9
    )
    direct = FrechetDistance()(features, features.clone())
    assert frechet_bootstrap(features, statistics_of(features), num=2).estimate == pytest.approx(direct, abs=1e-12)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: frechet_bootstrap(torch.zeros(1, 3), exact_normal(3)), "N >= 2"),
        (lambda: frechet_bootstrap(torch.zeros(5, 4), exact_normal(3)), r"\(5, 4\): expected \(B, 3\)"),
        (lambda: frechet_bootstrap(torch.zeros(5, 3), FeatureStatistics(3)), "of 0 rows"),
        (lambda: frechet_bootstrap(torch.zeros(5, 3), exact_normal(3), num=1), "num = 1: expected a whole number >= 2"),
    ],
)
def test_bad_input_is_refused_with_its_value(make, message):
    with pytest.raises(ValueError, match=message):
        make()
