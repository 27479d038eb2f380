import math
from dataclasses import replace

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats
from torch import Tensor

from scorekit import PerChain
from scorekit.base import NoiseSchedule
from scorekit.noise import (
    Cosine,
    Geometric,
    Karras,
    Levels,
    Linear,
    LogNormal,
    SingleLevel,
    checked_levels,
    draw_level,
)
from tests.laws import components
from tests.laws.configs import round_trip
from tests.laws.statistics import ALPHA, counts_pvalue, ks_pvalue

NCSN = (
    1.0, 0.5994842503, 0.3593813664, 0.215443469, 0.1291549665, 0.07742636827, 0.04641588834, 0.02782559402,
    0.01668100537, 0.01,
)  # fmt: skip
EDM = (
    80.0, 57.5859847212, 40.7855737965, 28.3745846042, 19.3524529803, 12.9100823808, 8.4009353091, 5.3151945218,
    3.2568215198, 1.9233398370, 1.0881706365, 0.5853481232, 0.2964422845, 0.1395164687, 0.0599473112, 0.0229345184,
    0.0075280200, 0.002,
)  # fmt: skip
"""80 to .002 with rho = 7, by exponentials and logarithms of 40 digits."""
TANGENTS = (1.0, 1 / math.sqrt(3), 2 - math.sqrt(3), 0.0)
"""Of 45, 30, 15 and 0 degrees."""
TOY = (20, 14.3374233, 10.2780853, 7.3680630, 5.2819519, 3.7864790, 2.7144176, 1.9458877, 1.3949508, 1)


@pytest.mark.parametrize(
    ("schedule", "golden", "digits"),
    [
        (Geometric(1, 0.01, 10), NCSN, 5e-11),
        (Geometric(20, 1, 10), TOY, 5e-8),
        (Karras(), EDM, 1e-10),
        (LogNormal(), EDM, 1e-10),
        (Cosine(1.0, 0.0, 4), TANGENTS, 1e-15),
    ],
)
def test_the_papers_levels(schedule, golden, digits):
    levels = schedule.levels()
    assert levels.dtype == torch.float64
    assert (levels - torch.tensor(golden, dtype=torch.float64)).abs().max() < digits
    linear = torch.linspace(golden[0], golden[-1], len(golden), dtype=torch.float64)  # the mutant
    assert (linear - levels).abs().max() > 0.08


def test_the_cosine_schedule_is_nichols_and_dhariwals():
    """With their ends, t = 1e-3 and 1 - 1e-3: sigma^2 = (1 - abar) / abar, abar = cos^2(pi t / 2)."""
    t = torch.linspace(1 - 1e-3, 1e-3, 100, dtype=torch.float64)
    signal = (math.pi * t / 2).cos().square()
    sigma = ((1 - signal) / signal).sqrt()
    levels = Cosine(sigma[0].item(), sigma[-1].item(), 100).levels()
    assert (levels / sigma - 1).abs().max() < 1e-10
    mutant = Geometric(sigma[0].item(), sigma[-1].item(), 100).levels()
    assert (mutant / sigma - 1).abs().max() > 1


def test_ncsns_ratio():
    levels = Geometric().levels()
    assert (levels[:-1] / levels[1:] - 1.6681005372).abs().max() < 5e-11


def test_ncsnv2s_levels():
    levels = Geometric(50, 0.01, 232).levels().float()
    assert levels[1:3].tolist() == pytest.approx([48.1900253, 46.4455681], rel=1e-7)
    assert levels[-2:].tolist() == pytest.approx([0.0103755910, 0.01], rel=1e-7)


SHAPES = {
    "linear": (Linear, lambda sigma: sigma),
    "geometric": (Geometric, Tensor.log),
    "cosine": (Cosine, Tensor.atan),
    "karras": (Karras, lambda sigma: sigma ** (1 / 7)),
}


@pytest.mark.parametrize("name", SHAPES)
@given(
    num_levels=st.integers(2, 50),
    ends=st.tuples(st.floats(1e-3, 1e3), st.floats(1e-3, 1e3)).filter(lambda e: max(e) > 1.001 * min(e)),
)
def test_a_schedule_decreases_from_end_to_end_by_equal_steps_of_its_scale(name, num_levels, ends):
    make, scale = SHAPES[name]
    high, low = max(ends), min(ends)
    levels = make(high, low, num_levels).levels()
    assert levels.dtype == torch.float64
    assert levels.shape == (num_levels,)
    assert (levels[0].item(), levels[-1].item()) == (high, low)
    assert (levels[1:] < levels[:-1]).all()
    assert _unevenness(scale(levels)) < 1e-11


@pytest.mark.parametrize("name", SHAPES)
def test_no_schedule_has_equal_steps_of_anothers_scale(name):
    """The mutants of the law above."""
    levels = SHAPES[name][0](50.0, 0.01, 20).levels()
    for other, (_, scale) in SHAPES.items():
        assert (_unevenness(scale(levels)) > 0.01) == (other != name)


def _unevenness(positions: Tensor) -> float:
    """How far positions are from an even grid, relative to their size."""
    grid = torch.linspace(0, 1, len(positions), dtype=torch.float64)
    even = positions[0] + grid * (positions[-1] - positions[0])
    return ((positions - even).abs().max() / positions.abs().max()).item()


def test_geometric_levels_have_one_ratio():
    levels = Geometric(50.0, 0.01, 232).levels()
    assert (levels[1:] / levels[:-1] / (0.01 / 50) ** (1 / 231) - 1).abs().max() < 1e-12
    karras = Karras(50.0, 0.01, 232).levels()
    assert (karras[1:] / karras[:-1] / (0.01 / 50) ** (1 / 231) - 1).abs().max() > 0.01


def test_rho_goes_from_linear_to_geometric():
    assert torch.allclose(Karras(2.0, 0.1, 9, rho=1.0).levels(), Linear(2.0, 0.1, 9).levels(), rtol=1e-14)
    assert torch.allclose(Karras(2.0, 0.1, 9, rho=1e6).levels(), Geometric(2.0, 0.1, 9).levels(), rtol=1e-5)


@pytest.mark.parametrize("schedule", [Linear(1, 0, 5), Cosine(1, 0, 5), Karras(80, 0, 18), Levels((1.0, 0.5, 0.0))])
def test_the_last_level_may_be_clean_data(schedule):
    assert checked_levels(schedule)[-1] == 0


DISCRETE = [Geometric(), Linear(), Cosine(100.0, 0.01, 10), Karras(num_levels=10), Levels(NCSN)]


@pytest.mark.parametrize("schedule", DISCRETE, ids=lambda schedule: type(schedule).__name__)
@pytest.mark.parametrize("make", [PerChain, lambda s: torch.Generator().manual_seed(s)], ids=["PerChain", "Generator"])
def test_every_level_is_equally_likely_in_training(make, schedule, seed):
    """n = 100,000 draws over 10 levels, chi-squared; the mutant draws the ends half as often, as rounding would."""
    like = torch.empty(100_000, 2)
    sigma = schedule.sample(like, generator=make(seed))
    assert sigma.shape == (100_000,)
    counts = torch.stack([(sigma == level).sum() for level in schedule.levels().float()]).double()
    assert counts.sum() == 100_000
    assert counts_pvalue(counts, torch.full((10,), 1e4)) > ALPHA
    rounded = torch.bincount((9 * torch.rand(100_000, generator=torch.Generator().manual_seed(seed))).round().long())
    assert counts_pvalue(rounded.double(), torch.full((10,), 1e4)) < ALPHA


@pytest.mark.parametrize("count", [1, 3, 10, 232, 2311, 100_000])
def test_a_level_is_never_out_of_range(count, monkeypatch):
    """The largest uniform that there is in float32 gives the last level."""
    monkeypatch.setattr(
        "scorekit.noise.discrete.uniform", lambda like, *, generator=None: torch.full_like(like, 1 - 2**-24)
    )
    levels = torch.arange(count, dtype=torch.float64)
    assert draw_level(levels, torch.empty(2, 1, dtype=torch.float64)).tolist() == [count - 1] * 2


EVERY = [*DISCRETE, LogNormal(), SingleLevel(0.3)]
each = pytest.mark.parametrize("schedule", EVERY, ids=lambda schedule: type(schedule).__name__)


@each
@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.bfloat16])
def test_training_draws_come_in_the_type_of_the_data(schedule, dtype):
    sigma = schedule.sample(torch.empty(5, 2, dtype=dtype))
    assert (sigma.dtype, sigma.shape) == (dtype, (5,))


@each
def test_a_rows_draw_does_not_depend_on_the_batch(schedule, seed):
    """Under PerChain; one torch.Generator gives other draws to other batches, which is the mutant."""
    whole = schedule.sample(torch.empty(9, 2), generator=PerChain(seed))
    parts = [schedule.sample(torch.empty(size, 2), generator=PerChain(seed, first=i)) for i, size in ((0, 4), (4, 5))]
    assert torch.equal(whole, torch.cat(parts))
    sequential = [schedule.sample(torch.empty(n, 2), generator=torch.Generator().manual_seed(seed)) for n in (4, 5)]
    assert torch.equal(whole, torch.cat(sequential)) == (type(schedule) is SingleLevel)


@each
def test_a_schedule_survives_json(schedule):
    assert round_trip(schedule) == schedule


# ----------------------------------------------------------------------------------------------------- a continuous law


def _share(sigma: Tensor, schedule: LogNormal) -> Tensor:
    """The distribution function of the truncated law at sigma, by scipy."""
    low, high = ((math.log(end) - schedule.mean) / schedule.std for end in (schedule.sigma_min, schedule.sigma_max))
    z = (sigma.double().log() - schedule.mean) / schedule.std
    return torch.from_numpy(stats.truncnorm.cdf(z.numpy(), low, high))


TRUNCATED = [
    LogNormal(),
    LogNormal(mean=0.0, std=1.0, sigma_max=4.0, sigma_min=0.25),
    LogNormal(mean=-3.0, std=0.5, sigma_max=1.0, sigma_min=0.2),  # 2.8 to 6 standard deviations above the mean
    LogNormal(mean=2.7, std=0.5, sigma_max=2.0, sigma_min=0.01),  # 4 to 15 below
]


@pytest.mark.parametrize("schedule", TRUNCATED, ids=range(4))
@pytest.mark.parametrize("make", [PerChain, lambda s: torch.Generator().manual_seed(s)], ids=["PerChain", "Generator"])
def test_training_draws_have_the_truncated_law(make, schedule, seed):
    """50,000 draws, Kolmogorov and Smirnov; mutants: std 30 % off, mean .3 std off, clamped ends instead."""
    sigma = schedule.sample(torch.empty(50_000, 2, dtype=torch.float64), generator=make(seed))
    assert schedule.sigma_min <= sigma.min() < sigma.max() <= schedule.sigma_max
    assert ks_pvalue(_share(sigma, schedule)) > ALPHA
    for mean, std in ((0.0, 1.3), (-0.3, 1.0)):
        other = replace(schedule, mean=schedule.mean + mean * schedule.std, std=schedule.std * std)
        assert ks_pvalue(_share(other.sample(sigma, generator=make(seed)), schedule)) < ALPHA
    z = torch.randn(50_000, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))
    clamped = (schedule.mean + schedule.std * z).exp().clamp(schedule.sigma_min, schedule.sigma_max)
    if schedule is not TRUNCATED[0]:  # whose ends are 4.2 and 4.7 standard deviations off
        assert ks_pvalue(_share(clamped, schedule)) < ALPHA


def test_only_the_continuous_law_says_so():
    assert [type(schedule).__name__ for schedule in EVERY if schedule.continuous] == ["LogNormal"]
    sigma = LogNormal().sample(torch.empty(1000, 2), generator=PerChain(0))
    assert len(sigma.unique()) > 990


def test_the_law_is_the_same_in_every_precision(seed):
    exact, single = (
        LogNormal().sample(torch.empty(1000, 2, dtype=dtype), generator=PerChain(seed))
        for dtype in (torch.float64, torch.float32)
    )
    assert torch.equal(exact.float(), single)


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


# ------------------------------------------------------------------------------------------------------------- refusals


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


@pytest.mark.parametrize("make", [Linear, Cosine, Karras])
@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        ((1, 1, 10), "0 <= sigma_min < sigma_max < inf"),
        ((0.1, 1, 10), "0 <= sigma_min < sigma_max"),
        ((math.inf, 1, 10), "sigma_max=inf.*< inf"),
        ((math.nan, 1, 10), "sigma_max=nan"),
        ((1, math.nan, 10), "sigma_min=nan"),
        ((1, -0.1, 10), r"sigma_min=-0\.1"),
        ((1, 0, 1), r"num_levels=1.*>= 2.*SingleLevel"),
        ((1, 0, 2.5), r"num_levels=2\.5.*integer"),
    ],
)
def test_bad_ends_of_schedules_that_may_end_at_zero_are_refused(make, arguments, text):
    with pytest.raises(ValueError, match=text):
        make(*arguments)


@pytest.mark.parametrize("make", [Linear, Geometric, Cosine, Karras])
def test_levels_too_close_for_float64_are_refused(make):
    with pytest.raises(
        ValueError, match=rf"{make.__name__}\(.* goes from the level 1\.0.* to 1\.0.*strictly decreasing"
    ):
        make(1 + 2**-50, 1.0, 50)


@pytest.mark.parametrize("rho", [0.0, -1.0, math.inf, math.nan])
def test_a_bad_rho_is_refused(rho):
    with pytest.raises(ValueError, match=rf"rho={rho}.*0 < rho < inf"):
        Karras(rho=rho)


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        ({"mean": math.nan}, "mean=nan.*finite mean"),
        ({"std": 0.0}, r"std=0\.0.*0 < std < inf"),
        ({"std": math.inf}, "std=inf"),
        ({"sigma_min": 0.0}, "0 < sigma_min < sigma_max < inf"),
        ({"sigma_max": 0.001}, "0 < sigma_min < sigma_max < inf"),
        ({"num_levels": 1}, "num_levels=1.*>= 2"),
        ({"mean": 20.0}, r"mean=20\.0.* of N\(mean, std\^2\) is in .*1e-6 or more"),
        ({"mean": -20.0}, r"mean=-20\.0.* of N\(mean, std\^2\) is in .*1e-6 or more"),
    ],
)
def test_a_bad_log_normal_law_is_refused(arguments, text):
    with pytest.raises(ValueError, match=text):
        LogNormal(**arguments)


@pytest.mark.parametrize(
    ("values", "text"),
    [
        ((), r"Levels\(values=\(\)\): levels of shape \(0,\).*L >= 1"),
        (1.0, r"levels of shape \(\)"),
        (((1.0, 0.5), (0.2, 0.1)), r"levels of shape \(2, 2\)"),
        ((1.0, 1.0), r"from the level 1\.0 to 1\.0: expected strictly decreasing"),
        ((1.0, 0.1, 0.5, 0.01), r"from the level 0\.1 to 0\.5: expected strictly decreasing"),
        ((1.0, -0.5), r"has the level -0\.5: expected 0 <= sigma < inf"),
        ((math.inf, 1.0), r"has the level inf"),
        ((1.0, math.nan), r"has the level nan"),
    ],
)
def test_bad_levels_are_refused(values, text):
    with pytest.raises(ValueError, match=text):
        Levels(values)


def test_levels_are_kept_as_floats():
    assert Levels((3, 2, 1)).values == Levels(torch.tensor([3, 2, 1])).values == (3.0, 2.0, 1.0)
    assert Levels([1, 0.5]).levels().tolist() == [1.0, 0.5]


@each
def test_the_levels_of_every_schedule_are_checked(schedule):
    assert torch.equal(checked_levels(schedule), schedule.levels())


class Narrow(NoiseSchedule):
    """A plugin's, in single precision."""

    def levels(self) -> Tensor:
        return torch.tensor([1.0, 0.1])

    def sample(self, like, *, generator=None): ...


def test_the_levels_of_a_plugin_are_checked():
    for values, text in (
        ((0.1, 1.0), r"Levels\(values=\(0\.1, 1\.0\)\) goes from the level 0\.1 to 1\.0"),
        ((1.0, math.nan), "has the level nan"),
        ((), r"shape \(0,\)"),
    ):
        with pytest.raises(ValueError, match=text):
            checked_levels(components.Levels(values))
    with pytest.raises(ValueError, match=r"Narrow.*type torch\.float32: expected .* in float64"):
        checked_levels(Narrow())


@pytest.mark.parametrize("sigma", [-0.1, math.inf, math.nan])
def test_a_bad_single_level_is_refused(sigma):
    with pytest.raises(ValueError, match=r"SingleLevel.*0 <= sigma < inf"):
        SingleLevel(sigma)
