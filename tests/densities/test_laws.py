"""What every density keeps: one law, one parametrised test, and the broken twin that it rejects."""

import math
from collections.abc import Callable
from copy import deepcopy

import numpy as np
import pytest
import torch
from torch import Tensor

from scorekit import PerChain, densities
from scorekit.densities import Density, fig3_mixture, toy_mixture
from tests.densities.cases import CASES, CLEAN, NOISY, Case, plane
from tests.laws.statistics import ALPHA, uniform_pvalue

each_case = pytest.mark.parametrize("case", CASES.values(), ids=CASES)
each_noisy = pytest.mark.parametrize("case", NOISY.values(), ids=NOISY)
each_clean = pytest.mark.parametrize("case", CLEAN.values(), ids=CLEAN)


def points(case: Case, sigma: float = 0.0, count: int = 40) -> Tensor:
    """States where the law is and, if it reaches there, where it hardly is."""
    x = case.density.sample(count, sigma, generator=torch.Generator().manual_seed(5), dtype=torch.float64)
    return x if case.bounded and sigma == 0 else x * torch.linspace(0.5, 2, count, dtype=torch.float64).unsqueeze(1)


def levels(case: Case) -> tuple[float, ...]:
    return (0.0, 0.02, 0.5, 3.0) if case.noisy else (0.0,)


# ------------------------------------------------------------------------------------------------- densities and scores


def score_error(case: Case, score: Callable[[Tensor, float], Tensor]) -> float:
    """The largest error of a score against the gradient of log_prob, over all levels, relative to 1 + its size."""
    errors = []
    for sigma in levels(case):
        x = points(case, sigma).requires_grad_()
        (gradient,) = torch.autograd.grad(case.density.log_prob(x, sigma).sum(), x)
        errors.append(((score(x, sigma) - gradient).abs() / (1 + gradient.abs())).max().item())
    return max(errors)


@each_case
def test_the_score_is_the_gradient_of_log_prob(case):
    assert score_error(case, case.density.score) < 1e-8
    assert score_error(case, lambda x, sigma: case.twin.score(x, sigma)) > 1e-3


@each_case
def test_the_score_has_the_jacobian_of_its_differences(case):
    """By vmap, as implicit score matching takes it: a derivative may be right alone and wrong under vmap."""
    sigma = 0.5 if case.noisy else 0.0
    x = case.density.sample(6, sigma, generator=PerChain(1), dtype=torch.float64)
    jacobian = torch.func.vmap(torch.func.jacrev(lambda y: case.density.score(y.unsqueeze(0), sigma)[0]))(x)
    for j, step in enumerate(1e-6 * torch.eye(2, dtype=torch.float64)):
        slope = (case.density.score(x + step, sigma) - case.density.score(x - step, sigma)) / 2e-6
        assert ((jacobian[:, :, j] - slope).abs() < 1e-6 * (1 + jacobian.abs().amax((1, 2)).unsqueeze(1))).all()


@each_case
def test_the_density_integrates_to_one(case):
    nodes, weights = case.rule
    assert (weights @ case.density.log_prob(nodes).exp()).item() == pytest.approx(1, abs=1e-8)
    mean = case.density.log_prob(nodes).exp() * weights @ nodes
    assert (mean - case.density.moments[0]).abs().max() < 1e-7
    squares = case.density.log_prob(nodes).exp() * weights @ (nodes - mean).square()
    assert (squares.sqrt() - case.density.moments[1]).abs().max() < 1e-6


def convolved(case: Case, x: Tensor, sigma: float) -> tuple[Tensor, Tensor]:
    """log p_sigma and its gradient, -E[x - y | x] / sigma^2, as integrals over the clean law."""
    nodes, weights = case.rule
    gap = x.unsqueeze(1) - nodes
    kernel = -gap.square().sum(2) / (2 * sigma**2) - math.log(2 * math.pi * sigma**2)
    joint = case.density.log_prob(nodes) + weights.log() + kernel
    return joint.logsumexp(1), -(joint.softmax(1).unsqueeze(2) * gap).sum(1) / sigma**2


@each_noisy
@pytest.mark.parametrize("sigma", [0.4, 1.5])
def test_the_noisy_law_is_the_clean_one_convolved_with_noise(case, sigma):
    x = case.density.sample(8, 1.5 * sigma, generator=torch.Generator().manual_seed(2), dtype=torch.float64)
    log_prob, score = convolved(case, x, sigma)
    assert (case.density.log_prob(x, sigma) - log_prob).abs().max() < 1e-8
    assert (case.density.score(x, sigma) - score).abs().max() < 1e-7
    assert (case.density.log_prob(x, sigma**2) - log_prob).abs().max() > 1e-3  # sigma is no variance
    assert (case.twin.log_prob(x, sigma) - log_prob).abs().max() > 1e-4


@each_noisy
def test_a_level_for_each_example_gives_what_each_level_gives(case):
    sigma = torch.tensor([0.05, 0.5, 3.0, 0.2, 40.0, 1.0], dtype=torch.float64)
    x = points(case, 0.5, len(sigma))
    log_prob, score = case.density.log_prob(x, sigma), case.density.score(x, sigma)
    for i, level in enumerate(sigma.tolist()):
        one = x[i : i + 1]
        assert torch.allclose(log_prob[i : i + 1], case.density.log_prob(one, level), rtol=1e-12, atol=1e-12)
        assert torch.allclose(score[i : i + 1], case.density.score(one, level), rtol=1e-12, atol=1e-12)
    assert torch.allclose(case.density.score(x, torch.tensor(0.5)), case.density.score(x, 0.5), rtol=1e-12)
    assert not torch.allclose(case.density.score(x, sigma), case.density.score(x, sigma.flip(0)), rtol=1e-3)


@each_case
def test_a_tensor_of_zeros_is_the_clean_law(case):
    x = points(case)
    zeros = torch.zeros(len(x))
    assert torch.allclose(case.density.log_prob(x, zeros), case.density.log_prob(x), rtol=1e-12)
    assert torch.allclose(case.density.score(x, zeros), case.density.score(x), rtol=1e-12)


@each_case
@pytest.mark.parametrize("shape", [(3,), (40, 2), (40, 1), (1,)])
def test_a_level_of_another_shape_is_refused(case, shape):
    for method in (case.density.log_prob, case.density.score):
        with pytest.raises(ValueError, match=r"sigma of shape .* for x of shape \(40, 2\): expected one number, or"):
            method(points(case), torch.ones(shape))


@each_noisy
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_far_tails_are_finite_and_pull_back(case, dtype):
    for sigma in (0.3, torch.full((4,), 0.3)) if case.bounded else (0.0, 0.3, torch.full((4,), 0.3)):
        x = 2000.0 * torch.tensor([[1, 0], [0, -1], [1, 1], [-1, 1]], dtype=dtype)
        log_prob, score = case.density.log_prob(x, sigma), case.density.score(x, sigma)
        assert log_prob.isfinite().all()
        assert score.isfinite().all()
        assert ((score * x).sum(1) < 0).all()
        assert (log_prob < -1e4).all()


@each_case
def test_float32_is_float64_rounded(case):
    sigma = 0.5 if case.noisy else 0.0
    x = points(case, sigma).float() if not case.bounded else case.density.sample(40, sigma, generator=PerChain(1))
    assert x.dtype == torch.float32
    for method in (case.density.log_prob, case.density.score):
        single, double = method(x, sigma), method(x.double(), sigma)
        assert single.dtype == torch.float32
        assert ((single - double).abs() < 2e-4 * (1 + double.abs())).all()


@each_case
def test_half_precision_is_taken_and_given_back(case):
    sigma = 0.5 if case.noisy else 0.0
    x = case.density.sample(40, sigma, generator=PerChain(1)).bfloat16()
    inside = case.density.log_prob(x.double(), sigma).isfinite()  # rounding may leave a bounded support
    assert inside.sum() > 30
    for method in (case.density.log_prob, case.density.score):
        half, double = method(x, sigma), method(x.double(), sigma)
        assert half.dtype == torch.bfloat16
        error = (half.double() - double).abs() / (1 + double.abs())
        assert error[inside].median() < 0.05


@each_case
def test_a_density_first_used_under_inference_mode_is_differentiable_afterwards(case):
    fresh, sigma = deepcopy(case.density), 0.5 if case.noisy else 0.0
    for cached in [name for name in vars(fresh) if name not in case.density.__dataclass_fields__]:
        del vars(fresh)[cached]  # what earlier tests left there was not made under inference mode
    with torch.inference_mode():
        fresh.score(points(case), sigma)
    x = points(case).requires_grad_()
    for value in (fresh.log_prob(x, sigma), fresh.score(x, sigma)):
        if value.requires_grad:  # the exponential's score is a constant
            assert torch.autograd.grad(value.sum(), x)[0].isfinite().all()


@each_case
def test_no_value_leaves_the_device(case):
    """Tensors without values: a host check of x or of a level for each example would fail on them."""
    x = torch.empty(5, 2, device="meta")
    for sigma in (torch.empty(5, device="meta"), torch.empty((), device="meta"), 0.5 if case.noisy else 0.0):
        assert case.density.log_prob(x, sigma).shape == (5,)
        assert case.density.score(x, sigma).shape == (5, 2)
    with pytest.raises(RuntimeError, match="meta"):  # what a host check does, on any torch: the test can fail
        x.sum().item()


# ---------------------------------------------------------------------------------------------------------------- draws


def folded(case: Case, law: Density, x: Tensor, sigma: float) -> float:
    u = torch.from_numpy(np.ascontiguousarray(case.pit(law, x.numpy(), sigma)))
    return min(uniform_pvalue(u), uniform_pvalue(case.fold * u % 1))


@each_case
@pytest.mark.parametrize("make", [PerChain, lambda s: torch.Generator().manual_seed(s)], ids=["PerChain", "Generator"])
def test_clean_draws_have_the_law(case, make, seed):
    """PIT, n = 40,000. The twin differs by 5 % in one parameter."""
    x = case.density.sample(40_000, generator=make(seed), dtype=torch.float64)
    assert folded(case, case.density, x, 0.0) > ALPHA
    assert not folded(case, case.twin, x, 0.0) > ALPHA


@each_case
def test_noisy_draws_have_the_law(case, streams):
    """PIT, n = 40,000, sigma = .4; the twin law has .5, and another takes sigma for a variance."""
    x = case.density.sample(40_000, 0.4, generator=streams, dtype=torch.float64)
    assert folded(case, case.density, x, 0.4) > ALPHA
    assert not folded(case, case.density, x, 0.5) > ALPHA
    assert not folded(case, case.density, x, 0.4**0.5) > ALPHA


@each_case
def test_draws_lie_where_the_density_is(case):
    """In float32 too, where an edge may be rounded to either side."""
    for dtype in (torch.float32, torch.float64):
        x = case.density.sample(20_000, generator=PerChain(3), dtype=dtype)
        assert case.density.log_prob(x).isfinite().all()
        assert case.density.score(x).isfinite().all()


@each_case
@pytest.mark.parametrize("sigma", [0.0, 0.3])
def test_draws_are_streams_and_two_calls_differ(case, sigma):
    density = case.density
    whole = density.sample(10, sigma, generator=PerChain(4), dtype=torch.float64)
    assert torch.equal(density.sample(6, sigma, generator=PerChain(4, first=4), dtype=torch.float64), whole[4:])
    streams = PerChain(4)
    assert torch.equal(density.sample(10, sigma, generator=streams, dtype=torch.float64), whole)
    assert not torch.equal(density.sample(10, sigma, generator=streams, dtype=torch.float64), whole)
    assert density.sample(0, generator=streams).shape == (0, 2)
    single = density.sample(10, sigma, generator=PerChain(4), dtype=torch.float32)
    assert torch.allclose(single.double(), whole, rtol=1e-4, atol=1e-4)


# ---------------------------------------------------------------------------------------------- known at sigma = 0 only


@each_clean
def test_what_is_known_at_zero_only_says_so(case):
    x = points(case)
    assert case.density.noise_levels.tolist() == [0.0]
    case.density.require(torch.zeros(1))
    with pytest.raises(ValueError, match=r"sigma = 0\.5 is not one of the 1 levels"):
        case.density.require(torch.tensor([0.5]))
    for method in (case.density.log_prob, case.density.score):
        with pytest.raises(ValueError, match=r"at sigma = 0\.5: it is known in closed form at sigma = 0 only"):
            method(x, 0.5)
        mixed = method(x, torch.arange(len(x)) % 2)
        assert mixed[::2].isfinite().all()
        assert mixed[1::2].isnan().all()


@each_case
@pytest.mark.parametrize("sigma", [-0.1, math.inf, math.nan])
def test_bad_levels_are_refused(case, sigma):
    x = points(case)
    for method, argument in ((case.density.log_prob, x), (case.density.score, x), (case.density.sample, 2)):
        with pytest.raises(ValueError, match=rf"{type(case.density).__name__} at sigma = {sigma}: expected 0 <= sigma"):
            method(argument, sigma)


@each_case
def test_states_of_another_shape_are_refused(case):
    for method in (case.density.log_prob, case.density.score):
        with pytest.raises(ValueError, match=rf"this {type(case.density).__name__} is on events of shape \(2,\)"):
            method(torch.zeros(4, 3), 0.0)


@pytest.mark.parametrize("case", [each for name, each in CASES.items() if name != "empirical"])
def test_configuration_is_equal_to_its_repr_and_hashable(case):
    assert eval(repr(case.density), vars(densities)) == case.density
    assert case.density != case.twin
    assert hash(case.density) != hash(case.twin)


# ------------------------------------------------------------------------------------------------------ golden numbers


@pytest.mark.parametrize(
    ("density", "sigma", "information"),
    [
        (toy_mixture(), 0.0, 2.0),
        (fig3_mixture(), 1.0, 2.0),
        (fig3_mixture(), 2.0, 0.49845303),
        (fig3_mixture(), 5.0, 0.06615619),
        (fig3_mixture(), 20.0, 0.00481589),
    ],
)
def test_the_papers_toy_has_its_fisher_information(density, sigma, information):
    """E |score|^2 over a grid, to all digits given."""
    reach = 5 + 10 * max(sigma, 1)
    nodes, weights = plane(-reach, reach, reach / 60)
    p = weights * density.log_prob(nodes, sigma).exp()
    assert (p @ density.score(nodes, sigma).square().sum(1)).item() == pytest.approx(information, abs=1e-8)
