r"""What inpainting a Gaussian by unadjusted Langevin steps gives, exactly.

Let v be known, u unknown and P = (S + sigma^2 I)^-1, a step given v = y + sigma z is

    u <- u - h (P_uu (u - m_u) + P_uv (v - m_v)) + sqrt(2 h) n,

so that (u, z) stays Gaussian: with z kept for a level (Algorithm 2) or drawn before every step.
"""

from collections.abc import Sequence
from typing import Literal

import torch
from torch import Tensor

from scorekit.densities import Gaussian
from tests.laws.targets import covariance_of


def conditional(density: Gaussian, known: Tensor, y: Tensor) -> tuple[Tensor, Tensor]:
    """Mean (k,) and covariance (k, k) of the flattened event's unknown coordinates, given the known ones of y (*E)."""
    mean, s = torch.tensor(density.mean, dtype=torch.float64).flatten(), covariance_of(density)
    v, u = known.flatten().bool(), ~known.flatten().bool()
    gain = torch.linalg.solve(s[v][:, v], s[v][:, u]).T
    return mean[u] + gain @ (y.flatten()[v] - mean[v]), s[u][:, u] - gain @ s[v][:, u]


def law_of_algorithm_2(
    density: Gaussian,
    known: Tensor,
    y: Tensor,
    levels: Sequence[float],
    num_steps: int,
    refresh: Literal["level", "step"],
    rate: float = 0.125,
) -> tuple[Tensor, Tensor]:
    """Mean and covariance of u after `num_steps` steps of h = rate sigma^2 at each level, from the matched start."""
    m, s = torch.tensor(density.mean, dtype=torch.float64).flatten(), covariance_of(density)
    v, u = known.flatten().bool(), ~known.flatten().bool()
    mean, covariance = m[u], torch.diag(s.diag()[u] + levels[0] ** 2)
    one = torch.eye(int(u.sum()), dtype=torch.float64)
    for sigma in levels:
        h = rate * sigma**2
        precision = torch.linalg.inv(s + sigma**2 * torch.eye(len(m), dtype=torch.float64))
        a, b = one - h * precision[u][:, u], -h * precision[u][:, v]
        offset = b @ (y.flatten()[v] - m[v])
        cross = torch.zeros(len(one), int(v.sum()), dtype=torch.float64)  # Cov(u, z)
        for _ in range(num_steps):
            if refresh == "step":
                cross = torch.zeros_like(cross)
            mixed = a @ cross @ b.T * sigma
            covariance = a @ covariance @ a.T + mixed + mixed.T + sigma**2 * b @ b.T + 2 * h * one
            cross = a @ cross + sigma * b
            mean = m[u] + a @ (mean - m[u]) + offset
    return mean, covariance
