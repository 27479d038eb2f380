r"""Frechet distance of two Gaussians (Dowson and Landau, J. Multivariate Anal. 12, 1982): on features of Inception it
is the FID (Heusel et al., NeurIPS 2017).

    d^2 = |m1 - m2|^2 + tr S1 + tr S2 - 2 tr (S1^(1/2) S2 S1^(1/2))^(1/2)

With any factors S = F F^T the last trace is the sum of the singular values of F1^T F2; no root of a matrix is needed.
Covariances of fewer rows than features are singular. Then a root of the product S1 S2 is off by 1e-7 of the traces: an
eigenvalue that should be 0 comes out as 1e-16, and its root as 1e-8. Singular values of factors are right to 1e-15;
the factors of a covariance that is given are right where its eigenvalues are 0 or not far below the largest, since
rounding moves the root of one that is u times the largest by about eps / (2 sqrt u).

Where both covariances are positive definite, the eigenvalues w of L^T S2 L, with S1 = L L^T by Cholesky, give the trace
as sum sqrt(w), three times faster. Rounding moves each w by about eps max(w), hence the sum by eps max(w) sum 1 / (2
sqrt(w)) if all errors add up: the fast way is taken where that is below 1e-10 of tr S1 + tr S2 (measured errors are
mostly 30 to 10,000 times smaller, since they do not).
"""

from dataclasses import dataclass
from typing import final

import torch
from torch import Tensor

from scorekit.base import Generator, Metric
from scorekit.metrics._samples import checked_pair

EPS = torch.finfo(torch.float64).eps
FAST = 1e-10  # the error that the fast way may have, relative to the traces
SLACK = (
    1e-8  # a covariance may be so far from symmetric and from nonnegative, relative to its largest entry, eigenvalue
)


def frechet_distance(mean1: Tensor, cov1: Tensor, mean2: Tensor, cov2: Tensor) -> float:
    """d^2 of two Gaussians, in the squared units of the features, computed in double precision.

    It is exact to about 1e-10 of the traces, and mostly to 1e-15, if each covariance's eigenvalues are 0 or at least
    1e-12 of its largest; one that is u times the largest may cost eps / (2 sqrt u): 1e-9 at u = 1e-14. It is not
    clipped: of equal laws it may be below 0 by that much. An eigenvalue within D eps of the largest is rounding and
    counts as 0.

    Args:
        mean1, mean2: (D,).
        cov1, cov2: (D, D), symmetric and positive semidefinite; singular ones are fine.

    Raises:
        ValueError: for other shapes, NaN or infinity, a covariance that is not symmetric to 1e-8 of its largest entry,
            or an eigenvalue below -1e-8 of its largest.
    """
    mean1, cov1 = _checked_moments(mean1, cov1, 1)
    mean2, cov2 = _checked_moments(mean2, cov2, 2)
    if len(mean1) != len(mean2):
        raise ValueError(f"mean1 has {len(mean1)} features and mean2 {len(mean2)}: expected one space of features")
    gap, traces = (mean1 - mean2).square().sum(), cov1.trace() + cov2.trace()
    return (gap + traces - 2 * _root_trace(cov1, cov2)).item()


def _checked_moments(mean: Tensor, cov: Tensor, number: int) -> tuple[Tensor, Tensor]:
    """A mean and a covariance in double precision on the CPU."""
    shapes = f"mean{number} of shape {tuple(mean.shape)} and cov{number} of shape {tuple(cov.shape)}"
    if mean.ndim != 1 or not len(mean) or cov.shape != (len(mean), len(mean)):
        raise ValueError(f"{shapes}: expected (D,) and (D, D), D >= 1")
    mean, cov = mean.detach().cpu().double(), cov.detach().cpu().double()
    bad = [(~each.isfinite()).sum().item() for each in (mean, cov)]
    if any(bad):
        raise ValueError(f"{shapes}: {bad[0]} and {bad[1]} of their entries are NaN or infinite, expected none")
    skew, largest = (cov - cov.T).abs().max().item(), cov.abs().max().item()
    if skew > SLACK * largest:
        raise ValueError(
            f"cov{number} differs from its transpose by {skew:.3g}, its largest entry is {largest:.3g}: expected a "
            f"symmetric matrix, to {SLACK:g} of that entry (accumulate in double precision)"
        )
    return mean, cov


def _root_trace(cov1: Tensor, cov2: Tensor) -> Tensor:
    """tr (S1^(1/2) S2 S1^(1/2))^(1/2): the fast way where it is accurate, else by factors."""
    fast = _by_cholesky(cov1, cov2)
    return shared_trace(factor(cov1, "cov1").T, factor(cov2, "cov2").T) if fast is None else fast


def _by_cholesky(cov1: Tensor, cov2: Tensor) -> Tensor | None:
    """The sum of the roots of the eigenvalues of L^T S2 L; None where rounding might be seen in it."""
    lower, failed = torch.linalg.cholesky_ex(cov1)
    if failed.item():
        return None
    eigenvalues = torch.linalg.eigvalsh(lower.T @ cov2 @ lower)
    if not eigenvalues[0].item() > 0:
        return None
    roots = eigenvalues.sqrt()
    error = EPS * eigenvalues[-1] * (0.5 / roots).sum()
    return roots.sum() if error.item() <= FAST * (cov1.trace() + cov2.trace()).item() else None


def factor(cov: Tensor, name: str) -> Tensor:
    """F (D, R) with F F^T = cov (D, D), R its rank.

    Raises:
        ValueError: for an eigenvalue below -1e-8 of the largest.
    """
    eigenvalues, vectors = torch.linalg.eigh(cov)
    smallest, largest = eigenvalues[0].item(), eigenvalues.abs().max().item()
    if smallest < -SLACK * largest:
        raise ValueError(
            f"{name} has the eigenvalue {smallest:.3g}, its largest is {largest:.3g}: a covariance has none below 0 "
            f"(rounding: -{SLACK:g} of the largest)"
        )
    kept = eigenvalues > len(cov) * EPS * largest  # the root of a rounding error of 1e-16 would be 1e-8
    return vectors[:, kept] * eigenvalues[kept].sqrt()


def shared_trace(rows1: Tensor, rows2: Tensor) -> Tensor:
    """tr (S1^(1/2) S2 S1^(1/2))^(1/2) for S = R^T R, of any numbers of rows (N, D)."""
    return torch.linalg.svdvals(rows1 @ rows2.T).sum()


@final
@dataclass(frozen=True)
class FrechetDistance(Metric):
    """d^2 between the Gaussians with the means and the unbiased covariances of two samples, in squared units of x.

    Each sample's triangle R of its centred rows stands for its covariance, R^T R = S, so that none is formed and
    samples of fewer rows than coordinates are as good as others. Few rows bias d^2 upwards; compare equal numbers.
    For features that stream by: `FeatureStatistics` and `frechet_distance`.

    Raises:
        ValueError: when called, for samples that are not finite floating-point (N, *E) of one event shape, with two
            examples each at least.
    """

    def __call__(self, x: Tensor, reference: Tensor, *, generator: Generator = None) -> float:
        """d^2 of x (N, *E) and reference (M, *E); nothing is drawn."""
        x, reference = checked_pair(x, reference)
        gap = (x.mean(0) - reference.mean(0)).square().sum()
        triangle1, triangle2 = _triangle(x), _triangle(reference)
        traces = triangle1.square().sum() + triangle2.square().sum()
        return (gap + traces - 2 * shared_trace(triangle1, triangle2)).item()


def _triangle(rows: Tensor) -> Tensor:
    """R of at most D rows with R^T R the unbiased covariance of rows (N, D)."""
    return torch.linalg.qr(rows - rows.mean(0), mode="r").R / (len(rows) - 1) ** 0.5
