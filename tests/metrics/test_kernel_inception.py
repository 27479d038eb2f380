"""The kernel inception distance: the sum over pairs, its bias, blocks of two streams, torchmetrics."""

import itertools
import math

import pytest
import torch
from torch import Tensor

from scorekit.metrics import KernelInceptionDistance, _samples, polynomial_mmd
from tests.laws.statistics import BOUND, z_score
from tests.metrics.cases import draws


def written_out(x: Tensor, y: Tensor, *, diagonal: bool = False) -> float:
    def mean(a: Tensor, b: Tensor, same: bool) -> float:
        pairs = [(i, j) for i in range(len(a)) for j in range(len(b)) if diagonal or not same or i != j]
        return sum(((a[i] @ b[j]).item() / a.shape[1] + 1) ** 3 for i, j in pairs) / len(pairs)

    return mean(x, x, True) + mean(y, y, True) - 2 * mean(x, y, False)


def test_the_discrepancy_is_the_sum_over_pairs_and_its_diagonal_twin_is_not(generator):
    x, y = draws(generator, 7, 3), draws(generator, 5, 3, mean=0.5)
    assert polynomial_mmd(x, y) == pytest.approx(written_out(x, y), abs=1e-13)
    assert polynomial_mmd(x, y) != pytest.approx(written_out(x, y, diagonal=True), abs=1e-3)


def test_the_discrepancy_is_unbiased_and_its_diagonal_twin_is_not(generator):
    """Equal laws, 400 samples of 10 and 8 in 4 dimensions: 0 in the mean; the twin's bias is many standard errors."""
    pairs = [(draws(generator, 10, 4), draws(generator, 8, 4)) for _ in range(400)]
    assert abs(z_score(torch.tensor([polynomial_mmd(x, y) for x, y in pairs]), 0.0)) < BOUND
    assert abs(z_score(torch.tensor([written_out(x, y, diagonal=True) for x, y in pairs[:100]]), 0.0)) > BOUND


def test_the_discrepancy_is_the_same_in_small_blocks(generator, monkeypatch):
    x, y = draws(generator, 41, 3), draws(generator, 30, 3, mean=0.3)
    whole = polynomial_mmd(x, y)
    monkeypatch.setattr(_samples, "BLOCK", 100)
    assert polynomial_mmd(x, y) == pytest.approx(whole, rel=1e-12)


def test_one_block_of_all_is_the_distance_of_torchmetrics(generator):
    from torchmetrics.image.kid import KernelInceptionDistance as Oracle

    x, y = draws(generator, 120, 16), draws(generator, 120, 16, mean=0.2)
    oracle = Oracle(feature=torch.nn.Identity(), subsets=1, subset_size=120)
    oracle.update(y, real=True)
    oracle.update(x, real=False)
    ours = KernelInceptionDistance(16, [y], block_size=120)
    ours.update(x)
    assert ours.result().mean == pytest.approx(oracle.compute()[0].item(), rel=1e-6)
    assert ours.result().mean > 0.01


def streamed(x: Tensor, y: Tensor, sizes: int, *, block_size: int) -> KernelInceptionDistance:
    made = KernelInceptionDistance(x.shape[1], y.split(sizes), block_size=block_size)
    for batch in x.split(sizes + 3):
        made.update(batch)
    return made


@pytest.mark.parametrize("sizes", [1, 7, 20, 500])
def test_streams_in_batches_of_any_sizes_are_paired_block_by_block(sizes, generator):
    x, y = draws(generator, 110, 5), draws(generator, 110, 5, mean=0.2)
    found = streamed(x, y, sizes, block_size=20)
    pairs = zip(x[:100].split(20), y[:100].split(20), strict=True)
    values = torch.tensor([polynomial_mmd(a, b) for a, b in pairs], dtype=torch.float64)
    result = found.result()
    assert result.mean == pytest.approx(values.mean().item(), rel=1e-12)
    assert result.standard_error == pytest.approx(values.std().item() / math.sqrt(5), rel=1e-12)
    assert (result.num_blocks, result.block_size, found.left_over) == (5, 20, 10)


def test_the_standard_error_is_that_of_the_mean(generator):
    """150 distances of 8 blocks each: their deviation is known to 6 %; without the root of the number of blocks the
    errors would be 2.8 times as large."""
    found = [streamed(draws(generator, 80, 3), draws(generator, 80, 3), 80, block_size=10).result() for _ in range(150)]
    spread = torch.tensor([each.mean for each in found]).std().item()
    errors = math.sqrt(sum(each.standard_error**2 for each in found) / len(found))
    assert errors == pytest.approx(spread, rel=0.4)


def test_processes_share_the_blocks(generator):
    x, y = draws(generator, 120, 5), draws(generator, 120, 5, mean=0.2)
    whole = streamed(x, y, 30, block_size=20).result()
    parts = [streamed(x[rows], y[rows], 7, block_size=20) for rows in (slice(0, 80), slice(80, 120))]
    merged = KernelInceptionDistance.from_state(parts[0].state())
    merged.merge(KernelInceptionDistance.from_state(parts[1].state()))
    assert merged.result() == pytest.approx(whole, rel=1e-12)
    on = KernelInceptionDistance.from_state(parts[0].state(), y[80:].split(9))  # a run that goes on
    on.update(x[80:])
    assert on.result() == pytest.approx(whole, rel=1e-12)


def test_the_reference_is_read_no_further_than_needed_and_little_is_held(generator):
    read = itertools.count()
    reference = (draws(generator, 10, 4) for _ in iter(lambda: next(read), None))
    found = KernelInceptionDistance(4, reference, block_size=50)

    def held() -> int:
        return len(found._samples) + len(found._real)

    found.update(draws(generator, 49, 4))
    assert next(read) == 0
    most = 0
    for _ in range(100):
        found.update(draws(generator, 10, 4))
        most = max(most, held())
    assert most <= 60
    assert next(read) == 1 + found.result().num_blocks * 5  # the test's own look is one of the reads


def test_one_block_has_no_standard_error(generator):
    found = streamed(draws(generator, 20, 3), draws(generator, 20, 3), 20, block_size=20)
    assert math.isnan(found.result().standard_error)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: KernelInceptionDistance(0, []), "num_features = 0"),
        (lambda: KernelInceptionDistance(3, [], block_size=1), "block_size = 1"),
        (lambda: KernelInceptionDistance(3, []).result(), "expected one full block"),
        (
            lambda: streamed(torch.ones(60, 3), torch.ones(47, 3), 30, block_size=20),
            "ended after 2 blocks of 20 rows and 7 rows",
        ),
        (lambda: streamed(torch.ones(60, 3), torch.ones(60, 2), 30, block_size=20), r"reference features of shape"),
        (lambda: KernelInceptionDistance(3, []).update(torch.ones(2, 4)), r"features of shape \(2, 4\)"),
        (lambda: KernelInceptionDistance(3, []).merge(KernelInceptionDistance(3, [], block_size=9)), "differ in size"),
        (lambda: KernelInceptionDistance.from_state({"count": torch.tensor(1)}), "expected {'count'"),
        (lambda: polynomial_mmd(torch.ones(1, 3), torch.ones(4, 3)), "N >= 2"),
    ],
)
def test_bad_input_is_refused_with_its_value(make, message):
    with pytest.raises(ValueError, match=message):
        make()
