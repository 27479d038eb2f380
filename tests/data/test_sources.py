"""What the training loop reads, from every kind of data."""

import math
import pickle

import numpy as np
import pytest
import torch
from torch.utils.data import DataLoader, IterableDataset, TensorDataset

from scorekit.data import (
    Compose,
    DataError,
    Dequantize,
    Images,
    Indexed,
    Logit,
    Mapped,
    RandomHorizontalFlip,
    Stream,
    Transform,
    as_source,
    digits,
    from_array,
    moments,
)
from scorekit.random import PerChain

from .makers import random_bytes

NUMBERS = torch.arange(23, dtype=torch.float64).unsqueeze(1).expand(23, 2).clone()  # example i is (i, i)


class WithLabels:
    """A map-style data set: (example, label)."""

    def __len__(self):
        return 23

    def __getitem__(self, index):
        return NUMBERS[index], index % 3


RANDOM_ACCESS = {
    "tensor": NUMBERS,
    "array": NUMBERS.numpy(),
    "data set": WithLabels(),
    "torch data set": TensorDataset(NUMBERS, torch.arange(23)),
    "list of arrays": list(NUMBERS.numpy()),
}
IN_ORDER = {
    "loader": DataLoader(TensorDataset(NUMBERS), batch_size=4),
    "loader with labels": DataLoader(WithLabels(), batch_size=5),
    "loader that drops": DataLoader(TensorDataset(torch.cat([NUMBERS, NUMBERS[:1]])), batch_size=23, drop_last=True),
    "list of batches": Stream([NUMBERS[:10], (NUMBERS[10:].numpy(), "label")]),
}


@pytest.mark.parametrize("name", RANDOM_ACCESS)
def test_random_access(name):
    source = as_source(RANDOM_ACCESS[name])
    assert source.num_examples == len(source) == 23
    assert source.batch(torch.tensor([22, 0, 5, 5]))[:, 0].tolist() == [22, 0, 5, 5]
    assert source.batch(torch.tensor([3])).dtype == torch.float64


@pytest.mark.parametrize("name", RANDOM_ACCESS)
@pytest.mark.parametrize("bad", [-1, 23])
def test_numbers_out_of_range(name, bad):
    """torch itself would take -1 for the last example."""
    with pytest.raises(IndexError, match=r"examples 0\.\.23: there are 23|examples -1\.\.0: there are 23"):
        as_source(RANDOM_ACCESS[name]).batch(torch.tensor([0, bad]))


def fresh(name):
    data = IN_ORDER[name]
    return Stream(data.loader) if isinstance(data, Stream) else as_source(data)


@pytest.mark.parametrize("name", IN_ORDER)
def test_a_stream_numbers_its_examples_epoch_after_epoch(name):
    """Batches of 7 from loader batches of 4, 5, 23, 10 + 13: example i is i mod 23 whatever the cut."""
    source = fresh(name)
    assert source.num_examples is None
    for step in range(10):
        numbers = torch.arange(7 * step, 7 * (step + 1))
        assert source.batch(numbers)[:, 0].tolist() == (numbers % 23).tolist()


@pytest.mark.parametrize("name", IN_ORDER)
def test_a_stream_resumes_by_skipping_and_splits_over_processes(name):
    whole = fresh(name)
    steps = [whole.batch(torch.arange(8 * step, 8 * (step + 1))) for step in range(9)]
    resumed = fresh(name)
    assert torch.equal(resumed.batch(torch.arange(8 * 6, 8 * 7)), steps[6])
    for rank in range(2):
        process = fresh(name)
        for step in range(9):
            numbers = torch.arange(8 * step, 8 * (step + 1))
            assert torch.equal(process.batch(numbers[4 * rank : 4 * rank + 4]), steps[step][4 * rank : 4 * rank + 4])
        strided = fresh(name)
        assert torch.equal(strided.batch(torch.arange(8)[rank::2]), steps[0][rank::2])


@pytest.mark.parametrize("numbers", [[9], [12, 11], [12, 12]])
def test_a_stream_does_not_go_back(numbers):
    source = fresh("loader")
    source.batch(torch.arange(5, 10))
    with pytest.raises(DataError, match=r"expected a number of at least \d+; found one that has gone by"):
        source.batch(torch.tensor(numbers))


def test_a_stream_over_an_iterator_ends():
    source = Stream(iter([NUMBERS[:10], NUMBERS[10:]]))
    source.batch(torch.arange(23))
    with pytest.raises(
        DataError, match="expected more examples; found none after 23: an iterator can be read only once"
    ):
        source.batch(torch.tensor([23]))
    with pytest.raises(DataError, match="found none after 0"):
        Stream([]).batch(torch.tensor([0]))


def test_examples_have_at_least_one_axis():
    with pytest.raises(ValueError, match=r"expected \(B, \*E\), got \(3,\)"):
        Stream([torch.zeros(3)]).batch(torch.arange(3))


def test_a_stream_has_no_length():
    with pytest.raises(TypeError, match="a Stream has no length"):
        len(fresh("loader"))


@pytest.mark.parametrize("batch", [{"x": NUMBERS}, "text", 3.0, (), ["text", NUMBERS]])
def test_a_stream_of_something_else(batch):
    with pytest.raises(TypeError, match="expected a tensor or array, or a tuple that starts with one"):
        Stream([batch]).batch(torch.tensor([0]))


def test_an_iterable_data_set_comes_in_a_loader():
    class Endless(IterableDataset):
        def __iter__(self):
            number = 0.0
            while True:
                yield torch.full((2,), number)
                number += 1

    with pytest.raises(TypeError, match=r"got Endless\. Stream\(iterable\)"):
        as_source(Endless())
    source = as_source(DataLoader(Endless(), batch_size=4))
    assert source.batch(torch.arange(100, 103))[:, 0].tolist() == [100, 101, 102]
    mean, std = moments(source, num_examples=11)  # 0..10
    assert mean.tolist() == [5, 5]
    assert std == pytest.approx(math.sqrt(10))


@pytest.mark.parametrize("data", ["path", {"x": NUMBERS}, (NUMBERS, NUMBERS), 3, None, iter([NUMBERS])])
def test_other_data_are_refused(data):
    with pytest.raises(TypeError, match=f"as_source: expected Images.* got {type(data).__name__}"):
        as_source(data)


def test_items_of_mixed_shapes_are_named():
    with pytest.raises(DataError, match=r"example 1: expected the shape \(2, 2\) of example 0; found \(3, 2\)"):
        as_source([torch.zeros(2, 2), torch.zeros(3, 2)]).batch(torch.tensor([0, 1]))
    with pytest.raises(TypeError, match=r"example 0: expected a tensor or array.* got str"):
        as_source(["a", "b"]).batch(torch.tensor([0]))


@pytest.mark.parametrize(
    ("data", "transform", "error", "message"),
    [
        (torch.zeros(5), None, ValueError, r"\(N, \*E\); got \(5,\)"),
        (torch.zeros(0, 2), None, ValueError, r"got \(0, 2\)"),
        (torch.tensor([[0.0], [torch.nan]]), None, ValueError, "finite numbers; example 1 of 2"),
        (torch.tensor([[torch.inf], [0.0]]), None, ValueError, "finite numbers; example 0 of 2"),
        (torch.zeros(3, 2, dtype=torch.int64), None, TypeError, r"torch\.int64; Dequantize\(levels\) turns"),
        ([], None, ValueError, "is empty"),
        (Indexed(NUMBERS, Compose()), Dequantize(), TypeError, "has a transform already"),
    ],
)
def test_bad_data_are_refused_before_training(data, transform, error, message):
    with pytest.raises(error, match=message):
        as_source(data, transform)


def test_images_are_dequantised_by_their_own_levels(generator):
    images = digits()
    x = as_source(images).batch(torch.arange(1797), generator=generator)
    assert x.dtype == torch.float32
    u = 17 * x.double() - images.pixels
    assert u.min() > -1e-5
    assert u.max() < 1 + 1e-5
    continuous = from_array(torch.rand(4, 1, 2, 2, generator=generator))
    assert torch.equal(as_source(continuous).batch(torch.arange(4)), continuous.pixels)


@pytest.mark.parametrize(
    ("transform", "error", "message"),
    [
        (Dequantize(256), ValueError, r"Dequantize\(levels=256\) does not fit <Images 'digits'.*white 0\.06"),
        (Dequantize(20), ValueError, "does not fit"),
        (Dequantize(9), ValueError, r"expected values in 0\.\.8, got 0 to 16"),
        (RandomHorizontalFlip(), TypeError, r"torch\.uint8; Dequantize\(levels\)"),
        (Compose(), TypeError, r"torch\.uint8; Dequantize\(levels\)"),
        (Logit(), TypeError, "Dequantize comes first"),
        (Compose((Logit(), Dequantize(17))), TypeError, "Dequantize comes first"),
    ],
)
def test_a_transform_that_does_not_fit_is_refused(transform, error, message):
    images = digits()
    before = torch.get_rng_state()
    assert as_source(images, Compose((RandomHorizontalFlip(), Dequantize(17), Logit()))).num_examples == 1797
    with pytest.raises(error, match=message):
        as_source(images, transform)
    assert torch.equal(torch.get_rng_state(), before)


def test_a_transform_of_ones_own(generator):
    class Centred(Transform):
        """To [-1, 1] and back."""

        num_nodes = 1

        def forward(self, x, *, generator=None):
            return x.float() / 127.5 - 1

        def inverse(self, x):
            return ((x + 1) / 2).clamp(0, 1)

        def branches(self, x, num_nodes):
            return [(1.0, x.double() / 127.5 - 1)]

    images = Images(random_bytes((9, 3, 4, 4), generator))
    source = as_source(images, Centred())
    mean, std = moments(source)
    batch = source.batch(torch.arange(9)).double()
    assert torch.allclose(mean, batch.mean(0), atol=1e-6)
    assert torch.allclose(std, batch.std(0, correction=0), atol=1e-6)


def test_a_source_is_itself_and_batches_follow_the_generator(generator):
    source = as_source(digits())
    assert as_source(source) is source
    indices = torch.arange(8)
    first, second = (source.batch(indices, generator=PerChain(3)) for _ in range(2))
    assert torch.equal(first, second)
    assert not torch.equal(first, source.batch(indices, generator=PerChain(4)))
    half = source.batch(indices[4:], generator=PerChain(3, first=4))
    assert torch.equal(first[4:], half)  # a process draws for its own rows what one process draws for them


def test_a_loader_with_workers_and_without_agree():
    loaders = [DataLoader(WithLabels(), batch_size=5, num_workers=workers) for workers in (0, 1)]
    a, b = (as_source(loader).batch(torch.arange(30)) for loader in loaders)
    assert torch.equal(a, b)


def test_an_error_in_a_worker_keeps_its_message():
    error = pickle.loads(pickle.dumps(DataError("x.png: expected a picture; found nothing")))
    assert str(error) == "x.png: expected a picture; found nothing"


def test_kinds():
    assert isinstance(as_source(NUMBERS), Indexed)
    assert isinstance(as_source(WithLabels()), Mapped)
    assert isinstance(as_source(IN_ORDER["loader"]), Stream)
    assert isinstance(np.asarray(RANDOM_ACCESS["array"]), np.ndarray)
