"""The Frechet distance against Gaussians whose distance is known, singular ones among them."""

import math
from collections.abc import Callable
from typing import NamedTuple

import pytest
import torch
from torch import Tensor

from scorekit.metrics import FeatureStatistics, FrechetDistance, frechet, frechet_distance
from scorekit.testing import check_metric
from tests.metrics.cases import draws


class Pair(NamedTuple):
    """Two Gaussians (mean, cov, mean, cov), and d^2 between them."""

    moments: tuple[Tensor, Tensor, Tensor, Tensor]
    truth: float


def rotation(dimension: int, generator: torch.Generator) -> Tensor:
    return torch.linalg.qr(draws(generator, dimension, dimension)).Q


def of_spectrum(values: Tensor, axes: Tensor) -> Tensor:
    cov = (axes * values) @ axes.T
    return (cov + cov.T) / 2


def isotropic(dimension: int, scale: float, generator: torch.Generator) -> Pair:
    """N(0, I) and N(m, c I): |m|^2 + D (1 - sqrt(c))^2."""
    mean, one = draws(generator, dimension), torch.eye(dimension, dtype=torch.float64)
    truth = mean.square().sum().item() + dimension * (1 - math.sqrt(scale)) ** 2
    return Pair((torch.zeros_like(mean), one, mean, scale * one), truth)


def commuting(dimension: int, rank: int, generator: torch.Generator) -> Pair:
    """Covariances of common axes: the sum of (sqrt(a) - sqrt(b))^2."""
    a, b = (draws(generator, dimension).square() for _ in range(2))
    a[rank:], b[rank:] = 0, 0
    axes, zero = rotation(dimension, generator), torch.zeros(dimension, dtype=torch.float64)
    truth = (a.sqrt() - b.sqrt()).square().sum().item()
    return Pair((zero, of_spectrum(a, axes), zero, of_spectrum(b, axes)), truth)


def transported(dimension: int, rank1: int, rank2: int, generator: torch.Generator) -> Pair:
    """S2 = T S1 T by a positive semidefinite T, which is then the best transport: d^2 = tr S1 (I - T)^2. The two do not
    commute."""
    values, strengths = (draws(generator, dimension).square() + 0.1 for _ in range(2))
    values[rank1:], strengths[rank2:] = 0, 0
    cov1 = of_spectrum(values, rotation(dimension, generator))
    transport = of_spectrum(strengths, rotation(dimension, generator))
    cov2 = transport @ cov1 @ transport
    moved = torch.eye(dimension, dtype=torch.float64) - transport
    zero = torch.zeros(dimension, dtype=torch.float64)
    return Pair((zero, cov1, zero, (cov2 + cov2.T) / 2), (moved @ cov1 @ moved).trace().item())


PAIRS: dict[str, Callable[[torch.Generator], Pair]] = {
    "isotropic": lambda g: isotropic(64, 2.5, g),
    "one number": lambda g: isotropic(1, 0.3, g),
    "commuting": lambda g: commuting(256, 256, g),
    "commuting, singular": lambda g: commuting(256, 100, g),
    "transported": lambda g: transported(256, 256, 256, g),
    "transported, both singular": lambda g: transported(256, 100, 256, g),
    "transported, second singular": lambda g: transported(200, 200, 60, g),
    "transported, ranks 100 and 60": lambda g: transported(256, 100, 60, g),
    "first is a point": lambda g: transported(20, 0, 20, g),
}
SINGULAR = [name for name in PAIRS if "singular" in name or "ranks" in name]


def right(distance: float, pair: Pair) -> bool:
    """To 1e-10 of the truth."""
    return distance == pytest.approx(pair.truth, rel=1e-10, abs=1e-12)


@pytest.mark.parametrize("make", PAIRS.values(), ids=PAIRS)
def test_the_distance_of_gaussians_is_the_known_one_in_both_orders(make, generator):
    pair = make(generator)
    mean1, cov1, mean2, cov2 = pair.moments
    assert right(frechet_distance(mean1, cov1, mean2, cov2), pair)
    assert right(frechet_distance(mean2, cov2, mean1, cov1), pair)


@pytest.mark.parametrize("name", SINGULAR)
def test_the_check_rejects_the_root_of_the_product(name, generator):
    """torchmetrics' form: an eigenvalue of 1e-16 that should be 0 adds 1e-8."""
    from torchmetrics.image.fid import _compute_fid

    pair = PAIRS[name](generator)
    product = _compute_fid(*pair.moments).item()
    assert product == pytest.approx(pair.truth, rel=1e-3)
    assert not right(product, pair)


def test_the_distance_is_that_of_torchmetrics_where_covariances_have_full_rank(generator):
    from torchmetrics.image.fid import _compute_fid

    moments = [
        each
        for mean in (0.0, 0.3)
        for rows in [draws(generator, 200, 40, mean=mean)]
        for each in (rows.mean(0), rows.T.cov())
    ]
    assert frechet_distance(*moments) == pytest.approx(_compute_fid(*moments).item(), rel=1e-10)


def test_the_check_rejects_another_sign_and_rounding_that_is_taken_for_an_eigenvalue(generator, monkeypatch):
    pair = PAIRS["transported, ranks 100 and 60"](generator)

    def unclipped(cov: Tensor, name: str) -> Tensor:
        values, vectors = torch.linalg.eigh(cov)
        return vectors * values.sqrt()

    def nonnegative(cov: Tensor, name: str) -> Tensor:
        values, vectors = torch.linalg.eigh(cov)
        return vectors * values.clamp(min=0).sqrt()

    with monkeypatch.context() as patch:
        patch.setattr(frechet, "_root_trace", lambda a, b: -frechet.shared_trace(a, b))
        assert not right(frechet_distance(*pair.moments), pair)
    with monkeypatch.context() as patch:
        patch.setattr(frechet, "factor", nonnegative)
        assert not right(frechet_distance(*pair.moments), pair)
    with monkeypatch.context() as patch:
        patch.setattr(frechet, "factor", unclipped)
        with pytest.raises(RuntimeError, match=r"ill-conditioned|failed to converge|non-finite"):
            frechet_distance(*pair.moments)


@pytest.mark.parametrize(("power", "fast"), [(1, True), (4, False)])
def test_the_fast_way_is_taken_where_it_is_accurate_only(power, fast, generator):
    """Eigenvalues k^-power of 256: a condition of 256, and of 4e9."""
    axes = rotation(256, generator)
    a = torch.arange(1, 257, dtype=torch.float64) ** -power
    b = a * (1 + 0.2 * draws(generator, 256).abs())
    cov1, cov2, zero = of_spectrum(a, axes), of_spectrum(b, axes), torch.zeros(256, dtype=torch.float64)
    truth = (a.sqrt() - b.sqrt()).square().sum().item()
    assert (frechet._by_cholesky(cov1, cov2) is not None) == fast
    assert frechet_distance(zero, cov1, zero, cov2) == pytest.approx(truth, rel=1e-8)


def test_equal_laws_are_at_0_to_rounding_and_nothing_hides_it(generator):
    for pair in (PAIRS["commuting"](generator), PAIRS["commuting, singular"](generator)):
        mean, cov = pair.moments[:2]
        found = frechet_distance(mean, cov, mean, cov)
        assert abs(found) < 1e-13 * cov.trace().item()


def test_single_precision_is_computed_in_double(generator):
    mean1, cov1, mean2, cov2 = isotropic(16, 1.7, generator).moments
    single = [each.float() for each in (mean1, cov1, mean2, cov2)]
    assert frechet_distance(*single) == frechet_distance(*(each.double() for each in single))


ONE, ZERO = torch.eye(3, dtype=torch.float64), torch.zeros(3, dtype=torch.float64)
SKEW = torch.tensor([[1.0, 0.1, 0.0], [0.0, 1.0, 0.0], [0.0, 0.0, 1.0]])


@pytest.mark.parametrize(
    ("moments", "message"),
    [
        ((ZERO, ONE, ZERO[:2], ONE[:2, :2]), "mean1 has 3 features and mean2 2"),
        ((ZERO, ONE[:2], ZERO, ONE), r"cov1 of shape \(2, 3\): expected \(D,\) and \(D, D\)"),
        ((ZERO, ONE, ONE, ONE), r"mean2 of shape \(3, 3\)"),
        ((ZERO[:0], ONE[:0, :0], ZERO[:0], ONE[:0, :0]), "D >= 1"),
        ((ZERO, ONE * torch.nan, ZERO, ONE), "0 and 9 of their entries are NaN"),
        ((ZERO, ONE, ZERO / 0, ONE), "3 and 0 of their entries are NaN"),
        ((ZERO, ONE, ZERO, SKEW), "cov2 differs from its transpose by 0.1"),
        ((ZERO, ONE, ZERO, torch.diag(torch.tensor([1.0, 1.0, -1e-3]))), "cov2 has the eigenvalue -0.001"),
        ((ZERO, torch.diag(torch.tensor([1.0, 1.0, -1e-3])), ZERO, ONE), "cov1 has the eigenvalue -0.001"),
        ((ZERO, -ONE, ZERO, -ONE), "cov1 has the eigenvalue -1"),
    ],
)
def test_what_is_no_gaussian_is_refused_with_the_values(moments, message):
    with pytest.raises(ValueError, match=message):
        frechet_distance(*moments)


@pytest.mark.parametrize(("n", "m"), [(300, 250), (300, 9), (7, 12)])
def test_the_metric_of_samples_is_the_distance_of_their_statistics(n, m, generator):
    x, reference = draws(generator, n, 4, 5), draws(generator, m, 4, 5, mean=0.5)
    moments = []
    for rows in (x.flatten(1), reference.flatten(1)):
        statistics = FeatureStatistics(20)
        statistics.update(rows)
        moments += [statistics.mean, statistics.cov]
    assert FrechetDistance()(x, reference) == pytest.approx(frechet_distance(*moments), rel=1e-10)


def test_the_metric_keeps_the_laws_of_metrics():
    check_metric(FrechetDistance())
    assert repr(FrechetDistance()) == "FrechetDistance()"
