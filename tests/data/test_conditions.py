"""What examples are conditioned on: the row of each example, whatever the order in which it is asked for."""

import numpy as np
import pytest
import torch
from torch.utils.data import DataLoader, TensorDataset

from scorekit.data import (
    Compose,
    Dequantize,
    Images,
    Indexed,
    Mapped,
    RandomHorizontalFlip,
    Source,
    Stream,
    as_source,
    digits,
    from_array,
    split,
)
from scorekit.random import PerChain

N = 23
NUMBERS = torch.arange(N, dtype=torch.float32).unsqueeze(1).expand(N, 2).clone()  # example i is (i, i)
LABELS = torch.arange(N) * 5 % 7
VECTORS = torch.stack([LABELS.double(), -torch.arange(N).double(), torch.ones(N)], dim=1)
DATA = {
    "tensor": NUMBERS,
    "array": NUMBERS.numpy(),
    "data set with labels of its own": TensorDataset(NUMBERS, torch.zeros(N)),
    "list": list(NUMBERS.numpy()),
}


def aligned(source: Source, table: torch.Tensor) -> bool:
    """Whether every example comes with its own row, in any order, many times and by itself."""
    orders = [torch.arange(N).flip(0), torch.tensor([22, 0, 5, 5]), torch.tensor([3])]
    rows = [(source.take(order)[:, 0].long(), source.condition(order)) for order in orders]
    return all(torch.equal(table[numbers], found) for numbers, found in rows)


@pytest.mark.parametrize("name", DATA)
@pytest.mark.parametrize("table", [LABELS, VECTORS, VECTORS.float()], ids=["labels", "vectors", "float32"])
def test_every_example_comes_with_its_own_condition(name, table):
    for given in (table, table.numpy()):
        source = as_source(DATA[name], condition=given)
        assert aligned(source, table)
        assert source.condition(torch.tensor([1])).dtype == table.dtype


@pytest.mark.parametrize(
    "wrong",
    [
        lambda rows, indices: rows[torch.arange(len(indices))],
        lambda rows, indices: rows[indices.flip(0)],
        lambda rows, indices: rows.flip(0)[indices],
        lambda rows, indices: rows[indices - 1],
        lambda rows, indices: rows[indices.sort().values],
    ],
    ids=["the first rows", "the batch backwards", "the table backwards", "off by one", "sorted"],
)
def test_mutant_that_takes_other_rows_is_rejected(monkeypatch, wrong):
    for table in (LABELS, VECTORS):
        source = as_source(NUMBERS, condition=table)
        monkeypatch.setattr(Source, "condition", lambda self, indices, table=table: wrong(table, indices))
        assert not aligned(source, table)


def test_unconditional_data_have_none():
    for data in (*DATA.values(), digits(), DataLoader(NUMBERS, batch_size=4)):
        source = as_source(data)
        assert source.condition(torch.arange(3)) is None
        assert source.condition_kind == "no condition"


def test_the_kinds_have_names():
    assert as_source(NUMBERS, condition=LABELS).condition_kind == "labels"
    assert as_source(NUMBERS, condition=VECTORS).condition_kind == "vectors of 3 numbers"
    assert as_source(NUMBERS, condition=VECTORS[:, :1]).condition_kind == "vectors of 1 number"


def test_the_labels_of_pictures_go_with_them_through_a_split():
    """Picture n is n at every pixel, and its label n squared modulo 11."""
    pixels = torch.arange(40, dtype=torch.uint8).reshape(40, 1, 1, 1).expand(40, 1, 2, 2)
    images = Images(pixels, labels=torch.arange(40) ** 2 % 11)
    for part in (images, *split(images, 13, seed=1)):
        source, order = as_source(part, condition="labels"), torch.arange(len(part)).flip(0)
        numbers = source.take(order)[:, 0, 0, 0].long()
        assert source.condition(order).tolist() == (numbers**2 % 11).tolist()


def test_conditions_change_no_batch_and_no_transform_changes_them(generator):
    images = digits()
    flipped = Compose((RandomHorizontalFlip(), Dequantize(17)))
    plain, labelled = as_source(images, flipped), as_source(images, flipped, condition="labels")
    indices = torch.randint(len(images), (50,), generator=generator)
    assert torch.equal(plain.batch(indices, generator=PerChain(1)), labelled.batch(indices, generator=PerChain(1)))
    for seed in (1, 2):
        labelled.batch(indices, generator=PerChain(seed))
        assert torch.equal(labelled.condition(indices), images.labels[indices])


@pytest.mark.parametrize("bad", [-1, N])
def test_numbers_out_of_range(bad):
    with pytest.raises(IndexError, match="there are 23, numbered from 0"):
        as_source(NUMBERS, condition=LABELS).condition(torch.tensor([0, bad]))


NAN, NEGATIVE = VECTORS.clone(), LABELS.clone()
NAN[4, 1], NEGATIVE[6] = torch.nan, -1


MAKERS = {
    "tensor": lambda condition: as_source(NUMBERS, condition=condition),
    "list": lambda condition: as_source(list(NUMBERS), condition=condition),
    "Indexed": lambda condition: Indexed(NUMBERS, Compose(), condition),
    "Mapped": lambda condition: Mapped(list(NUMBERS), Compose(), condition),
}


@pytest.mark.parametrize("make", MAKERS.values(), ids=MAKERS)
@pytest.mark.parametrize(
    ("condition", "error", "message"),
    [
        (LABELS[:-1], ValueError, "expected one row for each of 23 examples; got 22 rows"),
        (VECTORS[:0], ValueError, "expected one row for each of 23 examples; got 0 rows"),
        (NAN, ValueError, r"finite numbers; that of example 4 is \[.*nan"),
        (NAN.nan_to_num(torch.inf), ValueError, r"finite numbers; that of example 4 is \[.*inf"),
        (NEGATIVE, ValueError, "labels numbered from 0; that of example 6 is -1"),
        (LABELS.float(), ValueError, r"vectors \(N, D\); got torch.float32 of \(23,\)"),
        (VECTORS[:, :0], ValueError, r"vectors \(N, D\); got torch.float64 of \(23, 0\)"),
        (VECTORS.unsqueeze(2), ValueError, r"vectors \(N, D\); got torch.float64 of \(23, 3, 1\)"),
        (LABELS.unsqueeze(1), ValueError, r"one number for each example, \(N,\); got int64 of \(23, 1\)"),
        (LABELS[0], ValueError, r"one number for each example, \(N,\); got int64 of \(\)"),
        (LABELS.int(), TypeError, r"int64 labels \(N,\) or .*; got torch.int32 of shape \(23,\)"),
        (LABELS > 2, TypeError, "got torch.bool"),
        (VECTORS * 1j, TypeError, "got torch.complex128"),
    ],
)  # fmt: skip
def test_bad_conditions_are_refused(make, condition, error, message):
    with pytest.raises(error, match=message):
        make(condition)


@pytest.mark.parametrize(
    ("data", "condition", "error", "message"),
    [
        (DataLoader(NUMBERS, batch_size=4), LABELS, TypeError, "a DataLoader's examples only come in order"),
        (Stream([NUMBERS]), LABELS, TypeError, "this Stream is a source already, with no condition"),
        (as_source(NUMBERS, condition=LABELS), LABELS, TypeError, "this Indexed is a source already, with labels"),
        (NUMBERS, "labels", TypeError, r"condition='labels'\) of Tensor: .* 'labels' with Images"),
        (digits(), "classes", TypeError, r"condition='classes'\) of Images"),
        (from_array(np.zeros((3, 2, 2), np.uint8)), "labels", ValueError, "<Images 'array'.* come without labels"),
        (digits(), LABELS, ValueError, "each of 1797 examples; got 23 rows"),
        (NUMBERS, LABELS.tolist(), TypeError, r"condition=\.\.\.\): expected a Tensor or an ndarray.*got list"),
        (NUMBERS, np.array(["a"] * N), TypeError, r"condition=\.\.\.\): .* got ndarray of <U1"),
    ],
)  # fmt: skip
def test_conditions_that_belong_to_no_example_are_refused(data, condition, error, message):
    with pytest.raises(error, match=message):
        as_source(data, condition=condition)
