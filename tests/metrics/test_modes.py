"""The error of the weights of modes."""

import pytest
import torch

import scorekit as sk
from scorekit import metrics
from tests.laws.statistics import BOUND


def test_mode_weight_error_counts_the_nearest_mode():
    modes = metrics.ModeWeightError(((5.0, 5.0), (-5.0, -5.0), (5.0, -5.0)))
    x = torch.tensor([[4.0, 6.0], [9.0, 1.0], [-1.0, -2.0], [5.0, -4.0]])
    assert modes.shares(x).tolist() == [0.5, 0.25, 0.25]
    assert modes(x, x[:1]) == 0.5
    assert modes(x, x[torch.tensor([2, 0, 1, 3])]) == 0


def test_mode_weight_error_of_the_papers_toy(generator):
    """20,000 draws each: a standard error of .004; mode weights .8 and .2 against equal ones are .3 off."""
    toy = sk.densities.GaussianMixture(((5.0, 5.0), (-5.0, -5.0)), (0.8, 0.2))
    even = sk.densities.GaussianMixture(toy.means)
    modes = metrics.ModeWeightError(toy.means)
    x, again, wrong = (density.sample(20_000, generator=generator) for density in (toy, toy, even))
    assert modes(x, again) < BOUND * 0.004
    assert modes(wrong, again) == pytest.approx(0.3, abs=BOUND * 0.005)
