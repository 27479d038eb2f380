import math

import pytest
import torch

from scorekit import Matched, PerChain, Uniform, from_score
from tests.laws.statistics import ALPHA, BOUND, ks_pvalue, normal_pvalue, variance_z_score, z_score
from tests.laws.targets import gauss3, mixture3


def test_matched_starts_have_the_moments_of_the_noisy_data(generator):
    """Each coordinate N(mean, sigma^2 + std^2), independently; n = 20,000."""
    density, sigma = gauss3(), 0.7
    x = Matched().draw(torch.empty(20_000, 3, dtype=torch.float64), sigma, family=density, generator=generator)
    mean, std = density.moments
    assert normal_pvalue((x - mean) / (sigma**2 + std**2).sqrt()) > ALPHA
    assert normal_pvalue((x - mean) / std) < ALPHA  # the mutant that forgets the noise
    assert normal_pvalue(x / (sigma**2 + std**2).sqrt()) < ALPHA  # and the mean


def test_matched_starts_on_a_mixture(generator):
    density = mixture3()
    draws = density.sample(50_000, 0.5, generator=generator, dtype=torch.float64)
    x = Matched().draw(torch.empty(50_000, 2, dtype=torch.float64), 0.5, family=density, generator=generator)
    mean, std = density.moments
    for column in range(2):
        spread = math.hypot(std[column].item(), 0.5)
        assert abs(z_score(draws[:, column], mean[column].item(), spread)) < BOUND  # the moments are the data's
        assert abs(z_score(x[:, column], mean[column].item(), spread)) < BOUND
        assert abs(variance_z_score(x[:, column], spread**2)) < BOUND


@pytest.mark.parametrize(
    ("moments", "event"), [((0.5, 0.0), (2, 3)), ((torch.zeros(3), torch.ones(3)), (2, 3)), ((1, 2), (4,))]
)
def test_moments_broadcast_to_the_event(moments, event, streams):
    family = from_score(lambda x, sigma: -x, moments=moments)
    x = Matched().draw(torch.empty(4, *event), 1.0, family=family, generator=streams)
    assert x.shape == (4, *event)


@pytest.mark.parametrize(("shape", "moment"), [((5, 1), (3,)), ((5, 4), (3,)), ((5, 3), (2, 3)), ((5, 3), (5, 3))])
def test_moments_of_another_event_are_refused(shape, moment):
    """(5, 1) chains of a (3,) event used to come out as (5, 3)."""
    family = from_score(lambda x, sigma: -x, moments=(torch.zeros(moment), torch.ones(moment)))
    with pytest.raises(ValueError, match=r"chains of shape \(5, .*moments have shape"):
        Matched().draw(torch.empty(shape), 1.0, family=family)


def test_matched_says_what_it_lacks():
    like = torch.empty(2, 2)
    with pytest.raises(ValueError, match=r"no family was given: give start=Uniform"):
        Matched().draw(like, 1.0)
    with pytest.raises(ValueError, match=r"ScoreFunction does not know its data's moments: give start=.*moments="):
        Matched().draw(like, 1.0, family=from_score(lambda x, sigma: -x))


def test_uniform_starts_are_uniform(generator):
    x = Uniform(-8, 8).draw(torch.empty(5000, 4, dtype=torch.float64), 3.0, generator=generator)
    assert ks_pvalue((x + 8) / 16) > ALPHA
    assert ks_pvalue(Uniform().draw(torch.empty(5000, 4), 3.0, generator=generator)) > ALPHA
    assert ks_pvalue((x + 8.5) / 16) < ALPHA


@pytest.mark.parametrize("start", [Matched(), Uniform(0, 1)])
@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.bfloat16])
def test_starts_have_the_type_of_the_chains(start, dtype):
    x = start.draw(torch.empty(3, 3, dtype=dtype), 0.5, family=gauss3(), generator=PerChain(0))
    assert (x.dtype, x.shape) == (dtype, (3, 3))


@pytest.mark.parametrize("ends", [(1, 1), (2, 1), (-math.inf, 1), (0, math.inf), (math.nan, 1), (0, math.nan)])
def test_bad_ends_are_refused(ends):
    with pytest.raises(ValueError, match=r"Uniform\(low=.*-inf < low < high < inf"):
        Uniform(*ends)
