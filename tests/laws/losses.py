r"""The laws of denoising score matching under NCSN's weight sigma^2: 1/2 |sigma s(x + sigma eps, sigma) + eps|^2.

Every check takes `make`: (model, schedule) -> a module called as (x, generator=) that returns a `Loss`. Two of them
replay the draws (one uniform per example for its level, then eps) and compare with the formula; two know only what a
score is, so that they do not repeat the author's algebra:

- `fixpoint`: at the true score the expected gradient is 0;
- `affine_w`: the loss less the weighted Fisher divergence has the same mean whatever the model.
"""

from collections.abc import Callable
from typing import TypeAlias, final

import torch
from torch import Tensor, nn

from scorekit.base import NoiseSchedule, ScoreModel, expand, normal, sum_event
from scorekit.densities import Density
from scorekit.noise import Geometric
from tests.laws.estimates import error
from tests.laws.statistics import hotelling, z_score

Make: TypeAlias = Callable[[ScoreModel, NoiseSchedule], nn.Module]

NOISE = Geometric(2.0, 0.2, 5)


@final
class Linear(ScoreModel):
    """s(x, sigma) = (A x + b) / (1 + sigma): simple enough for formulas, and dependent on sigma."""

    def __init__(self, a: Tensor, b: Tensor):
        super().__init__()
        self.a, self.b = nn.Parameter(a), nn.Parameter(b)

    def forward(self, x: Tensor, sigma: Tensor, condition: Tensor | None = None) -> Tensor:
        return (x.flatten(1) @ self.a.T + self.b).reshape(x.shape) / expand(1 + sigma, x)


@final
class Zero(ScoreModel):
    """s = 0."""

    def forward(self, x: Tensor, sigma: Tensor, condition: Tensor | None = None) -> Tensor:
        return torch.zeros_like(x)


@final
class Exact(ScoreModel):
    """The density's own score, example by example."""

    def __init__(self, density: Density):
        super().__init__()
        self.density = density

    def forward(self, x: Tensor, sigma: Tensor, condition: Tensor | None = None) -> Tensor:
        score = torch.empty_like(x)
        for level in sigma.unique():
            rows = sigma == level
            score[rows] = self.density.score(x[rows], level.item())
        return score


@final
class Probe(ScoreModel):
    """(1 + a) s* + B x + c + e tanh(x) + f s* log sigma: the true score s* at parameters 0. It keeps each x asked."""

    def __init__(self, density: Density):
        super().__init__()
        (d,) = density.event_shape
        self.exact = Exact(density)
        self.theta = nn.Parameter(torch.zeros(3 + d * d + d, dtype=torch.float64))
        self.seen: list[Tensor] = []

    def forward(self, x: Tensor, sigma: Tensor, condition: Tensor | None = None) -> Tensor:
        d = x.shape[1]
        self.seen.append(x)
        a, e, f = self.theta[:3]
        b, c = self.theta[3 : 3 + d * d].reshape(d, d), self.theta[3 + d * d :]
        true = self.exact(x, sigma)
        return true * (1 + a + f * sigma.log().unsqueeze(1)) + x @ b.T + c + e * x.tanh()


def closed_form(make: Make, seed: int) -> float:
    """The largest relative error of a per-example loss, of its mean, and of the reported levels."""
    model, x = _linear(seed), _data(64, seed)
    loss = make(model, NOISE)(x, generator=torch.Generator().manual_seed(seed))
    sigma, eps = _replay(x, seed)
    residual = expand(sigma, x) * model(x + expand(sigma, x) * eps, sigma) + eps
    expected = sum_event(residual.square()) / 2
    pairs = ((loss.per_example, expected), (loss.loss, expected.mean()), (loss.sigma, sigma))
    return max(error(value, want) for value, want in pairs)


def closed_gradient(make: Make, seed: int) -> float:
    """The largest relative error of the gradient of the mean loss in A and b: mean of g (s + eps / sigma) xt', with
    g = sigma^2 / (1 + sigma)."""
    model, x = _linear(seed), _data(64, seed)
    make(model, NOISE)(x, generator=torch.Generator().manual_seed(seed)).loss.backward()
    sigma, eps = _replay(x, seed)
    noisy = x + expand(sigma, x) * eps
    with torch.no_grad():
        pull = expand(sigma**2 / (1 + sigma), x) * (model(noisy, sigma) + eps / expand(sigma, x))
    wanted = (pull.T @ noisy / len(x), pull.mean(0))
    return max(
        error(grad, want) for grad, want in zip((model.a.grad, model.b.grad), wanted, strict=True) if grad is not None
    )


def fixpoint(make: Make, density: Density, seed: int, batches: int = 250, size: int = 200) -> float:
    """p that the mean gradient at the true score is 0."""
    model = Probe(density)
    objective = make(model, NOISE)
    generator = torch.Generator().manual_seed(seed)
    x = density.sample(batches * size, generator=generator, dtype=torch.float64)
    gradients = [
        torch.autograd.grad(objective(batch, generator=generator).loss, model.theta)[0] for batch in x.split(size)
    ]
    return hotelling(torch.stack(gradients))


def affine_w(make: Make, density: Density, seed: int, size: int = 20_000) -> float:
    """p that loss - sigma^2 Fisher has one mean for three models, at each level, under the same draws."""
    model = Probe(density)
    objective = make(model, NOISE)
    generator = torch.Generator().manual_seed(seed)
    x = density.sample(size, generator=generator, dtype=torch.float64)
    rest, sigma = [], torch.empty(0)
    for _ in range(3):
        with torch.no_grad():
            model.theta.copy_(0.5 * torch.randn(model.theta.shape, dtype=torch.float64, generator=generator))
            model.seen.clear()
            loss = objective(x, generator=torch.Generator().manual_seed(seed + 1))
            noisy, sigma = model.seen[0], loss.sigma  # antithetic forms and the like ask for a second x
            off = model(noisy, sigma) - model.exact(noisy, sigma)
        rest.append(loss.per_example - sigma**2 * sum_event(off.square()) / 2)
    levels = torch.nn.functional.one_hot(torch.unique(sigma, return_inverse=True)[1]).double()
    columns = [levels * (other - rest[0]).unsqueeze(1) for other in rest[1:]]
    return hotelling(torch.cat(columns, dim=1))


def zero_net(make: Make, seed: int, size: int = 4000) -> float:
    """The largest |z| over levels of the loss of a zero score against d / 2, whose law is chi-squared / 2."""
    x = _data(size, seed)
    loss = make(Zero(), NOISE)(x, generator=torch.Generator().manual_seed(seed))
    d = x.shape[1]
    at_level = [loss.per_example[loss.sigma == sigma] for sigma in loss.sigma.unique()]
    return max(abs(z_score(values, d / 2, (d / 2) ** 0.5)) for values in at_level)


def batch_variance(make: Make, seed: int, batches: int = 300, size: int = 64) -> float:
    """|z| of the variance, over batches, of a zero score's mean loss against d / (2 B)."""
    x = _data(size, seed)
    objective, generator = make(Zero(), NOISE), torch.Generator().manual_seed(seed)
    means = torch.stack([objective(x, generator=generator).loss for _ in range(batches)])
    return abs((means.var().item() / (x.shape[1] / (2 * size)) - 1) / (2 / (batches - 1)) ** 0.5)


def _replay(x: Tensor, seed: int) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    return NOISE.sample(x, generator=generator), normal(x, generator=generator)


def _linear(seed: int) -> Linear:
    generator = torch.Generator().manual_seed(seed + 2)
    draws = torch.randn(4, 3, dtype=torch.float64, generator=generator)
    return Linear(draws[:3], draws[3])


def _data(size: int, seed: int) -> Tensor:
    return torch.randn(size, 3, dtype=torch.float64, generator=torch.Generator().manual_seed(seed + 3))
