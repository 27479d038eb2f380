r"""Statistics whose null laws are known: a p-value is compared with `ALPHA`, a z-score with `BOUND`.

With alpha = 1e-6 a test, 500 tests with fresh seeds raise a false alarm in one run of 2,000; with fixed seeds a verdict
stays what it is. A NaN is a failure: it gives p = 0, and a z-score below no bound.
"""

import math

import torch
from scipy import stats
from torch import Tensor

ALPHA = 1e-6
BOUND = 4.9  # standard errors: two-sided 1e-6


def z_score(values: Tensor, mean: float, std: float | None = None) -> float:
    """How many standard errors the mean of `values` (n,) is from `mean`; std is theirs, estimated if not given."""
    spread = values.std().item() if std is None else std
    return (values.mean().item() - mean) / (spread / math.sqrt(len(values)))


def variance_z_score(values: Tensor, variance: float) -> float:
    """How many standard errors the variance of Gaussian `values` (n,) is from `variance`."""
    return (values.var().item() / variance - 1) / math.sqrt(2 / (len(values) - 1))


def hotelling(values: Tensor) -> float:
    """p that the mean of the rows of `values` (n, q) is 0: Hotelling's T^2 against its F law; 1 if each row is 0."""
    if not values.any():  # nothing is left to chance, and there is no covariance to divide by
        return 1.0
    n, q = values.shape
    mean = values.mean(0)
    t2 = n * mean @ torch.linalg.solve(torch.cov(values.T).reshape(q, q), mean)
    return _or_zero(float(stats.f.sf(t2.item() * (n - q) / (q * (n - 1)), q, n - q)))


def legendre(u: Tensor) -> Tensor:
    """Bounded statistics of uniforms u (n, d), of mean 0 and covariance I under independence: orthonormal shifted
    Legendre polynomials of orders 1 to 4 of each coordinate, and L1L1, L1L2, L2L1 of each pair: (n, 4d + 3d(d-1)/2)."""
    t = 2 * u - 1
    polynomials = (t, (3 * t**2 - 1) / 2, (5 * t**3 - 3 * t) / 2, (35 * t**4 - 30 * t**2 + 3) / 8)
    first, second, third, fourth = (math.sqrt(2 * k + 1) * p for k, p in enumerate(polynomials, 1))
    pairs = torch.combinations(torch.arange(u.shape[1])).T if u.shape[1] > 1 else torch.zeros(2, 0, dtype=torch.long)
    i, j = pairs
    crossed = (first[:, i] * first[:, j], first[:, i] * second[:, j], second[:, i] * first[:, j])
    return torch.cat((first, second, third, fourth, *crossed), dim=1)


def uniform_pvalue(u: Tensor) -> float:
    """p that the rows of u (n, d) are independent draws of independent uniforms."""
    features = legendre(u)
    n, q = features.shape
    return _or_zero(float(stats.chi2.sf(n * features.mean(0).square().sum().item(), q)))


def normal_pvalue(z: Tensor) -> float:
    """p that the rows of z (n, d) are independent standard normals."""
    return uniform_pvalue(torch.special.ndtr(z.double()))


def ks_pvalue(values: Tensor, law: str = "uniform") -> float:
    """The Kolmogorov-Smirnov p of `values` against a law of scipy's."""
    return _or_zero(stats.kstest(values.double().flatten().numpy(), law).pvalue)


def counts_pvalue(observed: Tensor, expected: Tensor) -> float:
    """The chi-squared p of counts (k,) against their expectations (k,)."""
    statistic = ((observed - expected).square() / expected).sum().item()
    return _or_zero(float(stats.chi2.sf(statistic, len(observed) - 1)))


def _or_zero(p: float) -> float:
    return 0.0 if math.isnan(p) else p
