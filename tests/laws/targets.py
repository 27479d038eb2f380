"""Targets whose law is known in closed form at every noise level: the conformance kit's, and two of the paper's."""

import torch
from torch import Tensor

from scorekit.densities import Gaussian, GaussianMixture
from scorekit.testing.targets import FACTOR, MEAN, covariance_of, gauss3, mixture3

__all__ = ["FACTOR", "MEAN", "covariance_of", "figure3", "gauss3", "mixture3", "small_mode", "stiff3"]


def stiff3() -> Gaussian:
    """Standard deviations 1, .1 and .01 along rotated axes: what the short law of annealed Langevin is run on."""
    generator = torch.Generator().manual_seed(7)
    rotation, _ = torch.linalg.qr(torch.randn(3, 3, dtype=torch.float64, generator=generator))
    covariance = rotation * torch.tensor([1.0, 0.1, 0.01], dtype=torch.float64).square() @ rotation.T
    return Gaussian((0.4, -0.3, 0.2), (covariance + covariance.T) / 2)


def figure3() -> GaussianMixture:
    """The toy of the NCSN paper's figure 3 as point masses: at sigma it has components of std sigma."""
    return GaussianMixture(((5.0, 5.0), (-5.0, -5.0)), (0.8, 0.2), 0.0)


def small_mode(x: Tensor) -> tuple[Tensor, Tensor]:
    """Of chains (B, 2) on `figure3`: 1 for those in the small mode (B,), and their places less their mode's (2 B,)."""
    small = x.sum(1) < 0
    return small.double(), torch.cat((x[small] + 5, x[~small] - 5)).flatten()
