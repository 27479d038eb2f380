import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from scorekit import Geometric, PerChain, SingleLevel
from scorekit.noise import draw_level
from tests.laws.statistics import ALPHA, counts_pvalue

NCSN = (
    1.0, 0.5994842503, 0.3593813664, 0.215443469, 0.1291549665, 0.07742636827, 0.04641588834, 0.02782559402,
    0.01668100537, 0.01,
)  # fmt: skip
TOY = (20, 14.3374233, 10.2780853, 7.3680630, 5.2819519, 3.7864790, 2.7144176, 1.9458877, 1.3949508, 1)


@pytest.mark.parametrize(
    ("schedule", "golden", "digits"), [(Geometric(1, 0.01, 10), NCSN, 5e-11), (Geometric(20, 1, 10), TOY, 5e-8)]
)
def test_the_papers_levels(schedule, golden, digits):
    levels = schedule.levels()
    assert levels.dtype == torch.float64
    assert (levels - torch.tensor(golden, dtype=torch.float64)).abs().max() < digits
    linear = torch.linspace(golden[0], golden[-1], 10, dtype=torch.float64)  # the mutant
    assert (linear - levels).abs().max() > 0.1


def test_ncsns_ratio():
    levels = Geometric().levels()
    assert (levels[:-1] / levels[1:] - 1.6681005372).abs().max() < 5e-11


def test_ncsnv2s_levels():
    levels = Geometric(50, 0.01, 232).levels().float()
    assert levels[1:3].tolist() == pytest.approx([48.1900253, 46.4455681], rel=1e-7)
    assert levels[-2:].tolist() == pytest.approx([0.0103755910, 0.01], rel=1e-7)


@given(
    num_levels=st.integers(2, 50),
    ends=st.tuples(st.floats(1e-3, 1e3), st.floats(1e-3, 1e3)).filter(lambda e: max(e) > 1.001 * min(e)),
)
def test_a_geometric_schedule_decreases_from_end_to_end_by_one_ratio(num_levels, ends):
    high, low = max(ends), min(ends)
    levels = Geometric(high, low, num_levels).levels()
    assert (levels[0].item(), levels[-1].item()) == (high, low)
    assert (levels[1:] < levels[:-1]).all()
    ratio = levels[1:] / levels[:-1]
    assert (ratio / (low / high) ** (1 / (num_levels - 1)) - 1).abs().max() < 1e-12


@pytest.mark.parametrize("make", [PerChain, lambda s: torch.Generator().manual_seed(s)], ids=["PerChain", "Generator"])
def test_every_level_is_equally_likely_in_training(make, seed):
    """n = 100,000 draws over 10 levels, chi-squared; the mutant draws the ends half as often, as rounding would."""
    schedule, like = Geometric(), torch.empty(100_000, 2)
    sigma = schedule.sample(like, generator=make(seed))
    assert sigma.shape == (100_000,)
    counts = torch.stack([(sigma == level).sum() for level in schedule.levels().float()]).double()
    assert counts.sum() == 100_000
    assert counts_pvalue(counts, torch.full((10,), 1e4)) > ALPHA
    rounded = torch.bincount((9 * torch.rand(100_000, generator=torch.Generator().manual_seed(seed))).round().long())
    assert counts_pvalue(rounded.double(), torch.full((10,), 1e4)) < ALPHA


def test_a_level_is_never_out_of_range():
    """The largest uniform times the largest number of levels of any use."""
    assert math.floor((1 - 2**-24) * 2**24) == 2**24 - 1
    unit = torch.tensor(1 - 2**-24, dtype=torch.float32)
    for count in (1, 3, 10, 232, 2311, 100_000):
        assert (unit * count).long() == count - 1


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.bfloat16])
def test_training_draws_come_in_the_type_of_the_data(dtype):
    like = torch.empty(5, 2, dtype=dtype)
    assert Geometric().sample(like).dtype == dtype
    assert SingleLevel(0.3).sample(like).dtype == dtype


def test_the_same_levels_are_drawn_in_every_precision(seed):
    levels = torch.arange(10.0)
    draws = [
        draw_level(levels, torch.empty(1000, 2, dtype=dtype), generator=PerChain(seed)).long()
        for dtype in (torch.float64, torch.float32, torch.bfloat16)
    ]
    assert torch.equal(draws[0], draws[1])
    assert torch.equal(draws[0], draws[2])


def test_a_single_level():
    assert SingleLevel(0.0).levels().tolist() == [0.0]
    assert SingleLevel(0.3).sample(torch.empty(3, 2, dtype=torch.float64)).tolist() == [0.3] * 3


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        ((1, 0, 10), r"sigma_min=0.*0 < sigma_min < sigma_max < inf"),
        ((1, 1, 10), "0 < sigma_min < sigma_max"),
        ((0.1, 1, 10), "0 < sigma_min < sigma_max"),
        ((math.inf, 1, 10), "< inf"),
        ((math.nan, 1, 10), "sigma_max=nan"),
        ((1, math.nan, 10), "sigma_min=nan"),
        ((1, -0.1, 10), r"sigma_min=-0\.1"),
        ((1, 0.1, 1), r"num_levels=1.*>= 2.*SingleLevel"),
        ((1, 0.1, 2.5), r"num_levels=2\.5.*integer"),
    ],
)
def test_bad_ends_are_refused(arguments, text):
    with pytest.raises(ValueError, match=text):
        Geometric(*arguments)


@pytest.mark.parametrize("sigma", [-0.1, math.inf, math.nan])
def test_a_bad_single_level_is_refused(sigma):
    with pytest.raises(ValueError, match=r"SingleLevel.*0 <= sigma < inf"):
        SingleLevel(sigma)
