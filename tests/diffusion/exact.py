"""What a diffusion model would learn of `mixture3`, in closed form and in its own coordinates, by Bayes' rule."""

import math
from collections.abc import Callable

import torch
from torch import Tensor

from scorekit.densities import GaussianMixture
from tests.laws.targets import mixture3

BETAS = torch.linspace(1e-3, 0.2, 40, dtype=torch.float64)
ALPHAS_BAR = (1 - BETAS).cumprod(0)
T = len(BETAS)
STEPS = (0, 1, 7, 20, T - 1)


def draws(seed: int, *shape: int) -> Tensor:
    return torch.randn(*shape, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))


def posterior_mean(x_t: Tensor, a: float, b: float) -> Tensor:
    """E[x0 | x_t] of `mixture3` in variance-preserving coordinates, by Bayes' rule, without a score."""
    density = mixture3()
    means, weights, stds = (torch.tensor(v, dtype=x_t.dtype) for v in (density.means, density.weights, density.stds))
    total = (a * stds).square() + b**2
    responsible = (weights.log() - torch.cdist(x_t, a * means).square() / (2 * total) - total.log()).softmax(1)
    gain = (a * stds.square() / total).unsqueeze(1)
    return (responsible.unsqueeze(2) * (means + gain * (x_t.unsqueeze(1) - a * means))).sum(1)


def signal(t: int) -> tuple[float, float]:
    """sqrt(abar_t) and sqrt(1 - abar_t)."""
    return math.sqrt(ALPHAS_BAR[t].item()), math.sqrt(1 - ALPHAS_BAR[t].item())


def noise(x_t: Tensor, t: int) -> Tensor:
    a, b = signal(t)
    return (x_t - a * posterior_mean(x_t, a, b)) / b


def clean(x_t: Tensor, t: int) -> Tensor:
    return posterior_mean(x_t, *signal(t))


def velocity(x_t: Tensor, t: int) -> Tensor:
    a, b = signal(t)
    return a * noise(x_t, t) - b * clean(x_t, t)


def score(x_t: Tensor, t: int) -> Tensor:
    """That of x_t: its law is the mixture shrunk by a, with components of std sqrt(a^2 s^2 + b^2)."""
    a, b = signal(t)
    density = mixture3()
    means, stds = (torch.tensor(value, dtype=torch.float64) for value in (density.means, density.stds))
    return GaussianMixture(a * means, density.weights, a * stds).score(x_t, b)


EXACT: dict[str, Callable[[Tensor, int], Tensor]] = {
    "noise": noise, "clean": clean, "velocity": velocity, "score": score,
}  # fmt: skip


def sigma_of(t: int) -> float:
    return math.sqrt((1 - ALPHAS_BAR[t].item()) / ALPHAS_BAR[t].item())
