"""Targets whose law is known in closed form at every noise level."""

import torch
from torch import Tensor

from scorekit.densities import Gaussian, GaussianMixture

MEAN = (1.0, -2.0, 0.5)
FACTOR = torch.tensor([[1.0, 0.0, 0.0], [0.6, 0.8, 0.0], [-0.4, 0.5, 1.3]], dtype=torch.float64)


def gauss3() -> Gaussian:
    """Three correlated coordinates."""
    return Gaussian(MEAN, FACTOR @ FACTOR.T)


def mixture3() -> GaussianMixture:
    """Three components of unequal weights and stds in two dimensions."""
    return GaussianMixture(((0.0, 1.0), (2.0, -1.0), (-1.5, -1.0)), (0.2, 0.5, 0.3), (0.5, 1.0, 0.8))


def stiff3() -> Gaussian:
    """Standard deviations 1, .1 and .01 along rotated axes: what the short law of annealed Langevin is run on."""
    generator = torch.Generator().manual_seed(7)
    rotation, _ = torch.linalg.qr(torch.randn(3, 3, dtype=torch.float64, generator=generator))
    covariance = rotation * torch.tensor([1.0, 0.1, 0.01], dtype=torch.float64).square() @ rotation.T
    return Gaussian((0.4, -0.3, 0.2), (covariance + covariance.T) / 2)


def figure3() -> GaussianMixture:
    """The toy of the NCSN paper's figure 3 as point masses: at sigma it has components of std sigma."""
    return GaussianMixture(((5.0, 5.0), (-5.0, -5.0)), (0.8, 0.2), 0.0)


def covariance_of(density: Gaussian) -> Tensor:
    """The covariance as a matrix (n, n)."""
    covariance = torch.tensor(density.covariance, dtype=torch.float64)
    return covariance if covariance.ndim == 2 else torch.diag(covariance.expand(len(density.mean)))
