import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from scorekit.training.order import DataOrder


def order(num_examples, seed=0):
    return DataOrder(num_examples, seed)


@pytest.mark.parametrize("num_examples", [1, 2, 37, 256])
def test_every_epoch_uses_every_example_once(num_examples):
    line = order(num_examples).indices(0, 4 * num_examples).view(4, num_examples)
    assert torch.equal(line.sort(dim=1).values, torch.arange(num_examples).expand(4, -1))


def test_epochs_and_seeds_differ():
    line = order(256).indices(0, 512)
    assert not torch.equal(line[:256], line[256:])
    assert not torch.equal(line[:256], torch.arange(256))
    assert not torch.equal(order(256, seed=1).indices(0, 256), line[:256])


@given(st.integers(1, 9), st.integers(0, 20), st.integers(1, 15))
def test_a_place_gives_the_same_example_however_one_comes_to_it(num_examples, first, count):
    whole = order(num_examples).indices(0, 35)
    assert torch.equal(order(num_examples).indices(first, count), whole[first : first + count])


def test_the_epoch_permutation_is_uniform():
    """Where example 0 stands: chi-square over 7 places, n = 700 epochs; p = 1e-5 above 33."""
    line = order(7, seed=11).indices(0, 7 * 700).view(700, 7)
    counts = torch.bincount((line == 0).int().argmax(dim=1), minlength=7).double()
    assert float(((counts - 100) ** 2 / 100).sum()) < 33


def test_a_stream_is_read_in_order():
    assert order(None).indices(5, 3).tolist() == [5, 6, 7]
