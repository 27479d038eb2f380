import pytest
import torch

from scorekit.base import expand, sum_event


@pytest.mark.parametrize("event", [(3,), (3, 4), (2, 3, 4), (1, 1, 1)])
def test_expand_gives_one_number_per_chain_the_trailing_axes(event):
    like = torch.zeros(5, *event)
    value = torch.arange(5.0)
    wide = expand(value, like)
    assert wide.shape == (5, *(1,) * len(event))
    assert torch.equal(wide.flatten(), value)


def test_expand_hands_back_a_number_and_a_full_shape():
    like = torch.zeros(5, 3, dtype=torch.float64)
    assert expand(torch.tensor(2.0), like).shape == ()
    assert expand(torch.ones(5, 3), like).shape == (5, 3)


def test_expand_takes_the_dtype_of_the_state():
    assert expand(torch.ones(2, dtype=torch.float64), torch.zeros(2, 3, dtype=torch.bfloat16)).dtype == torch.bfloat16


@pytest.mark.parametrize("shape", [(1,), (4,), (3,), (1, 3), (5, 1), (5, 3, 1), (2, 5, 3)])
def test_expand_refuses_what_merely_broadcasts(shape):
    with pytest.raises(ValueError, match=rf"\({', '.join(map(str, shape))}.*expected \(\), \(B,\)"):
        expand(torch.zeros(shape), torch.zeros(5, 3))


def test_expand_refuses_a_vector_of_the_event_when_the_batch_has_another_length():
    """A (d,) against (B, d) is the classic silent mistake; at B = d it is one number per chain, by definition."""
    with pytest.raises(ValueError, match="expected"):
        expand(torch.zeros(3), torch.zeros(2, 3))
    assert expand(torch.arange(3.0), torch.zeros(3, 3)).shape == (3, 1)


@pytest.mark.parametrize("event", [(3,), (3, 4), (2, 3, 4)])
def test_sum_event_sums_every_event_axis(event):
    value = torch.rand(5, *event, dtype=torch.float64)
    assert torch.allclose(sum_event(value), value.reshape(5, -1).sum(1), rtol=1e-14)
    if len(event) > 1:  # the mutant that sums the last axis only
        assert value.sum(-1).shape != sum_event(value).shape


def test_sum_event_of_an_empty_batch():
    assert sum_event(torch.zeros(0, 3, 4)).shape == (0,)
