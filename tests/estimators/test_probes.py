"""The laws of probes, and of what is made of them."""

import pytest
import torch
from scipy import stats
from torch import Tensor

from scorekit import PerChain
from scorekit.estimators import (
    ImplicitScoreMatching,
    SlicedScoreMatching,
)
from scorekit.estimators.probes import draw_probes
from tests.estimators.cases import LAWS, coupled, problem
from tests.laws import estimates
from tests.laws.statistics import BOUND


@pytest.mark.parametrize("law", LAWS)
def test_probes_have_the_identity_as_second_moment_over_the_whole_event(law, seed):
    """n = 20,000 probes of an event (3, 2, 2): 12 means and the 78 distinct second moments; the mutants are normalised
    over the last axis alone, of length 1, or 3 % too short."""
    (v,) = draw_probes(law, 1, torch.empty(20_000, 3, 2, 2, dtype=torch.float64), generator=PerChain(seed))
    assert v.shape == (20_000, 3, 2, 2)
    assert _worst_moment(v) < WORST
    lengths = v.flatten(1).square().sum(1)
    assert law == "gaussian" or torch.allclose(lengths, torch.full_like(lengths, 12.0), rtol=1e-12)
    for mutant in (v / lengths.sqrt().reshape(-1, 1, 1, 1), 0.97 * v, v[..., :1].expand_as(v), v.abs()):
        assert _worst_moment(mutant) > WORST


WORST = stats.norm.isf(1e-6 / 2 / 90)  # Bonferroni


def _worst_moment(v: Tensor) -> float:
    """The largest |z| of the means against 0 and of the second moments against the identity's. A moment that does not
    vary is right or infinitely wrong."""
    flat = v.flatten(1)
    i, j = torch.tril_indices(flat.shape[1], flat.shape[1])
    moments = torch.cat((flat, flat[:, i] * flat[:, j] - (i == j).double()), dim=1)
    mean, error = moments.mean(0), moments.std(0) / len(flat) ** 0.5
    return (mean.abs() / (error + 1e-15)).where(mean.abs() > 1e-12, 0.0).max().item()


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
