"""The inception score: known values, parts, torchmetrics."""

import itertools
import math

import pytest
import torch
from torch import Tensor

from scorekit.metrics import InceptionScore
from tests.metrics.cases import draws


def score_of(logits: Tensor, *, batch: int = 37, splits: int = 10, total: int | None = None) -> InceptionScore:
    made = InceptionScore(logits.shape[1], splits=splits, total=total)
    for each in logits.split(batch):
        made.update(each)
    return made


def written_out(logits: Tensor, *, swapped: bool = False) -> float:
    """exp of the mean of sum_c p log(p / q), q the mean of p; the twin takes sum_c q log(q / p)."""
    p = logits.softmax(1)
    q = p.mean(0, keepdim=True).expand_as(p)
    one, other = (q, p) if swapped else (p, q)
    return (one * (one / other).log()).sum(1).mean().exp().item()


def test_sure_and_diverse_samples_score_the_number_of_classes_and_unsure_or_equal_ones_1():
    sure = 100.0 * torch.eye(7).repeat(30, 1)
    assert score_of(sure, splits=1).result().mean == pytest.approx(7, rel=1e-12)
    assert score_of(torch.ones(100, 7)).result() == pytest.approx((1, 0, 100, 10), abs=1e-12)
    assert score_of(sure[:1].expand(100, 7)).result().mean == pytest.approx(1, rel=1e-12)


def test_half_sure_samples_score_what_the_entropies_say():
    """Each of K = 4 classes in turn with probability .7, the others .1: 4 exp(-H)."""
    p = torch.full((4, 4), 0.1, dtype=torch.float64) + 0.6 * torch.eye(4, dtype=torch.float64)
    entropy = -(0.7 * math.log(0.7) + 0.3 * math.log(0.1))
    assert score_of(p.log().repeat(9, 1), splits=1).result().mean == pytest.approx(4 * math.exp(-entropy), rel=1e-12)


def test_the_score_is_the_written_out_divergence_and_not_the_swapped_one(generator):
    logits = 2 * draws(generator, 90, 6)
    found = score_of(logits, splits=1).result().mean
    assert found == pytest.approx(written_out(logits), rel=1e-12)
    assert found != pytest.approx(written_out(logits, swapped=True), rel=1e-2)


def test_parts_are_by_number_modulo_or_consecutive_as_published(generator):
    logits = 2 * draws(generator, 103, 6)
    modulo = torch.tensor([written_out(logits[part::10]) for part in range(10)])
    bounds = [103 * part // 10 for part in range(11)]
    runs = torch.tensor([written_out(logits[a:b]) for a, b in itertools.pairwise(bounds)])
    for found, values in ((score_of(logits), modulo), (score_of(logits, total=103), runs)):
        result = found.result()
        assert result.mean == pytest.approx(values.double().mean().item(), rel=1e-6)
        assert result.std == pytest.approx(values.double().std(correction=0).item(), rel=1e-5)
        assert (result.count, result.splits) == (103, 10)
    assert score_of(logits).result().mean != pytest.approx(runs.mean().item(), rel=1e-6)


def test_the_score_is_that_of_torchmetrics_on_the_same_parts(generator, monkeypatch):
    """torchmetrics shuffles first, and divides the squares by one less."""
    from torchmetrics.image.inception import InceptionScore as Oracle

    logits = 2 * draws(generator, 200, 12)
    oracle = Oracle(feature=torch.nn.Identity(), splits=10)
    oracle.update(logits)
    monkeypatch.setattr(torch, "randperm", torch.arange)
    mean, std = oracle.compute()
    found = score_of(logits, total=200).result()
    assert found.mean == pytest.approx(mean.item(), rel=1e-6)
    assert found.std == pytest.approx(std.item() * math.sqrt(9 / 10), rel=1e-6)


@pytest.mark.parametrize("total", [None, 160])
def test_processes_share_the_samples_by_their_numbers(total, generator):
    logits = 2 * draws(generator, 160, 6)
    whole = score_of(logits, total=total).result()
    parts, unnumbered = ([InceptionScore(6, total=total) for _ in range(2)] for _ in range(2))
    for number, chunk in enumerate(logits.split(16)):
        parts[number % 2].update(chunk, first=16 * number)
        unnumbered[number % 2].update(chunk)  # a twin that counts from 0 on each process
    merged = InceptionScore.from_state(parts[1].state())
    merged.merge(InceptionScore.from_state(parts[0].state()))
    assert merged.result() == pytest.approx(whole, rel=1e-12)
    unnumbered[0].merge(unnumbered[1])
    assert not torch.equal(unnumbered[0]._counts, merged._counts) or unnumbered[0].result() != merged.result()


def test_probabilities_that_vanish_are_no_trouble_and_memory_does_not_grow(generator):
    logits = torch.tensor([[0.0, -1e4, -2e4], [-1e4, 0.0, -3e4]]).repeat(50, 1)
    few, many = score_of(logits[:20], splits=5), score_of(logits, splits=5)
    assert many.result().mean == pytest.approx(2, rel=1e-12)

    def held(score: InceptionScore) -> int:
        return sum(each.untyped_storage().nbytes() for each in vars(score).values() if isinstance(each, Tensor))

    assert held(few) == held(many)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: InceptionScore(1), "num_classes = 1"),
        (lambda: InceptionScore(4, splits=0), "splits = 0"),
        (lambda: InceptionScore(4, total=9), "total = 9"),
        (lambda: InceptionScore(4).update(torch.zeros(3, 5)), r"logits of shape \(3, 5\)"),
        (lambda: InceptionScore(4).update(torch.full((3, 4), torch.nan)), "3 of the 3 examples"),
        (lambda: InceptionScore(4).update(torch.zeros(3, 4), first=-1), "number -1 to 1"),
        (lambda: InceptionScore(4, total=10).update(torch.zeros(11, 4)), "number 0 to 10.*below the total 10"),
        (lambda: score_of(torch.zeros(9, 4)).result(), "0 to 1 a part"),
        (lambda: score_of(torch.zeros(19, 4), total=20).result(), "the whole total"),
        (lambda: InceptionScore(4).merge(InceptionScore(4, splits=5)), "cannot merge"),
        (lambda: InceptionScore.from_state({"probabilities": torch.zeros(3)}), "tensors {'probabilities'"),
    ],
)
def test_bad_input_is_refused_with_its_value(make, message):
    with pytest.raises(ValueError, match=message):
        make()


def test_one_made_under_inference_mode_goes_on_outside(generator):
    logits = draws(generator, 40, 5)
    with torch.inference_mode():
        made, rest = score_of(logits[:13]), InceptionScore(5)
    made.update(logits[13:])
    rest.merge(made)
    assert made.result() == rest.result()
    assert made.result().mean == pytest.approx(score_of(logits).result().mean, rel=1e-12)
