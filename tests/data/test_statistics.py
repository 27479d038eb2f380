"""Data moments: exact formulas, and mutants that a looser check would pass."""

import pytest
import torch
from torch.utils.data import DataLoader, TensorDataset

from scorekit.data import Compose, Dequantize, Images, Logit, RandomHorizontalFlip, Stream, as_source, moments

from .makers import random_bytes


@pytest.fixture
def images(generator):
    """700 pictures, more than two batches, each coordinate with a law of its own and never symmetric."""
    scale = torch.linspace(0.05, 1, 3 * 4 * 5).reshape(3, 4, 5)
    return Images((random_bytes((700, 3, 4, 5), generator) * scale).to(torch.uint8))


def close(found, expected) -> bool:
    return all(torch.allclose(a, b, rtol=1e-9, atol=1e-12) for a, b in zip(found, expected, strict=True))


def dequantised(k: torch.Tensor, levels: int) -> tuple[torch.Tensor, torch.Tensor]:
    """mean = (mean k + 1/2) / levels; variance = (var k + 1/12) / levels^2."""
    k = k.double()
    return (k.mean(0) + 0.5) / levels, ((k.var(0, correction=0) + 1 / 12) / levels**2).sqrt()


def test_dequantised_moments_are_exact(images):
    found = moments(as_source(images))
    assert found[0].shape == found[1].shape == (3, 4, 5)
    assert found[0].dtype == torch.float64
    assert close(found, dequantised(images.pixels, 256))
    k = images.pixels.double()
    mutants = {
        "no 1/2": (k.mean(0) / 256, dequantised(k, 256)[1]),
        "no 1/12": (dequantised(k, 256)[0], k.std(0, correction=0) / 256),
        "255": dequantised(k, 255),
        "unbiased": (dequantised(k, 256)[0], ((k.var(0) + 1 / 12) / 256**2).sqrt()),
        "over all coordinates": tuple(v.mean().expand(3, 4, 5) for v in dequantised(k, 256)),
    }
    for name, mutant in mutants.items():
        assert not close(found, mutant), name


def test_flips_count_in_expectation(images):
    p = 0.3
    found = moments(as_source(images, Compose((RandomHorizontalFlip(p), Dequantize()))))
    mean, std = dequantised(images.pixels, 256)
    square = std**2 + mean**2
    flipped_mean = (1 - p) * mean + p * mean.flip(-1)
    flipped_square = (1 - p) * square + p * square.flip(-1)
    assert close(found, (flipped_mean, (flipped_square - flipped_mean**2).sqrt()))
    assert not close(found, (mean, std))
    averaged = (1 - p) * std + p * std.flip(-1)  # the mutant that averages deviations instead of squares
    assert not close(found, (flipped_mean, averaged))


def test_logit_moments_against_draws(generator):
    """8,000 draws of black, white, middle and dark pixels; 1e-3 is twice the quadrature rule's own error."""
    k = torch.tensor([0, 255, 128, 3] * 50, dtype=torch.uint8).reshape(50, 1, 2, 2)
    source = as_source(Images(k), Compose((Dequantize(), Logit())))
    mean, std = moments(source)
    draws = torch.cat([source.batch(torch.arange(50), generator=generator).double() for _ in range(160)])
    error = draws.std(0) / 8_000**0.5
    assert ((draws.mean(0) - mean).abs() < 4.9 * error + 1e-3).all()
    assert (
        (draws.std(0) - std).abs() < 4.9 * 2 * error + 1e-3
    ).all()  # kurtosis 9 of a log-uniform: sqrt(8/4) standard errors
    assert std.flatten()[0] == pytest.approx(0.9922, abs=1e-3)


def test_data_far_from_zero_lose_no_digits(generator):
    """At 1e8 the sum of squares (the mutant) has a spacing of 2: it cannot see a deviation of 1."""
    x = torch.randn(1000, 3, generator=generator, dtype=torch.float64) + 1e8
    _, std = moments(as_source(x))
    exact = (x - 1e8).std(0, correction=0)
    assert torch.allclose(std, exact, rtol=1e-6)
    naive = (x.square().mean(0) - x.mean(0).square()).clamp(min=0).sqrt()
    assert not torch.allclose(naive, exact, rtol=1e-2)


def test_every_source_of_the_same_data_has_the_same_moments(generator):
    x = torch.randn(601, 2, 3, generator=generator, dtype=torch.float64)
    exact = (x.mean(0), x.std(0, correction=0))
    for data in (x, x.numpy(), list(x), DataLoader(TensorDataset(x), batch_size=37), Stream([x[:600], x[600:], x[:0]])):
        assert close(moments(as_source(data)), exact)


@pytest.mark.parametrize("count", [1, 36, 37, 300, 601])
def test_the_first_examples_only(generator, count):
    x = torch.randn(601, 2, generator=generator, dtype=torch.float64)
    for data in (x, DataLoader(TensorDataset(x), batch_size=37)):
        assert close(moments(as_source(data), count), (x[:count].mean(0), x[:count].std(0, correction=0)))


def test_a_pass_does_not_disturb_the_stream():
    x = torch.arange(10.0).unsqueeze(1)
    source = as_source(DataLoader(TensorDataset(x), batch_size=4))
    source.batch(torch.arange(3))
    moments(source)
    assert source.batch(torch.arange(3, 6)).flatten().tolist() == [3, 4, 5]


def test_what_cannot_be_measured():
    with pytest.raises(TypeError, match="would use it up: it is an iterator"):
        moments(Stream(iter([torch.zeros(2, 2)])))
    with pytest.raises(ValueError, match="has no example"):
        moments(Stream([]))
    with pytest.raises(ValueError, match="num_examples=0"):
        moments(as_source(torch.zeros(2, 2)), 0)


def test_constant_data_have_no_deviation():
    mean, std = moments(as_source(torch.full((5, 2), 0.1)))
    assert torch.equal(std, torch.zeros(2, dtype=torch.float64))
    assert torch.allclose(mean, torch.full((2,), 0.1, dtype=torch.float64))
