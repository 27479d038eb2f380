"""One convention: drift h * score, noise sqrt(2 h) * z. The published steps, as printed and as released."""

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from scorekit import Constant, Geometric, SigmaSquared
from scorekit.base import Point, StepSize, Target
from tests.laws.components import Power
from tests.laws.drivers import step_sizes

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


def _unasked(x: Tensor) -> Tensor:
    raise RuntimeError("a rule that does not use the point asked for its score")
