r"""The closed forms of every estimator for an affine score s = A x + b on the flattened event, with its draws replayed.

    implicit      tr A + 1/2 |s|^2                      d/dA = I + s x'            d/db = s
    sliced        v' A v + 1/2 |s|^2                           v v' + s x'                s
    plain         v' A v + 1/2 (v . s)^2                       v v' + (v . s) v x'        (v . s) v
    regression    1/2 |r|^2, r = s + eps / sigma               r x'                       r

A finite difference of an affine score is exact, so that it shares the form of `sliced`.
"""

import math
from collections.abc import Callable
from typing import NamedTuple, TypeAlias

import torch
from torch import Tensor

from scorekit.base import Estimator, Generator, PerChain, TensorFunction, fork, normal, rademacher, sum_event
from scorekit.densities import Gaussian


class Draws(NamedTuple):
    """One problem, flattened: the score's A (n, n) and b (n,); x, eps (B, n); sigma (B,); probes v, each (B, n)."""

    a: Tensor
    b: Tensor
    x: Tensor
    sigma: Tensor
    eps: Tensor
    probes: list[Tensor]

    def score(self, x: Tensor) -> Tensor:
        return x @ self.a.T + self.b


class Answer(NamedTuple):
    """The value for each example (B,), and its derivatives in A (B, n, n) and b (B, n)."""

    value: Tensor
    by_a: Tensor
    by_b: Tensor


Form: TypeAlias = Callable[[Draws], Answer]


def implicit(draws: Draws) -> Answer:
    s, n = draws.score(draws.x), draws.x.shape[1]
    trace = sum(draws.a[i, i] for i in range(n))
    return Answer(trace + _half_square(s), torch.eye(n, dtype=s.dtype) + _outer(s, draws.x), s)


def sliced(draws: Draws) -> Answer:
    s = draws.score(draws.x)
    slices = [Answer(_form(draws.a, v) + _half_square(s), _outer(v, v) + _outer(s, draws.x), s) for v in draws.probes]
    return _mean(slices)


def plain(draws: Draws) -> Answer:
    s, slices = draws.score(draws.x), []
    for v in draws.probes:
        along = (v * s).sum(1, keepdim=True)
        value = _form(draws.a, v) + along[:, 0] ** 2 / 2
        slices.append(Answer(value, _outer(v, v) + _outer(along * v, draws.x), along * v))
    return _mean(slices)


def denoising(draws: Draws) -> Answer:
    return _regression(draws, draws.x, draws.eps)


def antithetic(draws: Draws) -> Answer:
    clean = draws.x - draws.sigma.unsqueeze(1) * draws.eps
    mirrored = clean - draws.sigma.unsqueeze(1) * draws.eps
    return _mean([denoising(draws), _regression(draws, mirrored, -draws.eps)])


def control_variate(draws: Draws) -> Answer:
    e = draws.eps / draws.sigma.unsqueeze(1)
    clean = draws.x - draws.sigma.unsqueeze(1) * draws.eps
    value, by_a, by_b = denoising(draws)
    return Answer(value - (draws.score(clean) * e).sum(1), by_a - _outer(e, clean), by_b - e)


def explicit(draws: Draws) -> Answer:
    """Against N(0, 2 I): the true score is -x / (2 + sigma^2)."""
    r = draws.score(draws.x) + draws.x / (2 + draws.sigma.square().unsqueeze(1))
    return Answer(_half_square(r), _outer(r, draws.x), r)


def known(event: tuple[int, ...]) -> Gaussian:
    """The density of `explicit`."""
    return Gaussian(torch.zeros(event), 2.0)


def closed_form(
    estimator: Estimator, form: Form, event: tuple[int, ...], seed: int, *, law: str = "rademacher", probes: int = 1
) -> float:
    """The largest relative error of an example's value, with and without autograd around it."""
    draws, estimate = _problem(estimator, event, seed, law, probes)
    with torch.no_grad():
        held_out = estimate()
    return max(error(value, form(draws).value) for value in (estimate(), held_out))


def closed_gradient(
    estimator: Estimator, form: Form, event: tuple[int, ...], seed: int, *, law: str = "rademacher", probes: int = 1
) -> float:
    """The largest relative error of the gradient of the mean in A and b."""
    draws, estimate = _problem(estimator, event, seed, law, probes)
    by_a, by_b = torch.autograd.grad(estimate().mean(), (draws.a, draws.b), materialize_grads=True)
    wanted = form(draws)
    return max(error(by_a, wanted.by_a.mean(0)), error(by_b, wanted.by_b.mean(0)))


def singletons(estimator: Estimator, score: TensorFunction, x: Tensor, sigma: Tensor, eps: Tensor, seed: int) -> float:
    """The largest error of a batch against its examples one by one, each with its own stream."""
    streams = PerChain(seed)
    alone = [
        estimator(score, x[i : i + 1], sigma[i : i + 1], eps[i : i + 1], generator=streams.shift(i))
        for i in range(len(x))
    ]
    return error(estimator(score, x, sigma, eps, generator=streams), torch.cat(alone))


def probe_variance(estimator: Estimator, law: str, seed: int, batches: int = 300, size: int = 64) -> float:
    """|z| of the variance over batches of the mean of v' A v (a score that is 0 at the data) against its closed form;
    the mean of 64 is near Gaussian."""
    a = torch.randn(4, 4, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))
    zeros, generator = torch.zeros(size, 4, dtype=torch.float64), torch.Generator().manual_seed(seed + 1)
    means = torch.stack(
        [estimator(lambda x: x @ a.T, zeros, zeros[:, 0], zeros, generator=generator).mean() for _ in range(batches)]
    )
    s = (a + a.T) / 2
    squares, d = s.square().sum(), len(s)
    variance = {
        "rademacher": 2 * (squares - s.diag().square().sum()),
        "gaussian": 2 * squares,
        "sphere": 2 * (d * squares - s.trace() ** 2) / (d + 2),
    }[law].item()
    return abs((means.var().item() / (variance / size) - 1) / math.sqrt(2 / (batches - 1)))


def replayed(law: str, like: Tensor, generator: Generator) -> Tensor:
    """A probe, written out: "sphere" is a normal draw of length sqrt(d) over the whole event."""
    if law == "rademacher":
        return rademacher(like, generator=generator)
    v = normal(like, generator=generator)
    return v if law == "gaussian" else torch.stack([row * row.numel() ** 0.5 / row.flatten().norm() for row in v])


def error(value: Tensor, expected: Tensor) -> float:
    """The largest error relative to the largest number expected; a NaN is infinite."""
    found = ((value - expected).abs().max() / expected.abs().max()).item()
    return found if found == found and value.shape == expected.shape else math.inf


def _problem(
    estimator: Estimator, event: tuple[int, ...], seed: int, law: str, probes: int, batch: int = 9
) -> tuple[Draws, Callable[[], Tensor]]:
    """The draws, and a function that evaluates the estimator on them. Examples of every scale, sigma = 0 among them
    where the estimator takes it."""
    generator = torch.Generator().manual_seed(seed)
    n = math.prod(event)
    a, b = torch.randn(n, n + 1, dtype=torch.float64, generator=generator).split((n, 1), 1)
    a = a - 2 * torch.eye(n, dtype=torch.float64)  # a trace below 0, as scores have: |tr A| is another number
    x, eps = torch.randn(2, batch, *event, dtype=torch.float64, generator=generator)
    sigma = torch.rand(batch, dtype=torch.float64, generator=generator)
    sigma = sigma + 0.05 if estimator.needs_noise else sigma * (torch.arange(batch) % 3 > 0)
    seeds, replay = (torch.Generator().manual_seed(seed + 1) for _ in range(2))
    v = [replayed(law, x, fork(replay, index)).flatten(1) for index in range(probes)]
    draws = Draws(a.requires_grad_(), b[:, 0].detach().requires_grad_(), x.flatten(1), sigma, eps.flatten(1), v)

    def estimate() -> Tensor:
        seeds.manual_seed(seed + 1)
        return estimator(lambda y: draws.score(y.flatten(1)).reshape(y.shape), x, sigma, eps, generator=seeds)

    return draws, estimate


def _regression(draws: Draws, x: Tensor, eps: Tensor) -> Answer:
    r = draws.score(x) + eps / draws.sigma.unsqueeze(1)
    return Answer(_half_square(r), _outer(r, x), r)


def _mean(answers: list[Answer]) -> Answer:
    return Answer(*(torch.stack(parts).mean(0) for parts in zip(*answers, strict=True)))


def _outer(u: Tensor, v: Tensor) -> Tensor:
    return u.unsqueeze(2) * v.unsqueeze(1)


def _form(a: Tensor, v: Tensor) -> Tensor:
    return torch.einsum("bi,ij,bj->b", v, a, v)


def _half_square(r: Tensor) -> Tensor:
    return sum_event(r.square()) / 2
