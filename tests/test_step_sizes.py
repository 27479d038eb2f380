"""One convention: drift h * score, noise sqrt(2 h) * z. The published steps, as printed and as released."""

import math
from dataclasses import replace

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from scorekit import AnnealedMCMC, Constant, Geometric, Langevin, PerChain, SigmaSquared, SingleLevel, Unadjusted
from scorekit.base import Point, StepSize, Target
from scorekit.densities import Gaussian
from scorekit.step_sizes import SNR, PerCoordinate, Table
from tests.laws.components import Deciding, Power, SignalToNoise, Watch
from tests.laws.configs import round_trip
from tests.laws.drivers import chunking, neighbour, run, step_sizes
from tests.laws.statistics import BOUND, variance_z_score
from tests.laws.targets import gauss3

RELEASED = (
    0.2, 0.071876273, 0.025830993, 0.0092831777, 0.0033362011, 0.0011989685, 4.3088694e-4, 1.5485274e-4, 5.5651188e-5,
    2e-5,
)  # fmt: skip
NOISE = (
    0.63245553, 0.37914713, 0.22729273, 0.13625841, 0.081684773, 0.048968735, 0.029355985, 0.017598451, 0.010549994,
    0.0063245553,
)  # fmt: skip
TOY_ALPHA = (
    40, 20.5561707, 10.5639038, 5.4288352, 2.7899016, 1.4337423, 0.7368063, 0.3786479, 0.1945888, 0.1,
)  # fmt: skip
LEVELS = Geometric().levels().tolist()


def _relative(rule: StepSize, levels: list[float], golden: tuple[float, ...]) -> float:
    steps = torch.tensor(step_sizes(rule, levels), dtype=torch.float64)
    return (steps / torch.tensor(golden, dtype=torch.float64) - 1).abs().max().item()


def test_the_ten_steps_of_the_released_sampler():
    rule = SigmaSquared(2e-5, sigma_min=0.01)
    assert _relative(rule, LEVELS, RELEASED) < 5e-8
    noise = (2 * torch.tensor(step_sizes(rule, LEVELS), dtype=torch.float64)).sqrt()
    assert (noise / torch.tensor(NOISE, dtype=torch.float64) - 1).abs().max() < 5e-8


def test_the_papers_alpha_is_twice_h():
    """Algorithm 1: x + alpha/2 s + sqrt(alpha) z, alpha_i = eps (sigma_i / sigma_L)^2; eps = 2e-5 is h = 1e-5."""
    printed = step_sizes(SigmaSquared(1e-5, sigma_min=0.01), LEVELS)
    for h, released, noise in zip(printed, RELEASED, NOISE, strict=True):
        assert 2 * h == pytest.approx(released, rel=5e-8)  # alpha / 2 is half the released step
        assert math.sqrt(2 * h) == pytest.approx(noise / math.sqrt(2), rel=5e-8)  # sqrt(alpha)
    assert math.sqrt(2 * printed[0]) == pytest.approx(0.4472136, rel=1e-7)
    assert math.sqrt(2 * printed[-1]) == pytest.approx(0.004472136, rel=1e-7)


def test_the_toys_steps():
    rule = SigmaSquared(0.05, sigma_min=1.0)
    assert _relative(rule, Geometric(20, 1, 10).levels().tolist(), tuple(alpha / 2 for alpha in TOY_ALPHA)) < 5e-7


@pytest.mark.parametrize(
    "mutant",
    [
        SigmaSquared(2e-5, sigma_min=1.0),
        SigmaSquared(1e-5, sigma_min=0.01),
        Power(2e-5 / 0.01, 1.0),
        Constant(2e-5),
        SigmaSquared(4e-5, sigma_min=0.01),
    ],
    ids=["relative to sigma_1", "the printed step", "h ~ sigma", "constant", "doubled again"],
)
def test_other_steps_are_not_the_released_ones(mutant):
    assert _relative(mutant, LEVELS, RELEASED) > 0.4


@given(
    epsilon=st.floats(1e-6, 1.0),
    sigma_min=st.floats(1e-3, 10.0),
    num_levels=st.integers(2, 50),
    low=st.floats(1e-3, 1.0),
    span=st.floats(1.5, 1e3),
)
def test_h_over_sigma_squared_is_constant(epsilon, sigma_min, num_levels, low, span):
    levels = Geometric(low * span, low, num_levels).levels()
    ratio = torch.tensor(step_sizes(SigmaSquared(epsilon, sigma_min), levels.tolist()), dtype=torch.float64) / levels**2
    assert (ratio / (epsilon / sigma_min**2) - 1).abs().max() < 1e-12
    linear = torch.tensor(step_sizes(Power(epsilon, 1.0), levels.tolist()), dtype=torch.float64) / levels**2
    assert (linear / linear[0] - 1).abs().max() > 0.4


def test_the_default_step_makes_noise_of_half_sigma():
    for sigma, h in zip(LEVELS, step_sizes(SigmaSquared(), LEVELS), strict=True):
        assert math.sqrt(2 * h) == pytest.approx(sigma / 2, rel=1e-14)


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.bfloat16])
@pytest.mark.parametrize("rule", [Constant(0.1), SigmaSquared()])
def test_a_step_is_one_number_in_the_type_of_the_chains(rule, dtype):
    point = Point(Target(_unasked), torch.zeros(3, 2, dtype=dtype))
    h = rule(0.5, point)
    assert (h.shape, h.dtype, type(rule).uses_point) == ((), dtype, False)
    assert torch.equal(h, rule(0.5, point))


@pytest.mark.parametrize("value", [0.0, -1.0, math.inf, math.nan])
@pytest.mark.parametrize("make", [Constant, SigmaSquared, lambda value: SigmaSquared(0.1, sigma_min=value)])
def test_bad_steps_are_refused(make, value):
    with pytest.raises(ValueError, match=rf"= {value} must be positive and finite"):
        make(value)


def test_sigma_squared_has_no_step_for_clean_data():
    with pytest.raises(ValueError, match=r"SigmaSquared\(.*no step at sigma = 0: give step_size="):
        SigmaSquared()(0.0, Point(Target(_unasked), torch.zeros(1, 1)))


# ------------------------------------------------------------------------------------------------- signal to noise


def _chains(num_chains: int = 5, event: tuple[int, ...] = (3,), seed: int = 0) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(num_chains, *event, dtype=torch.float64, generator=generator)


def _ratio(h: Tensor, score: Tensor) -> Tensor:
    """|h s| / (sqrt(2 h) sqrt(D)), chain by chain."""
    return (h * score.flatten(1).norm(dim=1)) / ((2 * h).sqrt() * math.sqrt(score[0].numel()))


@pytest.mark.parametrize("event", [(3,), (2, 3, 4)])
@pytest.mark.parametrize("r", [0.05, 0.16, 1.0])
def test_drift_over_noise_is_r_for_every_chain(r, event):
    density = Gaussian(torch.arange(float(math.prod(event))).reshape(event), 0.3)
    near, far = _chains(event=event), 100 * _chains(1, event=event)
    point = density.at(0.5).point(torch.cat((near, far)))
    h = SNR(r)(0.5, point)
    assert h.shape == (6,)
    assert (_ratio(h, point.score) / r - 1).abs().max() < 1e-14
    published = h[:1].expand(6)  # the mutant: one step for the batch
    assert (_ratio(published, point.score) / r - 1).abs().max() > 0.1
    forgotten = SNR(r)(0.5, point) / math.prod(event)  # the mutant: D left out
    assert (_ratio(forgotten, point.score) / r - 1).abs().min() > 0.1
    halved = SignalToNoise(r)(0.5, point)  # the mutant: without the factor 2
    assert (_ratio(halved, point.score) / r - 1).abs().min() > 0.1


def test_a_score_of_the_typical_length_gives_ncsns_step():
    """|s| = sqrt(D) / sigma: h = 2 r^2 sigma^2; r = .316 is the released NCSN sampler's h = .2 sigma^2."""
    score = torch.ones(4, 7, dtype=torch.float64) / 0.3
    h = SNR(math.sqrt(0.1))(0.3, Point(Target(lambda x: score), torch.zeros(4, 7, dtype=torch.float64)))
    assert torch.allclose(h, torch.full((4,), 0.2 * 0.09, dtype=torch.float64), rtol=1e-14)


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.bfloat16])
def test_where_the_score_is_zero_the_step_is_that_of_a_typical_score(dtype):
    """Zero, and so small that its square underflows or h overflows; the chain beside it is left alone."""
    score = torch.tensor([[0.0, 0.0], [1e-30, 0.0], [2.0, 2.0]], dtype=dtype)
    h = SNR(0.5)(0.3, Point(Target(lambda x: score), torch.zeros(3, 2, dtype=dtype)))
    assert h.dtype == dtype
    assert h.isfinite().all()
    assert (h > 0).all()
    assert h[0].item() == pytest.approx(2 * 0.25 * 0.09, rel=0.005)
    assert h[2].item() == pytest.approx(2 * 0.25 * 2 / 8, rel=0.005)


def test_a_broken_score_is_not_repaired():
    score = torch.tensor([[math.nan, 0.0], [math.inf, 0.0]])
    x = torch.zeros(2, 2)
    h = SNR()(0.3, Point(Target(lambda x: score), x))
    assert not (x + h.unsqueeze(1) * score).isfinite().all(1).any()


def test_snr_shares_the_kernels_evaluation_and_keeps_chains_apart(seed):
    sampler = AnnealedMCMC(Unadjusted(Langevin()), Geometric(1.0, 0.1, 4), SNR(), 3)
    watch = Watch(gauss3())
    run(sampler, watch, _chains(), PerChain(seed))
    assert len(watch.evaluated) == 12
    assert neighbour(sampler, gauss3(), _chains(), seed)
    assert chunking(sampler, gauss3(), (7, 3), (1, 3)) < 1e-12


# ---------------------------------------------------------------------------------------------------------------- table

TUNED = Table((1.0, 0.1, 0.0), (0.3, ((1.0, 2.0, 3.0),), 0.02))


def _at(sigma: float, x: Tensor) -> Point:
    return Point(Target(_unasked), x)


def test_a_table_is_looked_up_by_the_level():
    x = torch.zeros(4, 1, 3, dtype=torch.float64)
    assert TUNED(1.0, _at(1.0, x)).item() == 0.3
    assert TUNED(1.0 - 9e-5, _at(1.0, x)).item() == 0.3
    assert TUNED(0.0, _at(0.0, x)).item() == 0.02
    assert torch.equal(TUNED(0.1, _at(0.1, x)), torch.tensor([[1.0, 2.0, 3.0]], dtype=torch.float64).expand(4, 1, 3))
    close = Table((1.0001, 1.0, 0.9999), (3.0, 2.0, 1.0))
    assert [close(sigma, _at(sigma, x)).item() for sigma in (1.00008, 1.00002, 0.99993)] == [3.0, 2.0, 1.0]


@pytest.mark.parametrize("sigma", [1.0 + 1.1e-4, 0.5, 1e-9, 2.0, math.nan])
def test_a_table_refuses_a_level_that_it_does_not_have(sigma):
    table = r"levels \(1\.0, 0\.1, 0\.0\), step sizes \(0\.3, numbers \(1, 3\), 0\.02\)"
    with pytest.raises(ValueError, match=rf"sigma = {sigma:g} is not in the table: {table}"):
        TUNED(sigma, _at(sigma, torch.zeros(4, 1, 3)))


def test_a_table_refuses_other_events_and_a_sampler_asks_it_when_it_starts():
    with pytest.raises(ValueError, match=r"at sigma = 0\.1 has shape \(1, 3\) for chains \(4, 3\): .* \(3,\)"):
        TUNED(0.1, _at(0.1, torch.zeros(4, 3)))  # (1, 3) would broadcast
    sampler = AnnealedMCMC(Unadjusted(Langevin()), SingleLevel(0.5), TUNED)
    with pytest.raises(ValueError, match=r"sigma = 0\.5 is not in the table"):
        sampler.steps(gauss3(), torch.zeros(2, 3))


@pytest.mark.parametrize(
    ("levels", "steps", "text"),
    [
        ((1.0, 0.1), (0.1,), "2 levels and 1 step sizes: expected one for each"),
        ((0.1, 1.0), (0.1, 0.1), r"Table\(levels=...\) goes from the level 0\.1 to 1\.0.*strictly decreasing"),
        ((1.0, 1.0), (0.1, 0.1), r"from the level 1\.0 to 1\.0"),
        ((), (), r"shape \(0,\)"),
        ((1.0,), (0.0,), r"at sigma = 1 has the number 0\.0: expected positive, finite numbers"),
        ((1.0,), ((1.0, -2.0),), r"has the number -2\.0: expected positive"),
        ((1.0,), ((),), "has no number: expected positive"),
        ((1.0,), (math.nan,), "has the number nan: expected positive"),
        ((1.0,), (math.inf,), "has the number inf: expected positive"),
    ],
)
def test_a_bad_table_is_refused(levels, steps, text):
    with pytest.raises(ValueError, match=text):
        Table(levels, steps)


# ------------------------------------------------------------------------------------------------------- per coordinate


@pytest.mark.parametrize(
    "rule", [Constant(0.2), SNR(), Table((0.5,), (((1.0, 2.0, 4.0)),))], ids=["()", "(B,)", "(B,*E)"]
)
def test_a_step_per_coordinate_is_the_rules_times_the_squared_scale(rule):
    point, scale = gauss3().at(0.5).point(_chains()), torch.tensor([1.0, 0.1, 3.0], dtype=torch.float64)
    h = PerCoordinate(rule, scale)(0.5, point)
    assert h.shape == (5, 3)
    assert h.dtype == torch.float64
    alone = rule(0.5, point)
    expected = (alone.unsqueeze(1) if alone.ndim == 1 else alone) * scale**2
    assert torch.allclose(h, expected.expand(5, 3), rtol=1e-15)


def test_a_step_per_coordinate_depends_on_the_state_if_its_rule_does():
    assert not PerCoordinate(Constant(0.1), (1.0, 2.0)).uses_point
    assert PerCoordinate(SNR(), (1.0, 2.0)).uses_point


def test_preconditioned_chains_forget_their_start_in_every_coordinate(generator):
    """Scales 1, .01 and 100: 40 steps of h = .5 scale^2 leave .5^40 of the start and one excess variance."""
    scale = torch.tensor([1.0, 0.01, 100.0], dtype=torch.float64)
    density = Gaussian((0.0, 0.0, 0.0), scale**2)
    sampler = AnnealedMCMC(Unadjusted(Langevin()), SingleLevel(0.0), PerCoordinate(Constant(0.5), scale), 40)
    x = run(sampler, density, 5 * scale.expand(20_000, 3), generator)
    exact = 1 / (1 - 0.25)  # 2 h / (1 - (1 - h)^2) at h = .5
    for coordinate in (x / scale).T:
        assert abs(variance_z_score(coordinate, exact)) < BOUND
    plain = AnnealedMCMC(Unadjusted(Langevin()), SingleLevel(0.0), Constant(5e-5), 40)  # the mutant: the stable step
    x = run(plain, density, 5 * scale.expand(20_000, 3), generator)
    assert (x / scale).var(0)[2] < 1e-3


def test_a_step_per_coordinate_is_refused_by_a_kernel_that_decides_if_its_rule_uses_the_point(monkeypatch):
    monkeypatch.setattr(Deciding, "adjusted", True)
    fixed, moving = (PerCoordinate(rule, (1.0, 2.0, 3.0)) for rule in (Constant(0.1), SNR()))
    AnnealedMCMC(Deciding(), SingleLevel(0.5), fixed)
    with pytest.raises(ValueError, match=r"PerCoordinate\(step_size=SNR.*depends on the state"):
        AnnealedMCMC(Deciding(), SingleLevel(0.5), moving)


@pytest.mark.parametrize(
    ("scale", "text"),
    [
        (2.0, r"PerCoordinate\(scale=2\.0\): expected numbers of the event's shape, of rank 1"),
        ((1.0, 0.0), r"scale has the number 0\.0: expected positive"),
        ((1.0, math.nan), "scale has the number nan: expected positive"),
        ((), "scale has no number: expected positive"),
    ],
)
def test_a_bad_scale_is_refused(scale, text):
    with pytest.raises(ValueError, match=text):
        PerCoordinate(Constant(0.1), scale)


def test_a_scale_of_another_event_is_refused():
    with pytest.raises(ValueError, match=r"scale has shape \(2,\) for chains \(4, 3, 2\): expected .* \(3, 2\)"):
        PerCoordinate(Constant(0.1), (1.0, 2.0))(0.5, _at(0.5, torch.zeros(4, 3, 2)))


# --------------------------------------------------------------------------------------------------------------- common


@pytest.mark.parametrize(
    "rule", [SNR(0.2), TUNED, PerCoordinate(SNR(), ((1.0,), (2.0,))), PerCoordinate(TUNED, (1.0,))]
)
def test_a_rule_survives_json(rule):
    again = round_trip(rule, *{SNR, Table} - {type(rule)})
    assert again == rule
    assert hash(again) == hash(rule)


@pytest.mark.parametrize("value", [0.0, -1.0, math.inf, math.nan])
def test_a_bad_ratio_is_refused(value):
    with pytest.raises(ValueError, match=rf"SNR\(r={value}\): r = {value} must be positive and finite"):
        SNR(value)


def _unasked(x: Tensor) -> Tensor:
    raise RuntimeError("a rule that does not use the point asked for its score")


@pytest.mark.parametrize("rule", [Table((1.0,), ((0.1, 0.2),)), PerCoordinate(Constant(0.1), (1.0, 2.0))], ids=repr)
def test_a_rule_first_used_under_inference_mode_can_take_part_in_autograd(rule):
    """Its numbers are kept as a tensor, and `sample` asks for them under inference mode."""
    rule = replace(rule)  # nothing is kept yet
    x = torch.ones(3, 2, dtype=torch.float64)
    with torch.inference_mode():
        rule(1.0, Point(Target(_unasked), x))
    x.requires_grad_()
    (rule(1.0, Point(Target(_unasked), x)) * x).sum().backward()
    assert (x.grad > 0).all()
