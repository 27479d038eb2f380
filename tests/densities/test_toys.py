"""What single densities owe: edges, centres, golden values, chunks, and what they refuse."""

import json
import math
from dataclasses import replace

import mpmath
import numpy as np
import pytest
import torch
from scipy import special

from scorekit import PerChain
from scorekit.config import from_config, to_config
from scorekit.densities import (
    Banana,
    Box,
    Checkerboard,
    Empirical,
    Exponential,
    Funnel,
    GaussianMixture,
    LogGamma,
    Ring,
    TwoMoons,
    empirical,
    fig3_mixture,
    toy_mixture,
)
from scorekit.densities.intervals import noisy_uniform
from scorekit.hookspecs import hookimpl
from scorekit.registry import Registry

FLOAT = {"dtype": torch.float64}

# ----------------------------------------------------------------------------------------------------- noisy intervals


@pytest.mark.parametrize("sigma", [1e-3, 0.3, 5.0, 200.0])
def test_a_noisy_interval_agrees_with_fifty_digits(sigma):
    """[-1, 2], from its inside to 30 sigma outside; the difference of two CDFs is 0 from 9 sigma on."""
    mpmath.mp.dps = 400
    x = [0.5, 0.4, -1.0, 2.0, 2 + sigma, -1 - 5 * sigma, 2 + 9 * sigma, -1 - 30 * sigma, 0.5 + 1e-9]
    log_prob, score = noisy_uniform(*(torch.tensor(each, **FLOAT) for each in (x, -1.0, 2.0, sigma)))
    for i, each in enumerate(x):
        low, high, level = mpmath.mpf(-1), mpmath.mpf(2), mpmath.mpf(sigma)
        u, w = (each - low) / level, (each - high) / level
        mass = (mpmath.erf(u / mpmath.sqrt(2)) - mpmath.erf(w / mpmath.sqrt(2))) / 2
        slope = (mpmath.npdf(u) - mpmath.npdf(w)) / (level * mass)
        rounding = 1e-14 * (1 + sigma / 3) * (1 + float(abs(w)) + float(abs(u)))
        assert log_prob[i].item() == pytest.approx(float(mpmath.log(mass / 3)), rel=rounding, abs=rounding)
        assert score[i].item() == pytest.approx(float(slope), rel=rounding, abs=rounding * 1e-3)
    naive = special.ndtr((-1 - 30 * sigma - np.array([-1.0, 2.0])) / sigma)
    assert naive[0] == 0 or abs(math.log(naive[0] - naive[1]) - log_prob[7].item() - math.log(3)) < 1e-9


@pytest.mark.parametrize("density", [Box((-1.0, -1.0), (1.0, 1.0)), Ring(), Checkerboard(3, 1.5)])
def test_the_score_is_differentiable_at_the_centre(density):
    """The Jacobian at 0, against differences of scores: the trap of sign(0) and of 0 / 0."""
    x = torch.zeros(1, 2, **FLOAT)
    jacobian = torch.func.jacrev(lambda y: density.score(y.unsqueeze(0), 0.4)[0])(x[0])
    step = 1e-5 * torch.eye(2, **FLOAT)
    differences = (density.score(step, 0.4) - density.score(-step, 0.4)) / 2e-5
    assert torch.allclose(jacobian, differences, atol=1e-7)
    assert jacobian.diagonal().abs().min() > 1e-2


# -------------------------------------------------------------------------------------------------------- bounded laws


def test_outside_a_box_there_is_no_density_and_no_score():
    x = torch.tensor([[0.0, 1.0], [1.5, 1.0], [1.0, 2.0], [-2.0, 9.0]], **FLOAT)
    box = Box((-1.0, 0.5), (1.0, 2.0))
    assert box.log_prob(x).tolist() == pytest.approx([-math.log(3), -math.inf, -math.log(3), -math.inf])
    assert box.score(x).isnan().tolist() == [[False, False], [True, False], [False, False], [True, True]]
    assert box.score(x[::2]).abs().max() == 0
    for sigma in (1e-9, torch.full((4,), 1e-9)):  # close to 0 the edges stay where they are
        assert box.log_prob(x, sigma)[0].item() == pytest.approx(-math.log(3))
        assert (box.log_prob(x, sigma)[[1, 3]] < -1e16).all()


def test_a_box_of_any_rank_is_the_product_of_its_sides():
    low = torch.arange(12.0).reshape(2, 3, 2)
    box = Box(low, low + torch.linspace(0.5, 3, 12).reshape(2, 3, 2))
    x = box.sample(5, 0.7, generator=PerChain(0), **FLOAT)
    edges = zip(np.ravel(box.low), np.ravel(box.high), strict=True)
    sides = [Box((a,), (b,)) for a, b in edges]
    parts = [side.log_prob(x.flatten(1)[:, j : j + 1], 0.7) for j, side in enumerate(sides)]
    assert x.shape == (5, 2, 3, 2)
    assert torch.allclose(box.log_prob(x, 0.7), sum(parts))
    assert box.score(x, 0.7).shape == x.shape
    assert [moment.shape for moment in box.moments] == [(2, 3, 2)] * 2


def test_the_default_board_is_the_known_one():
    """Eight squares of side 2; the one that touches the origin from above right is dark, its neighbours are not."""
    board = Checkerboard()
    x = torch.tensor([[1.0, 1.0], [-1.0, 1.0], [1.0, -1.0], [-1.0, -1.0], [3.0, 1.0], [-3.0, -3.0], [5.0, 1.0]])
    dark = [True, False, False, True, False, True, False]
    assert board.log_prob(x).isfinite().tolist() == dark
    assert board.log_prob(x)[0].item() == pytest.approx(-math.log(8 * 4))
    assert (~board.score(x).isnan().any(1)).tolist() == dark


def test_outside_its_half_line_an_exponential_has_no_density_and_no_score():
    x = torch.tensor([[0.5, 2.0], [-0.1, 2.0], [0.0, 0.0]], **FLOAT)
    density = Exponential(2.0)
    assert density.log_prob(x)[1] == -math.inf
    assert density.log_prob(x)[[0, 2]].tolist() == pytest.approx([2 * math.log(2) - 5, 2 * math.log(2)])
    assert density.score(x).isnan().tolist() == [[False, False], [True, False], [False, False]]
    assert density.score(x)[2].tolist() == [-2.0, -2.0]


# ------------------------------------------------------------------------------------------------------- single values


def test_the_toys_are_the_papers():
    assert toy_mixture() == GaussianMixture(((5, 5), (-5, -5)), (0.8, 0.2), 1.0)
    x = torch.tensor([[0.0, 0.0], [1.0, 2.0]], **FLOAT)
    assert torch.equal(fig3_mixture().score(x, 1.0), toy_mixture().score(x))
    assert toy_mixture().score(x)[0].tolist() == pytest.approx([3, 3], abs=1e-9)
    assert toy_mixture().log_prob(x)[0].item() == pytest.approx(-26.8378771, abs=5e-8)


def test_the_moons_are_scikit_learns():
    sklearn = pytest.importorskip("sklearn.datasets")
    clean, _ = sklearn.make_moons(200, shuffle=False)
    moons = TwoMoons(1e-3)
    centres = torch.from_numpy(clean)
    peak = -math.log(200 * 2 * math.pi * 1e-6)
    assert torch.allclose(moons.log_prob(centres), torch.full((200,), peak, **FLOAT), rtol=1e-9)
    mean, std = moons.moments
    assert torch.allclose(mean, centres.mean(0))
    assert torch.allclose(std, (centres.var(0, correction=0) + 1e-6).sqrt())


def test_the_default_moons_have_no_ripple():
    """Along the outer arc's middle the density is the same at a component and halfway to the next one."""
    moons = TwoMoons(num_points=101)  # a component at the top of the arc
    t = torch.tensor([math.pi / 2, math.pi / 2 + math.pi / 200], **FLOAT)
    one, half = moons.log_prob(torch.stack((t.cos(), t.sin()), dim=1)).tolist()
    few = TwoMoons(num_points=41).log_prob(torch.stack((t.cos(), t.sin()), dim=1)).tolist()
    assert abs(one - half) < 1e-6
    assert abs(few[0] - few[1]) > 1e-6


def test_bessels_series_meets_its_ratio():
    """At k = .1, where the score changes from the one to the other, they agree to 1e-12."""
    ring = Ring(1.0, 1.0)
    x = torch.tensor([[0.1 - 1e-13, 0.0], [0.1 + 1e-13, 0.0]], **FLOAT)
    below, above = ring.score(x)[:, 0].tolist()
    exact = -0.1 + special.i1e(0.1) / special.i0e(0.1)
    assert below == pytest.approx(exact, abs=1e-12)
    assert above == pytest.approx(exact, abs=1e-12)


def test_log_gamma_has_its_known_moments():
    """E log Gamma(3) = 3/2 - gamma, Var = pi^2 / 6 - 5/4."""
    mean, std = LogGamma(num_dims=1).moments
    assert mean.item() == pytest.approx(1.5 - np.euler_gamma - math.log(2))
    assert std.item() == pytest.approx(math.sqrt(math.pi**2 / 6 - 1.25))


@pytest.mark.parametrize("density", [Funnel(5, 1.2), LogGamma(2, 1.5, 4), Exponential(0.5, 3)])
def test_more_dimensions_keep_score_and_density_together(density):
    x = density.sample(20, generator=PerChain(2), **FLOAT).requires_grad_()
    (gradient,) = torch.autograd.grad(density.log_prob(x).sum(), x)
    assert torch.allclose(density.score(x), gradient, rtol=1e-10)
    n = density.event_shape[0]
    flat = sum(replace(density, num_dims=1).log_prob(x[:, j : j + 1]) for j in range(n)) if n < 5 else None
    assert flat is None or torch.allclose(density.log_prob(x), flat)


# ----------------------------------------------------------------------------------------------------------- empirical


@pytest.mark.parametrize("budget", [1500, 100])  # five rows and all points; one row and a third of them
def test_chunks_change_nothing(budget, monkeypatch):
    data = torch.randn(50, 2, 3, generator=torch.Generator().manual_seed(0), **FLOAT)
    density = Empirical(data, 0.1)
    x = density.sample(33, 0.3, generator=PerChain(0))
    sigma = torch.linspace(0.1, 2, 33, **FLOAT)
    whole = density.log_prob(x, sigma), density.score(x, sigma)
    widest = []
    differences = empirical._differences

    def watched(x: torch.Tensor, points: torch.Tensor) -> torch.Tensor:
        widest.append(differences(x, points).numel())
        return differences(x, points)

    monkeypatch.setattr(empirical, "_NUMBERS", budget)
    monkeypatch.setattr(empirical, "_differences", watched)
    chunked = density.log_prob(x, sigma), density.score(x, sigma)
    assert budget / 2 < max(widest) <= budget
    for one, other in zip(whole, chunked, strict=True):
        assert torch.allclose(one, other, rtol=1e-12, atol=1e-12)


def test_points_alone_are_sampled_as_they_are_and_equally_often(generator):
    """n = 60,000 draws of 6 points: each share within 4.9 standard errors."""
    data = torch.arange(12.0).reshape(6, 2)
    x = Empirical(data).sample(60_000, generator=generator)
    share = (x.unsqueeze(1) == data).all(2).double().mean(0)
    assert share.sum().item() == pytest.approx(1)
    assert (share - 1 / 6).abs().max() < 4.9 * math.sqrt(5 / 36 / 60_000)
    with pytest.raises(ValueError, match="this Empirical is singular: it has no density at sigma = 0"):
        Empirical(data).log_prob(x[:2])
    assert Empirical(data).log_prob(x[:2], 0.1).isfinite().all()


def test_an_empirical_law_is_the_mixture_of_its_points():
    data = torch.randn(30, 4, generator=torch.Generator().manual_seed(1), **FLOAT)
    mixture, density = GaussianMixture(data, stds=0.2), Empirical(data, 0.2)
    x = mixture.sample(10, 0.5, generator=PerChain(1), **FLOAT)
    for sigma in (0.0, 0.5):
        assert torch.allclose(density.log_prob(x, sigma), mixture.log_prob(x, sigma))
        assert torch.allclose(density.score(x, sigma), mixture.score(x, sigma))
    for one, other in zip(density.moments, mixture.moments, strict=True):
        assert torch.allclose(one, other)


def test_small_noise_keeps_its_digits_far_from_the_origin():
    """The form |x|^2 - 2xy + |y|^2 loses all of them here."""
    data = torch.tensor([[1000.0, 1000.0], [1000.0, 1001.0]])
    x = data + 0.01
    log_prob = Empirical(data).log_prob(x, 0.01)
    exact = Empirical(data.double()).log_prob(x.double(), 0.01)
    assert torch.allclose(log_prob.double(), exact, rtol=1e-4)
    expanded = (x.square().sum(1) - 2 * (x * data).sum(1) + data.square().sum(1)) / -2e-4
    assert (expanded - (x - data).square().sum(1) / -2e-4).abs().max() > 1


def test_an_empirical_law_has_a_short_repr_and_is_only_itself():
    data = torch.zeros(1797, 8, 8)
    density = Empirical(data, 0.1)
    assert repr(density) == "Empirical(1797 events of shape (8, 8), std=0.1)"
    assert density == density
    assert density != Empirical(data, 0.1)
    assert density.sample(2).dtype == torch.float32


# ------------------------------------------------------------------------------------------------ configuration, errors


CONFIGURATION = (Ring, Box, Checkerboard, TwoMoons, Banana, Funnel, LogGamma, Exponential)


@pytest.fixture(scope="module")
def registry() -> Registry:
    """scorekit's own components, and those densities that it does not register itself."""
    made = Registry()
    known = {made.component("densities", name).factory for name in made.names("densities")}

    class Plugin:
        @hookimpl
        def scorekit_densities(self):
            return {f"a-{each.__name__.lower()}": each for each in CONFIGURATION if each not in known}

    made.register(Plugin(), "toys")
    return made


@pytest.mark.parametrize(
    "density",
    [
        Ring(), Ring(2, 0.0), Box((0.0,), (1.0,)), Box(torch.zeros(2, 2), torch.ones(2, 2)), Checkerboard(),
        TwoMoons(), Banana(), Funnel(), LogGamma(), Exponential(), toy_mixture(), fig3_mixture(),
    ],
    ids=repr,
)  # fmt: skip
def test_configuration_goes_through_json_and_back(density, registry):
    text = json.dumps(to_config(density, registry=registry), allow_nan=False)
    again = from_config(json.loads(text), registry=registry)
    assert again == density
    assert repr(again) == repr(density)


@pytest.mark.parametrize(
    ("make", "error", "text"),
    [
        (lambda: Ring(0.0), ValueError, r"Ring: radius = 0\.0: expected a finite number > 0"),
        (lambda: Ring(std=-1.0), ValueError, r"Ring: std = -1\.0: expected a finite number >= 0"),
        (lambda: Ring(std=0.0).log_prob(torch.zeros(1, 2)), ValueError, "this Ring is singular"),
        (lambda: Box(0.0, 1.0), ValueError, r"Box: low of shape \(\)"),
        (lambda: Box((), ()), ValueError, r"Box: low of shape \(0,\)"),
        (lambda: Box((0.0,), (1.0, 2.0)), ValueError, r"low of shape \(1,\) and high of shape \(2,\)"),
        (lambda: Box((0.0, 1.0), (1.0, 1.0)), ValueError, r"sides high - low from 0 to 1: expected finite numbers > 0"),
        (lambda: Box((0.0,), (math.inf,)), ValueError, "sides high - low from inf"),
        (lambda: Box((math.nan,), (1.0,)), ValueError, "sides high - low from nan"),
        (lambda: Checkerboard(1), ValueError, r"Checkerboard: num_squares = 1: expected an integer >= 2"),
        (lambda: Checkerboard(2.5), ValueError, r"num_squares = 2\.5: expected an integer"),
        (lambda: Checkerboard(4, math.inf), ValueError, "half_width = inf: expected a finite number > 0"),
        (lambda: TwoMoons(0.0), ValueError, r"TwoMoons: std = 0\.0"),
        (lambda: TwoMoons(num_points=1), ValueError, "num_points = 1: expected an integer >= 2"),
        (lambda: Banana(width=0.0), ValueError, r"Banana: width = 0\.0"),
        (lambda: Banana(bend=math.nan), ValueError, "Banana: bend = nan: expected a finite number"),
        (lambda: Funnel(1), ValueError, "Funnel: num_dims = 1: expected an integer >= 2"),
        (lambda: LogGamma(0), ValueError, "LogGamma: shape = 0: expected an integer >= 1"),
        (lambda: LogGamma(True), ValueError, "LogGamma: shape = True"),
        (lambda: LogGamma(rate=-2.0), ValueError, r"LogGamma: rate = -2\.0"),
        (lambda: Exponential(math.nan), ValueError, "Exponential: rate = nan"),
        (lambda: Empirical([[0.0]]), TypeError, "Empirical: data of type list: expected a tensor"),
        (lambda: Empirical(torch.zeros(3, 2, dtype=torch.long)), TypeError, r"data of type torch\.int64"),
        (lambda: Empirical(torch.zeros(3)), ValueError, r"data of shape \(3,\): expected \(N, \*E\)"),
        (lambda: Empirical(torch.zeros(0, 2)), ValueError, r"data of shape \(0, 2\)"),
        (lambda: Empirical(torch.full((3, 2), math.nan)), ValueError, "the data have a number that is not finite"),
        (lambda: Empirical(torch.zeros(3, 2), -0.1), ValueError, r"Empirical: std = -0\.1"),
    ],
)
def test_bad_numbers_are_refused(make, error, text):
    with pytest.raises(error, match=text):
        make()
