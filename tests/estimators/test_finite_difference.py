"""Finite differences in place of derivatives."""

import math
from itertools import pairwise

import pytest
import torch
from torch import Tensor

from scorekit import PerChain
from scorekit.estimators import (
    FiniteDifferenceSliced,
    SlicedScoreMatching,
)
from tests.estimators.cases import (
    coupled,
    problem,
)


def test_the_bias_of_the_finite_difference_is_of_second_order(seed):
    """Halving the step quarters the error against sliced score matching with the same probes, for a score whose
    derivatives are all different from 0: observed order within .05 of 2."""
    x, sigma, eps = problem(seed, 20, (5,))
    exact = SlicedScoreMatching()(coupled, x, sigma, eps, generator=PerChain(seed))
    errors = [
        (FiniteDifferenceSliced(step)(coupled, x, sigma, eps, generator=PerChain(seed)) - exact).abs().mean().item()
        for step in (0.2, 0.1, 0.05)
    ]
    for coarse, fine in pairwise(errors):
        assert math.log2(coarse / fine) == pytest.approx(2, abs=0.05)


def test_the_step_is_in_units_of_sigma_and_in_units_of_x_on_clean_data():
    seen = []

    def score(y: Tensor) -> Tensor:
        seen.append(y)
        return -y

    x, sigma = torch.zeros(3, 1, dtype=torch.float64), torch.tensor([2.0, 0.01, 0.0], dtype=torch.float64)
    FiniteDifferenceSliced(0.1)(score, x, sigma, x)
    assert len(seen) == 2
    assert torch.allclose(seen[0].abs()[:, 0], torch.tensor([0.2, 0.001, 0.1], dtype=torch.float64), rtol=1e-15)
    assert torch.equal(seen[0], -seen[1])
