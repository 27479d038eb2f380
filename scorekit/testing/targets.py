r"""Targets whose law is known in closed form, with their probability integral transforms (PIT).

The PIT makes a target's draws uniform and independent, and so its statistics bounded: p-values near 1e-6 can be
trusted. `gauss3` is correlated, `loggamma2` skew with one light and one heavy tail, `gmm2` has two modes,
`exponential2` a boundary; a fault that one of them hides, another one shows.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from math import prod
from typing import final

import torch
from torch import Tensor

from scorekit.base import Target, normal, uniform
from scorekit.densities import Gaussian, GaussianMixture

MEAN = (1.0, -2.0, 0.5)
FACTOR = torch.tensor([[1.0, 0.0, 0.0], [0.6, 0.8, 0.0], [-0.4, 0.5, 1.3]], dtype=torch.float64)


def gauss3() -> Gaussian:
    """Three correlated coordinates."""
    return Gaussian(MEAN, (FACTOR @ FACTOR.T).tolist())


def mixture3() -> GaussianMixture:
    """Three components of unequal weights and stds in two dimensions."""
    return GaussianMixture(((0.0, 1.0), (2.0, -1.0), (-1.5, -1.0)), (0.2, 0.5, 0.3), (0.5, 1.0, 0.8))


def correlated(event: tuple[int, ...]) -> Gaussian:
    """A Gaussian on events of any shape whose coordinates are correlated across every axis: .5^|i - j| in the flattened
    event."""
    index = torch.arange(prod(event), dtype=torch.float64)
    covariance = 0.5 ** (index.unsqueeze(0) - index.unsqueeze(1)).abs()
    return Gaussian((index / len(index)).reshape(event).tolist(), covariance.tolist())


def covariance_of(density: Gaussian) -> Tensor:
    """The covariance as a matrix (n, n)."""
    covariance = torch.tensor(density.covariance, dtype=torch.float64)
    return covariance if covariance.ndim == 2 else torch.diag(covariance.expand(torch.tensor(density.mean).numel()))


@final
@dataclass(frozen=True)
class Law:
    """A target with exact draws (n, generator) -> (n, *E), and its PIT (n, *E) -> (n, d)."""

    target: Target
    draw: Callable[[int, torch.Generator], Tensor]
    pit: Callable[[Tensor], Tensor]

    def score_only(self) -> "Law":
        """The same law, of which a kernel sees the score alone."""
        return replace(self, target=Target(self.target.score))


def gaussian(density: Gaussian, sigma: float = 0.0) -> Law:
    """A Gaussian of any event shape at one level; its PIT is that of the whitened, flattened event."""
    covariance = covariance_of(density)
    factor = torch.linalg.cholesky(covariance + sigma**2 * torch.eye(len(covariance), dtype=torch.float64))
    mean = torch.tensor(density.mean, dtype=torch.float64).flatten()

    def pit(x: Tensor) -> Tensor:
        return torch.special.ndtr(torch.linalg.solve_triangular(factor, (x.flatten(1) - mean).T, upper=False).T)

    return Law(density.at(sigma), lambda n, g: density.sample(n, sigma, generator=g, dtype=torch.float64), pit)


def loggamma2() -> Law:
    """Two independent coordinates with log p = 3 x - 2 e^x: skew, with one light and one heavy tail."""

    def draw(n: int, generator: torch.Generator) -> Tensor:
        unit = uniform(torch.empty(n, 2, 3, dtype=torch.float64), generator=generator)
        return (-unit.log().sum(2) / 2).log()

    target = Target(lambda x: 3 - 2 * x.exp(), lambda x: (3 * x - 2 * x.exp()).flatten(1).sum(1))
    return Law(target, draw, lambda x: torch.special.gammainc(torch.tensor(3.0, dtype=torch.float64), 2 * x.exp()))


def gmm2() -> Law:
    """x1 from .3 N(-1.2, .6^2) + .7 N(1, .8^2), x2 given x1 from N(.5 x1, .7^2)."""
    weights, means, stds = torch.tensor([[0.3, 0.7], [-1.2, 1.0], [0.6, 0.8]], dtype=torch.float64)

    def standardised(x: Tensor) -> tuple[Tensor, Tensor]:
        return (x[:, :1] - means) / stds, (x[:, 1] - x[:, 0] / 2) / 0.7

    def joint(z: Tensor) -> Tensor:
        return (weights / stds).log() - z.square() / 2

    def log_prob(x: Tensor) -> Tensor:
        z, rest = standardised(x)
        return joint(z).logsumexp(1) - rest.square() / 2

    def score(x: Tensor) -> Tensor:
        z, rest = standardised(x)
        first = -(joint(z).softmax(1) * z / stds).sum(1) + rest / 1.4
        return torch.stack((first, -rest / 0.7), dim=1)

    def draw(n: int, generator: torch.Generator) -> Tensor:
        second = (uniform(torch.empty(n, dtype=torch.float64), generator=generator) < weights[1]).long()
        z = normal(torch.empty(n, 2, dtype=torch.float64), generator=generator)
        first = means[second] + stds[second] * z[:, 0]
        return torch.stack((first, first / 2 + 0.7 * z[:, 1]), dim=1)

    def pit(x: Tensor) -> Tensor:
        z, rest = standardised(x)
        return torch.stack(((weights * torch.special.ndtr(z)).sum(1), torch.special.ndtr(rest)), dim=1)

    return Law(Target(score, log_prob), draw, pit)


def exponential2() -> Law:
    """Two independent exponentials: score and log density are NaN outside their support x > 0."""

    def inside(value: Tensor, x: Tensor) -> Tensor:
        return torch.where(x > 0, value, torch.nan)

    target = Target(lambda x: inside(-torch.ones_like(x), x), lambda x: inside(-x, x).sum(1))

    def draw(n: int, generator: torch.Generator) -> Tensor:
        return -(1 - uniform(torch.empty(n, 2, dtype=torch.float64), generator=generator)).log()

    return Law(target, draw, lambda x: -torch.expm1(-x))


LAWS: Mapping[str, Callable[[], Law]] = {
    "gauss3": lambda: gaussian(gauss3()),
    "loggamma2": loggamma2,
    "gmm2": gmm2,
    "exponential2": exponential2,
}
