"""NCSNv2's choices of levels and step are the published ones, and what they are made of is exact."""

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.utils.data import DataLoader, IterableDataset

from scorekit.base import PerChain
from scorekit.data import Images, Stream, as_source
from scorekit.noise import Geometric
from scorekit.step_sizes import SigmaSquared
from scorekit.tuning import (
    OVERLAP,
    epsilon_for,
    largest_distance,
    ncsnv2,
    ncsnv2_settings,
    num_levels_for_overlap,
    overlap_of,
    ratio_for_overlap,
    variance_ratio,
)
from tests.laws.configs import round_trip

PUBLISHED = {  # D, sigma_1, L as in the published configurations
    "CIFAR-10": (3 * 32**2, 50.0, 232),
    "CelebA": (3 * 64**2, 90.0, 500),
    "LSUN church": (3 * 96**2, 140.0, 788),
    "LSUN bedroom": (3 * 128**2, 190.0, 1086),
    "FFHQ": (3 * 256**2, 348.0, 2311),
}
RATIOS = {784: 1.0819717, 3072: 1.0397964, 12288: 1.019510, 27648: 1.012923, 49152: 1.009661, 196608: 1.004807}
EPSILONS = [  # schedule, T, epsilon, s_T^2 / sigma^2 to the digits given
    (Geometric(50.0, 0.01, 232), 5, 6.18e-6, 1.0555),
    (Geometric(90.0, 0.01, 500), 5, 3.34e-6, 1.0314),
    (Geometric(190.0, 0.01, 1086), 3, 1.77e-6, 1.0174),
    (Geometric(348.0, 0.01, 2311), 3, 8.93e-7, 1.0089),
    (Geometric(17.0, 0.01, 101), 5, 1.07e-5, 1.090),
    (Geometric(17.0, 0.01, 101), 10, 8.3e-6, 1.064),
]


@pytest.mark.parametrize("dim", RATIOS)
def test_the_ratio_of_levels_at_overlap_one_half(dim):
    ratio = ratio_for_overlap(dim, 0.5)
    assert ratio == pytest.approx(RATIOS[dim], abs=6e-7)
    assert overlap_of(dim, ratio) == pytest.approx(0.5, abs=1e-9)


@pytest.mark.parametrize("overlap", [1e-6, 0.1, 0.567, 0.99])
@pytest.mark.parametrize("dim", [5, 64, 3072])
def test_the_ratio_has_the_overlap_asked_for(dim, overlap):
    assert overlap_of(dim, ratio_for_overlap(dim, overlap)) == pytest.approx(overlap, rel=1e-6)


@pytest.mark.parametrize("name", PUBLISHED)
def test_the_number_of_levels_is_the_published_one(name):
    dim, sigma_max, published = PUBLISHED[name]
    assert num_levels_for_overlap(dim, sigma_max, 0.01) - published == (1 if name.startswith("LSUN") else 0)
    assert overlap_of(dim, (sigma_max / 0.01) ** (1 / (published - 1))) == pytest.approx(OVERLAP, abs=1e-3)


def test_the_number_of_levels_of_other_settings():
    assert num_levels_for_overlap(3072, 50.0, 0.01, 0.5) == 219
    assert num_levels_for_overlap(784, 17.0, 0.01) == 101
    assert ratio_for_overlap(784) == pytest.approx(1.0774, abs=5e-5)
    assert num_levels_for_overlap(3072, 1.001, 1.0) == 2
    assert overlap_of(3072, 50 ** (1 / 9)) < 1e-12  # v1's ten levels do not overlap


@pytest.mark.parametrize(("noise", "num_steps", "epsilon", "ratio"), EPSILONS)
def test_epsilon_is_the_published_one_and_the_best_of_a_fine_grid(noise, num_steps, epsilon, ratio):
    found = epsilon_for(noise, num_steps)
    assert float(f"{found:.2e}") == pytest.approx(epsilon, rel=4e-3)
    assert variance_ratio(noise, num_steps, found) == pytest.approx(ratio, abs=6e-5 if ratio != 1.09 else 6e-4)
    grid = np.geomspace(1e-4, 1.0, 3001) * noise.sigma_min**2
    values = [variance_ratio(noise, num_steps, float(value)) for value in grid]
    assert variance_ratio(noise, num_steps, found) <= min(values) + 1e-12
    assert grid[int(np.argmin(values))] == pytest.approx(found, rel=0.004)


def test_the_variance_ratio_is_that_of_the_recursion():
    noise, num_steps, epsilon = Geometric(), 100, 2e-5
    assert variance_ratio(noise, num_steps, epsilon) == pytest.approx(1.1111, abs=5e-5)
    short, variance = Geometric(1.0, 0.1, 3), 10.0  # at sigma = 1: the variance of the level before is g^2
    for _ in range(4):
        variance = (1 - 0.02) ** 2 * variance + 2 * 0.02
    assert variance_ratio(short, 4, 0.02 * 0.01) == pytest.approx(variance)


NCSNV2_MUTANTS: dict[str, tuple[str, Callable[..., Any], Callable[[], bool]]] = {
    "4 D for 2 D": (
        "overlap_of",
        lambda dim, ratio: overlap_of(2 * dim, ratio),
        lambda: abs(ratio_for_overlap(3072, 0.5) - RATIOS[3072]) > 6e-7,
    ),
    "the paper's step, half the drift": (
        "_variance_ratio",
        lambda g, num, r, right=ncsnv2._variance_ratio: right(g, num, r / 2),
        lambda: abs(epsilon_for(EPSILONS[0][0], 5) / 6.18e-6 - 1) > 4e-3,
    ),
    "T for 2 T": (
        "_variance_ratio",
        lambda g, num, r, right=ncsnv2._variance_ratio: right(g, num / 2, r),
        lambda: abs(epsilon_for(EPSILONS[0][0], 5) / 6.18e-6 - 1) > 4e-3,
    ),
    "L for L - 1": (
        "_ratio",
        lambda noise: (noise.sigma_max / noise.sigma_min) ** (1 / noise.num_levels),
        lambda: abs(epsilon_for(EPSILONS[0][0], 5) / 6.184024e-6 - 1) > 1e-4,
    ),
}


@pytest.mark.parametrize("name", NCSNV2_MUTANTS)
def test_mutants_of_the_goldens_are_rejected(name, monkeypatch):
    attribute, broken, rejects = NCSNV2_MUTANTS[name]
    assert not rejects()
    monkeypatch.setattr(ncsnv2, attribute, broken)
    assert rejects()


# -------------------------------------------------------------------------------------------------- NCSNv2, from data


def brute_force(x: Tensor) -> float:
    flat = x.flatten(1).double()
    return (flat.unsqueeze(1) - flat.unsqueeze(0)).norm(dim=2).max().item()


@pytest.mark.parametrize("shape", [(2, 1), (137, 3), (150, 2, 4)])
def test_the_largest_distance_is_exact_whatever_the_blocks(shape, generator, monkeypatch):
    monkeypatch.setattr(ncsnv2, "_ROWS", 32)
    x = torch.randn(shape, generator=generator)
    assert largest_distance(x) == pytest.approx(brute_force(x), rel=1e-12)
    far = x + 1e4  # in float32, |a|^2 + |b|^2 - 2 ab alone would lose all digits
    assert largest_distance(far) == pytest.approx(brute_force(far), rel=1e-12)


def test_the_farthest_pair_is_found_in_every_pair_of_blocks(monkeypatch):
    monkeypatch.setattr(ncsnv2, "_ROWS", 3)
    for a in range(8):
        for b in range(a + 1, 8):
            x = torch.zeros(8, 2)
            x[a, 0], x[b, 1] = 3.0, 4.0
            assert largest_distance(x) == 5.0


def test_every_kind_of_data_gives_the_same(generator):
    x = torch.rand(40, 1, 4, 4, generator=generator)
    expected = brute_force(x)
    dataset = torch.utils.data.TensorDataset(x)
    kinds = (
        x,
        x.numpy(),
        dataset,
        DataLoader(dataset, batch_size=7),
        Images(x, levels=None),
        as_source(x),
        Stream([x]),
    )
    for data in kinds:
        assert largest_distance(data) == pytest.approx(expected), data
        assert largest_distance(data, max_examples=40) == pytest.approx(expected), data


def test_grey_levels_are_compared_as_the_model_sees_them(streams):
    pixels = torch.zeros(2, 1, 8, 8, dtype=torch.uint8)
    pixels[1] = 255
    distance = largest_distance(Images(pixels), generator=streams)
    assert abs(distance - 8 * 255 / 256) < 8 / 256
    assert distance == largest_distance(Images(pixels), generator=streams)
    assert distance != largest_distance(Images(pixels), generator=PerChain(1))
    with pytest.raises(TypeError, match="floating-point"):
        largest_distance(Stream([pixels]))


def test_a_subsample_is_seeded_without_replacement_and_uniform(seed):
    line = torch.arange(30.0).unsqueeze(1)
    for data in (line, Stream(line.split(4))):
        source, counts = as_source(data), torch.zeros(30)
        for trial in range(100):
            kept = ncsnv2._examples(source, 10, torch.Generator().manual_seed(seed + trial)).flatten().long()
            assert len(kept.unique()) == 10
            counts[kept] += 1
        z = (counts - 100 / 3) / math.sqrt(100 * 1 / 3 * 2 / 3)
        assert z.abs().max() < 4.9
        again = [largest_distance(data, max_examples=3, generator=PerChain(seed)) for _ in range(2)]
        assert again[0] == again[1] <= 29


def test_the_settings_are_those_of_the_parts(generator):
    x = torch.randn(500, 3, 8, 8, generator=generator)
    found = ncsnv2_settings(x, sigma_min=0.05, overlap=0.4, steps_per_level=3)
    distance = brute_force(x)
    levels = num_levels_for_overlap(192, distance, 0.05, 0.4)
    assert found.largest_distance == found.noise.sigma_max == pytest.approx(distance)
    assert found.noise == Geometric(found.largest_distance, 0.05, levels)
    assert found.step_size == SigmaSquared(epsilon_for(found.noise, 3), sigma_min=0.05)
    assert (found.num_examples, found.overlap, found.steps_per_level) == (500, 0.4, 3)
    assert found.variance_ratio == variance_ratio(found.noise, 3, found.step_size.epsilon)
    assert ncsnv2_settings(x, max_examples=50, generator=PerChain(0)).num_examples == 50
    assert round_trip(found.noise) == found.noise
    assert round_trip(found.step_size) == found.step_size


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda: ratio_for_overlap(2), r"dim = 2: no ratio of levels.*sqrt\(2 dim\) <= 3"),
        (lambda: ratio_for_overlap(4), "dim = 4: no ratio"),
        (lambda: ratio_for_overlap(3072, 0.9974), "0 < overlap < 0.9973"),
        (lambda: ratio_for_overlap(3072, 0.0), "0 < overlap"),
        (lambda: num_levels_for_overlap(3072, 1.0, 1.0), "0 < sigma_min < sigma_max < inf"),
        (lambda: epsilon_for(Geometric(), 0), "steps_per_level = 0: expected an integer >= 1"),
        (lambda: ncsnv2_settings(torch.rand(5, 2)), "dim = 2"),
        (lambda: ncsnv2_settings(torch.ones(5, 9)), "is 0; sigma_1 is that distance"),
        (lambda: ncsnv2_settings(torch.rand(5, 9), sigma_min=0.0), "sigma_min=0.0"),
        (lambda: ncsnv2_settings(DataLoader(Unread()), overlap=1.0), "0 < overlap"),
        (lambda: ncsnv2_settings(DataLoader(Unread()), steps_per_level=0), "steps_per_level = 0"),
        (lambda: largest_distance(torch.rand(1, 9)), "two of them at least; there are 1"),
        (lambda: largest_distance(torch.rand(9, 9), max_examples=1), "max_examples=1"),
    ],
)
def test_what_the_rules_do_not_cover_is_refused(call, words):
    with pytest.raises(ValueError, match=words):
        call()


class Unread(IterableDataset):
    """Data that must not be read before the numbers are checked."""

    def __iter__(self):
        raise ArithmeticError("read")
