"""Means and covariances of features that stream by."""

import pytest
import torch
from torch import Tensor

from scorekit.metrics import FeatureStatistics
from tests.metrics.cases import draws


def statistics_of(*batches: Tensor) -> FeatureStatistics:
    made = FeatureStatistics(batches[0].shape[1])
    for batch in batches:
        made.update(batch)
    return made


def same(found: FeatureStatistics, rows: Tensor, *, rel: float = 1e-12) -> bool:
    mean, cov = rows.mean(0), rows.T.cov()
    close = (found.mean - mean).abs().max() <= rel * mean.abs().max() and (
        found.cov - cov
    ).abs().max() <= rel * cov.abs().max()
    return found.count == len(rows) and bool(close)


def test_batches_of_any_sizes_have_the_mean_and_the_covariance_of_all_rows(generator):
    rows = draws(generator, 500, 12, mean=3.0)
    assert same(statistics_of(rows), rows)
    assert same(statistics_of(*rows.split(7)), rows)
    assert same(statistics_of(*rows.split([1, 1, 200, 298])), rows)


def test_four_parts_merge_into_the_whole_in_any_order(generator):
    rows = draws(generator, 400, 12, mean=3.0)
    rows[:150] += 5  # parts of different means: the outer product matters
    parts = [statistics_of(*part.split(30)) for part in rows.split([10, 190, 1, 199])]
    for order in ((0, 1, 2, 3), (3, 1, 0, 2)):
        whole = FeatureStatistics(12)
        for number in order:
            whole.merge(parts[number])
        assert same(whole, rows)
    assert [part.count for part in parts] == [10, 190, 1, 199]  # a merge leaves the other one alone


def test_the_check_rejects_a_division_by_n_and_a_merge_without_the_means(generator):
    rows = draws(generator, 400, 12, mean=3.0)
    found = statistics_of(rows)
    found._scatter = found._scatter * (399 / 400)
    assert not same(found, rows)
    rows[:150] += 5
    one, other = statistics_of(rows[:150]), statistics_of(rows[150:])
    whole = statistics_of(rows)
    whole._scatter = one._scatter + other._scatter
    assert not same(whole, rows)


def test_features_far_from_0_lose_no_digits_and_a_mean_of_squares_does(generator):
    """At a mean of 1e6 squares are 1e12: a covariance of 1 keeps four digits in their difference."""
    centred = draws(generator, 1000, 8)
    rows = centred + 1e6
    exact = (rows - 1e6).T.cov()  # exact: the subtraction of near numbers is
    found = statistics_of(*rows.split(100)).cov
    assert (found - exact).abs().max() < 1e-9
    naive = (rows.T @ rows / 1000 - torch.outer(rows.mean(0), rows.mean(0))) * (1000 / 999)
    assert (naive - exact).abs().max() > 1e-5


def test_a_state_gives_the_same_statistics_and_goes_through_a_file(generator, tmp_path):
    from safetensors.torch import load_file, save_file

    rows = draws(generator, 90, 5)
    first = statistics_of(rows[:40])
    save_file(first.state(), tmp_path / "statistics.safetensors")
    again = FeatureStatistics.from_state(load_file(tmp_path / "statistics.safetensors"))
    again.update(rows[40:])
    assert same(again, rows)
    assert first.count == 40
    assert torch.equal(again.cov, statistics_of(rows[:40], rows[40:]).cov)


def test_an_empty_one_changes_nothing_and_has_nothing(generator):
    rows = draws(generator, 9, 5)
    found, empty = statistics_of(rows), FeatureStatistics(5)
    found.merge(empty)
    assert same(found, rows)
    empty.merge(FeatureStatistics(5))
    with pytest.raises(ValueError, match="of 0 rows: a mean takes 1"):
        _ = empty.mean
    empty.update(rows[:1])
    assert torch.equal(empty.mean, rows[0])
    with pytest.raises(ValueError, match="of 1 rows: a covariance takes 2"):
        _ = empty.cov


def test_memory_does_not_grow(generator):
    def held(count: int) -> int:
        found = statistics_of(*(draws(generator, 100, 16) for _ in range(count // 100)))
        return sum(each.untyped_storage().nbytes() for each in vars(found).values() if isinstance(each, Tensor))

    assert held(2000) == held(100)


GOOD = {"count": torch.tensor(3), "mean": torch.zeros(2).double(), "scatter": torch.eye(2).double()}


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: FeatureStatistics(0), "num_features = 0"),
        (lambda: FeatureStatistics(3).update(torch.zeros(2, 4)), r"\(2, 4\): expected \(B, 3\)"),
        (lambda: FeatureStatistics(3).update(torch.zeros(3)), r"\(3,\): expected \(B, 3\)"),
        (lambda: FeatureStatistics(3).update(torch.zeros(0, 3)), "N >= 1"),
        (lambda: FeatureStatistics(3).update(torch.zeros(2, 3, dtype=torch.uint8)), "floating-point"),
        (lambda: FeatureStatistics(1).update(torch.tensor([[1.0], [torch.inf]])), "1 of the 2 examples"),
        (lambda: FeatureStatistics(3).merge(FeatureStatistics(4)), "cannot merge FeatureStatistics.4."),
        (lambda: FeatureStatistics.from_state({}), "tensors {}, expected"),
        (lambda: FeatureStatistics.from_state({**GOOD, "more": torch.zeros(1)}), "more"),
        (lambda: FeatureStatistics.from_state({**GOOD, "scatter": torch.eye(3)}), r"\(3, 3\)"),
        (lambda: FeatureStatistics.from_state({**GOOD, "mean": torch.zeros(2)}), "mean of type torch.float32"),
        (lambda: FeatureStatistics.from_state({**GOOD, "count": torch.tensor(-1)}), "count = -1"),
        (lambda: FeatureStatistics.from_state({**GOOD, "mean": GOOD["mean"] * torch.nan}), "both finite"),
    ],
)
def test_bad_features_and_states_are_refused_with_the_values(make, message):
    with pytest.raises(ValueError, match=message):
        make()


def test_who_changes_the_mean_that_was_handed_out_does_not_change_the_statistics(generator):
    rows = draws(generator, 9, 3)
    made = statistics_of(rows)
    made.mean.zero_()
    made.cov.zero_()
    assert same(made, rows)
