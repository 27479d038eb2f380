"""Gaussians and their mixtures, of any rank: against scipy, autograd and the law of their own draws.

What they share with every density is in test_laws.
"""

import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats
from torch import Tensor

from scorekit import PerChain
from scorekit.densities import Density, Gaussian, GaussianMixture, fig3_mixture
from tests.laws.statistics import ALPHA, BOUND, ks_pvalue, normal_pvalue
from tests.laws.targets import gauss3, mixture3

SIGMAS = (0.0, 0.01, 0.5, 3.0)
RANK2 = Gaussian(torch.arange(6.0).reshape(2, 3), torch.tensor([0.5, 1.0, 2.0, 0.1, 3.0, 1.5]))
RANK3 = GaussianMixture(torch.arange(24.0).reshape(3, 2, 2, 2) / 10, (0.2, 0.3, 0.5), (0.3, 0.7, 1.1))
DENSITIES: dict[str, Density] = {
    "dense": gauss3(),
    "isotropic": Gaussian((1.0, -1.0), 0.3),
    "diagonal, rank 2": RANK2,
    "mixture": mixture3(),
    "mixture, rank 3": RANK3,
    "equal weights": GaussianMixture(((-1.0,), (2.0,)), stds=0.5),
    "one component": GaussianMixture(((-1.0, 0.0),), (1.0,)),
}
each_density = pytest.mark.parametrize("density", DENSITIES.values(), ids=DENSITIES)


def _points(density: Density, count: int = 40) -> Tensor:
    generator = torch.Generator().manual_seed(3)
    return 2 * torch.randn(count, *density.event_shape, dtype=torch.float64, generator=generator)


def _scipy_log_prob(density: Density, x: Tensor, sigma: float) -> np.ndarray:
    flat, n = x.flatten(1).numpy(), x[0].numel()
    if isinstance(density, Gaussian):
        covariance = np.asarray(density.covariance)
        full = covariance if covariance.ndim == 2 else np.diag(np.broadcast_to(covariance, n))
        return stats.multivariate_normal(np.ravel(density.mean), full + sigma**2 * np.eye(n)).logpdf(flat)
    assert isinstance(density, GaussianMixture)
    means = np.reshape(density.means, (-1, n))
    weights = np.full(len(means), 1 / len(means)) if density.weights is None else np.asarray(density.weights)
    stds = np.broadcast_to(density.stds, len(means))
    terms = [
        math.log(w) + stats.norm(m, math.hypot(s, sigma)).logpdf(flat).sum(1)
        for w, m, s in zip(weights, means, stds, strict=True)
    ]
    return np.logaddexp.reduce(terms)


@each_density
@pytest.mark.parametrize("sigma", SIGMAS)
def test_log_prob_is_scipys(density, sigma):
    x = _points(density)
    expected = _scipy_log_prob(density, x, sigma)
    assert np.abs(density.log_prob(x, sigma).numpy() - expected).max() < 1e-10 * (1 + np.abs(expected).max())
    if sigma > 0:  # the mutant that takes sigma for a variance
        assert np.abs(density.log_prob(x, math.sqrt(sigma)).numpy() - expected).max() > 1e-3


@each_density
@pytest.mark.parametrize("sigma", SIGMAS)
def test_the_score_is_the_gradient_of_log_prob(density, sigma):
    x = _points(density).requires_grad_()
    (gradient,) = torch.autograd.grad(density.log_prob(x, sigma).sum(), x)
    score = density.score(x, sigma)
    assert score.shape == x.shape
    assert (score - gradient).abs().max() < 1e-10 * (1 + gradient.abs().max())


@each_density
def test_a_level_for_each_example_gives_what_each_level_gives(density):
    sigma = torch.tensor([0.01, 0.5, 3.0, 0.2, 40.0], dtype=torch.float64)
    x = _points(density, len(sigma))
    log_prob, score = density.log_prob(x, sigma), density.score(x, sigma)
    for i, level in enumerate(sigma.tolist()):
        one = x[i : i + 1]
        assert torch.allclose(log_prob[i : i + 1], density.log_prob(one, level), rtol=1e-12, atol=1e-12)
        assert torch.allclose(score[i : i + 1], density.score(one, level), rtol=1e-12, atol=1e-12)
    assert not torch.allclose(density.score(x, sigma), density.score(x, sigma.flip(0)), rtol=1e-3)
    assert torch.allclose(density.score(x, torch.tensor(0.5)), density.score(x, 0.5), rtol=1e-12)


def test_a_level_for_each_coordinate_is_refused():
    """With as many examples as coordinates it is one for each example: sigma has the shape (B,), and no other."""
    x = torch.zeros(4, 3)
    for sigma in (torch.ones(3), torch.ones(4, 3), torch.ones(4, 1)):
        with pytest.raises(ValueError, match=r"sigma of shape .* for x of shape \(4, 3\): expected one number, or one"):
            gauss3().score(x, sigma)


def test_without_a_host_check_a_singular_density_is_not_finite():
    x = torch.zeros(2, 2)
    log_prob = fig3_mixture().log_prob(x, torch.tensor([0.0, 1.0]))
    assert log_prob.isfinite().tolist() == [False, True]


@each_density
def test_a_target_is_the_density_at_its_level(density):
    x = _points(density)
    point = density.at(0.5).point(x)
    assert torch.equal(point.score, density.score(x, 0.5))
    assert torch.equal(point.log_prob, density.log_prob(x, 0.5))


@each_density
@pytest.mark.parametrize("sigma", [0.0, 0.7])
@pytest.mark.parametrize("make", [PerChain, lambda s: torch.Generator().manual_seed(s)], ids=["PerChain", "Generator"])
def test_draws_have_the_moments_of_the_noisy_density(density, sigma, make, seed):
    """n = 40,000; standard errors from the draws themselves."""
    x = density.sample(40_000, sigma, generator=make(seed), dtype=torch.float64)
    assert x.shape == (40_000, *density.event_shape)
    mean, std = density.moments
    assert mean.shape == std.shape == density.event_shape
    centred = x - mean
    squares = centred.square() / (std**2 + sigma**2) - 1

    def z(values: Tensor) -> float:
        return (values.mean(0) / (values.std(0) / math.sqrt(len(x)))).abs().max().item()

    assert z(centred) < BOUND
    assert z(squares) < BOUND
    assert z(squares - 0.05) > BOUND  # resolution: 5 % of a variance


@pytest.mark.parametrize("sigma", [0.0, 0.7])
def test_gaussian_draws_are_gaussian(sigma, generator):
    """The whitened draws: n = 20,000, d = 3."""
    x = gauss3().sample(20_000, sigma, generator=generator, dtype=torch.float64)
    covariance = torch.tensor(gauss3().covariance, dtype=torch.float64)
    factor = torch.linalg.cholesky(covariance + sigma**2 * torch.eye(3, dtype=torch.float64))
    centred = x - torch.tensor(gauss3().mean, dtype=torch.float64)
    assert normal_pvalue(torch.linalg.solve_triangular(factor, centred.T, upper=False).T) > ALPHA
    assert normal_pvalue(centred / covariance.diagonal().add(sigma**2).sqrt()) < ALPHA  # correlations matter


def test_components_come_with_their_weights(generator):
    """n = 100,000: the share of each component within 4.9 standard errors, the unequal and the equal."""
    means = tuple((100.0 * k,) for k in range(4))
    for weights in ((0.1, 0.2, 0.3, 0.4), None):
        x = GaussianMixture(means, weights, 1.0).sample(100_000, generator=generator)
        counts = torch.bincount((x.flatten() / 100).round().long(), minlength=4) / 100_000
        for share, w in zip(counts.tolist(), weights or (0.25,) * 4, strict=True):
            assert abs(share - w) < BOUND * math.sqrt(w * (1 - w) / 100_000)


def test_weights_keep_all_their_digits():
    """Through float32 they came back as .30000001."""
    density = GaussianMixture(((0.0,), (1000.0,)), (0.3, 0.7))
    x = torch.zeros(1, 1, dtype=torch.float64)
    assert density.log_prob(x).item() == pytest.approx(math.log(0.3) - math.log(2 * math.pi) / 2, rel=1e-15)


# ------------------------------------------------------------------------------------------------------ the toy


def test_the_papers_toy():
    """ncsn 8.3: scores to 1e-9, the log density, and the Fisher information 2 at sigma = 1."""
    density = fig3_mixture()

    def score(x: float, y: float, sigma: float) -> list[float]:
        return density.score(torch.tensor([[x, y]], dtype=torch.float64), sigma)[0].tolist()

    assert score(0, 0, 1) == pytest.approx([3, 3], abs=1e-9)
    assert score(0, 0, 20) == pytest.approx([0.0075, 0.0075], abs=1e-9)
    assert score(1, 2, 1) == pytest.approx([4, 3], abs=1e-5)
    assert score(-3, 0.5, 1) == pytest.approx([-2, -5.5], abs=1e-5)
    origin = torch.zeros(1, 2, dtype=torch.float64)
    assert density.log_prob(origin, 1.0).item() == pytest.approx(-26.8378771, abs=5e-8)


# ------------------------------------------------------------------------------------------------ singular densities


def test_point_masses_are_sampled_exactly_and_have_a_density_with_noise_only():
    density = fig3_mixture()
    x = density.sample(1000, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    assert {tuple(row) for row in x.tolist()} == {(5.0, 5.0), (-5.0, -5.0)}
    assert density.log_prob(x, 0.1).isfinite().all()
    for method in (density.log_prob, density.score):
        with pytest.raises(ValueError, match=r"this GaussianMixture is singular: .* only at sigma > 0"):
            method(x, 0.0)


LOW_RANK = np.random.default_rng(5).normal(size=(40, 6, 3))
SINGULAR = [
    ((1.0, 1.0), (1.0, 1.0)),
    np.outer((1, 2, 3), (1, 2, 3)),
    np.zeros((2, 2)),
    *(factor @ factor.T for factor in LOW_RANK),
]


@pytest.mark.parametrize("covariance", [*SINGULAR[:2], (0.0, 1.0), 0.0], ids=["ones", "outer", "axis", "point"])
def test_a_singular_covariance_has_a_law_with_noise_only(covariance, generator):
    n = 1 if np.ndim(covariance) == 0 else len(covariance)
    density = Gaussian((0.0,) * n, covariance)
    x = density.sample(2000, generator=generator, dtype=torch.float64)
    full = np.asarray(covariance) if np.ndim(covariance) == 2 else np.diag(np.broadcast_to(covariance, n))
    null = np.linalg.svd(full)[0][:, np.linalg.matrix_rank(full) :]
    assert null.size
    assert np.abs(x.numpy() @ null).max() < 1e-12  # no draw leaves the plane
    assert density.score(x, 0.1).isfinite().all()
    with pytest.raises(ValueError, match=r"this Gaussian is singular: it has no density at sigma = 0"):
        density.log_prob(x)


def test_rounding_does_not_hide_that_a_covariance_is_singular():
    """Forty random 6 x 6 matrices of rank 3: eigh gives some null eigenvalues as +1e-16."""
    positive = 0
    for covariance in SINGULAR:
        values = np.linalg.eigvalsh(np.asarray(covariance, dtype=float))
        positive += bool((values[values < 1e-10] > 0).any())
        density = Gaussian((0.0,) * len(covariance), (covariance + np.transpose(covariance)) / 2)
        with pytest.raises(ValueError, match="singular"):
            density.log_prob(torch.zeros(1, len(covariance), dtype=torch.float64))
    assert positive > 10  # the mutant that asks for eigenvalues > 0 lets these pass


def test_a_covariance_may_be_symmetric_to_rounding_only():
    q, _ = torch.linalg.qr(torch.randn(5, 5, dtype=torch.float64, generator=torch.Generator().manual_seed(0)))
    assert Gaussian((0.0,) * 5, q @ q.T).log_prob(torch.zeros(1, 5, dtype=torch.float64)).item() == pytest.approx(
        -2.5 * math.log(2 * math.pi)
    )


# ------------------------------------------------------------------------------------------------- types and purity


@each_density
@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
def test_everything_comes_in_the_type_of_x(density, dtype):
    x = _points(density).to(dtype)
    assert (density.score(x, 0.5).dtype, density.log_prob(x, 0.5).dtype) == (dtype, dtype)
    assert density.sample(3, dtype=dtype, generator=PerChain(0)).dtype == dtype
    exact = density.score(x.double(), 0.5)
    assert (density.score(x, 0.5) - exact).abs().max() < 1e-5 * (1 + exact.abs().max())


@each_density
def test_a_density_first_used_under_inference_mode_is_differentiable_afterwards(density):
    fresh = eval(repr(density), {"Gaussian": Gaussian, "GaussianMixture": GaussianMixture})
    with torch.inference_mode():
        fresh.score(_points(density), 0.5)
    x = _points(density).requires_grad_()
    for value in (fresh.log_prob(x, 0.5).sum(), fresh.score(x, 0.5).sum()):
        assert torch.autograd.grad(value, x)[0].isfinite().all()


@given(
    event=st.lists(st.integers(1, 3), min_size=1, max_size=3).map(tuple),
    seed=st.integers(0, 2**16 - 1),
    sigma=st.sampled_from(SIGMAS),
    batch=st.integers(1, 4),
)
def test_a_density_is_that_of_its_flattened_event(event, seed, sigma, batch):
    generator = torch.Generator().manual_seed(seed)
    means = torch.randn(3, *event, dtype=torch.float64, generator=generator)
    x = torch.randn(batch, *event, dtype=torch.float64, generator=generator)
    n = x[0].numel()
    factor = torch.randn(n, n, dtype=torch.float64, generator=generator)
    covariance = factor @ factor.T + 0.1 * torch.eye(n, dtype=torch.float64)
    covariance = (covariance + covariance.T) / 2
    pairs = (
        (GaussianMixture(means, stds=(0.5, 1.0, 2.0)), GaussianMixture(means.flatten(1), stds=(0.5, 1.0, 2.0))),
        (Gaussian(means[0], covariance), Gaussian(means[0].flatten(), covariance)),
    )
    for shaped, flat in pairs:
        assert torch.allclose(shaped.log_prob(x, sigma), flat.log_prob(x.flatten(1), sigma), rtol=1e-12)
        assert torch.allclose(shaped.score(x, sigma).flatten(1), flat.score(x.flatten(1), sigma), rtol=1e-12)


def test_numbers_may_come_as_tensors_arrays_or_tuples():
    one = Gaussian((0.5, 1.0), ((1.0, 0.5), (0.5, 1.0)))
    assert Gaussian([0.5, 1], np.array([[1, 0.5], [0.5, 1]])) == one
    assert Gaussian(torch.tensor([0.5, 1.0], dtype=torch.bfloat16), torch.tensor([[1, 0.5], [0.5, 1]])) == one
    assert hash(one) == hash(Gaussian(np.array([0.5, 1.0]), one.covariance))


# ------------------------------------------------------------------------------------------------------- bad input


@pytest.mark.parametrize(
    ("make", "text"),
    [
        (lambda: Gaussian(1.0), r"mean of shape \(\).*rank 1 at least"),
        (lambda: Gaussian(()), r"mean of shape \(0,\).*n = 0"),
        (lambda: Gaussian((0.0, 0.0), (1.0, 1.0, 1.0)), r"covariance of shape \(3,\).*n = 2"),
        (lambda: Gaussian((0.0, 0.0), np.eye(3)), r"covariance of shape \(3, 3\)"),
        (lambda: Gaussian((0.0, 0.0), ((1.0, 0.5), (0.4, 1.0))), r"not symmetric: two mirrored entries differ by 0\.1"),
        (lambda: Gaussian((0.0, 0.0), ((1.0, 2.0), (2.0, 1.0))), "negative eigenvalue -1"),
        (lambda: Gaussian((0.0,), -1.0), "negative eigenvalue -1"),
        (lambda: Gaussian((0.0, 0.0), (1.0, -1e-13)), "negative eigenvalue -1e-13"),
        (lambda: Gaussian((math.nan,)), "the mean has a number that is not finite: nan; expected finite"),
        (lambda: Gaussian((0.0,), math.inf), "the covariance has a number that is not finite: inf"),
        (lambda: Gaussian((0.0, 0.0), ((1.0, math.nan), (math.nan, 1.0))), "not finite"),
        (lambda: GaussianMixture((0.0, 1.0)), r"means of shape \(2,\): expected \(K, \*E\)"),
        (lambda: GaussianMixture(((math.inf,),)), "means have a number that is not finite"),
        (lambda: GaussianMixture(((0.0,), (1.0,)), (0.5, 0.6)), r"weights \(0.5, 0.6\): expected 2 positive numbers"),
        (lambda: GaussianMixture(((0.0,), (1.0,)), (1.0, 0.0)), "expected 2 positive numbers"),
        (lambda: GaussianMixture(((0.0,), (1.0,)), (math.nan, 0.7)), "expected 2 positive numbers"),
        (lambda: GaussianMixture(((0.0,), (1.0,)), (1.0,)), "expected 2 positive numbers"),
        (lambda: GaussianMixture(((0.0,), (1.0,)), stds=(1.0,)), r"stds \(1.0,\): expected one number or 2"),
        (lambda: GaussianMixture(((0.0,),), stds=-1.0), "finite and >= 0"),
        (lambda: GaussianMixture(((0.0,),), stds=math.nan), "finite and >= 0"),
        (lambda: GaussianMixture(((0.0,),), stds=math.inf), "finite and >= 0"),
        (lambda: GaussianMixture(((0.0,), (1.0, 2.0))), "inhomogeneous"),
    ],
)
def test_bad_numbers_are_refused(make, text):
    with pytest.raises(ValueError, match=text):
        make()


@each_density
def test_states_of_another_shape_are_refused(density):
    wrong = torch.zeros(4, *density.event_shape, 2)
    for method in (density.log_prob, density.score):
        with pytest.raises(ValueError, match=r"x of shape .* is on events of shape"):
            method(wrong, 1.0)


def test_ks_of_one_dimension(generator):
    """The draws of a one-dimensional Gaussian against scipy's law: n = 50,000."""
    x = Gaussian((2.0,), 4.0).sample(50_000, 1.5, generator=generator, dtype=torch.float64)
    assert ks_pvalue((x - 2) / 2.5, "norm") > ALPHA
    assert ks_pvalue((x - 2) / 2.75, "norm") < ALPHA
