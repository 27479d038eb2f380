"""The laws of probes, and of what is made of them."""

import pytest
import torch
from torch import Tensor

from scorekit import PerChain
from scorekit.estimators import (
    ImplicitScoreMatching,
    SlicedScoreMatching,
)
from scorekit.estimators.probes import draw_probes
from tests.estimators.cases import LAWS, coupled, problem
from tests.laws import estimates
from tests.laws.statistics import BOUND, z_score


@pytest.mark.parametrize("law", LAWS)
def test_probes_have_the_identity_as_second_moment_over_the_whole_event(law, seed):
    """n = 20,000 probes of an event (3, 2, 2): each of the 78 distinct entries within 4.9 standard errors."""
    (v,) = draw_probes(law, 1, torch.empty(20_000, 3, 2, 2, dtype=torch.float64), generator=PerChain(seed))
    flat = v.flatten(1)
    assert v.shape == (20_000, 3, 2, 2)
    for i in range(12):
        for j in range(i):
            assert abs(z_score(flat[:, i] * flat[:, j], 0.0)) < BOUND
        square = flat[:, i].square()
        assert law == "rademacher" or abs(z_score(square, 1.0)) < BOUND
        assert abs(z_score(flat[:, i], 0.0)) < BOUND
    lengths = flat.square().sum(1)
    assert law == "gaussian" or torch.allclose(lengths, torch.full_like(lengths, 12.0), rtol=1e-12)


def test_probes_differ_from_each_other_and_each_example_has_its_own():
    like = torch.empty(4, 6, dtype=torch.float64)
    one, two = draw_probes("gaussian", 2, like, generator=PerChain(0))
    rows = torch.cat((one, two))
    assert len(torch.unique(rows, dim=0)) == 8
    (part,) = draw_probes("gaussian", 1, like[1:3], generator=PerChain(0).shift(1))
    assert torch.equal(part, one[1:3])


def test_a_normal_draw_of_zeros_still_gives_a_point_of_the_sphere(monkeypatch):
    """In float32 one of 3e7 draws of a single coordinate is 0 exactly; 0 / 0 would be a NaN in the loss."""
    monkeypatch.setattr("scorekit.estimators.probes.normal", lambda like, generator: torch.zeros_like(like))
    (v,) = draw_probes("sphere", 1, torch.empty(2, 3))
    assert torch.equal(v, torch.ones(2, 3))


@pytest.mark.parametrize("law", LAWS)
def test_the_variance_of_a_slice_is_its_closed_form(law, seed):
    assert estimates.probe_variance(SlicedScoreMatching(True, law), law, seed) < BOUND


@pytest.mark.parametrize("law", LAWS)
def test_hutchinson_is_the_variance_reduced_sliced_form_bit_for_bit(law):
    x, sigma, eps = problem(0, 5, (2, 3))
    one, two = (
        form(coupled, x, sigma, eps, generator=PerChain(0))
        for form in (ImplicitScoreMatching("hutchinson", law, 2), SlicedScoreMatching(True, law, 2))
    )
    assert torch.equal(one, two)


def test_the_mean_over_every_rademacher_probe_is_the_exact_trace(seed):
    """E_v sliced = implicit, example by example: all 2^4 sign vectors."""
    x = torch.randn(5, 4, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))
    a = torch.randn(4, 4, dtype=torch.float64, generator=torch.Generator().manual_seed(seed + 1))

    def score(y: Tensor) -> Tensor:
        return (y @ a).sin() * y

    signs = torch.cartesian_prod(*[torch.tensor([-1.0, 1.0], dtype=torch.float64)] * 4)
    jacobian = torch.func.vmap(torch.func.jacrev(lambda y: score(y.unsqueeze(0))[0]))(x)
    mean = torch.einsum("ki,bij,kj->kb", signs, jacobian, signs).mean(0) + score(x).square().sum(1) / 2
    value = ImplicitScoreMatching()(score, x, x[:, 0], x)
    assert torch.allclose(value, mean, rtol=1e-12)
