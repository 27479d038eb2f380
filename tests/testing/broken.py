"""Components with a fault each, named by `fault`; with "none" they are right."""

import math
from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import dataclass, field
from itertools import pairwise
from typing import NamedTuple

import torch
from torch import Tensor, nn

import scorekit as sk
from scorekit.base import (
    Estimator,
    Generator,
    Kernel,
    LineIntegral,
    Metric,
    Move,
    NoiseSchedule,
    Point,
    Proposal,
    Sampler,
    ScoreModel,
    Start,
    StepSize,
    Target,
    TargetFamily,
    expand,
    normal,
    rademacher,
    sum_event,
    uniform,
)
from scorekit.densities import Density
from scorekit.kernels import Evaluated, Position


@dataclass(frozen=True)
class Doubled(Proposal):
    """Langevin's move; each field is a fault."""

    drift: float = 1.0
    noise: float = 1.0
    ratio: float = 1.0
    global_state: bool = False
    in_place: bool = False
    batch: bool = False
    last_axis: bool = False
    double: bool = False
    unprojected: bool = False

    def _mean(self, point: Point, h: Tensor) -> Tensor:
        return point.x + self.drift * expand(h, point.x) * point.score

    def propose(self, point: Point, step_size: Tensor, *, generator: Generator = None) -> Move:
        size = step_size / (1 + point.score.square().mean()) if self.batch else step_size
        z = normal(point.x, generator=None if self.global_state else generator)
        y = self._mean(point, size) + self.noise * (2 * expand(size, point.x)).sqrt() * z
        if self.in_place:
            point.x.add_(0.1)
        y = y.double() if self.double else y
        return Move((point, Point(point.target, y) if self.unprojected else point.target.point(y)))

    def log_q_ratio(self, move: Move, step_size: Tensor) -> Tensor:
        a, b = move.path[0], move.path[-1]
        there, back = b.x - self._mean(a, step_size), a.x - self._mean(b, step_size)
        square = (there.square() - back.square()) / (4 * expand(step_size, a.x))
        if self.last_axis:
            return self.ratio * square.sum(-1, keepdim=True).flatten(1).mean(1)
        return self.ratio * sum_event(square)


@dataclass(frozen=True)
class StaleRatio(Proposal):
    """The backward density with the score at the current point."""

    def propose(self, point: Point, step_size: Tensor, *, generator: Generator = None) -> Move:
        return sk.Langevin().propose(point, step_size, generator=generator)

    def log_q_ratio(self, move: Move, step_size: Tensor) -> Tensor:
        a, b = move.path[0], move.path[-1]
        h = expand(step_size, a.x)
        there, back = b.x - a.x - h * a.score, a.x - b.x - h * a.score
        return sum_event((there.square() - back.square()) / (4 * h))


@dataclass(frozen=True)
class BadMove(Proposal):
    """Langevin's move; each fault is in what is said of it."""

    fault: str

    @property
    def num_segments(self) -> int:
        return 2 if self.fault == "segments" else 1

    def propose(self, point: Point, step_size: Tensor, *, generator: Generator = None) -> Move:
        if self.fault == "unexpanded":
            noise = (2 * step_size).sqrt() * normal(point.x, generator=generator)
            return Move((point, point.target.point(point.x + step_size * point.score + noise)))
        move = sk.Langevin().propose(point, step_size, generator=generator)
        return Move(move.path[::-1]) if self.fault == "backwards" else move

    def log_q_ratio(self, move: Move, step_size: Tensor) -> Tensor:
        return sk.Langevin().log_q_ratio(move, step_size)


@dataclass(frozen=True)
class Unannounced(Proposal):
    """Langevin's move, said to need no score."""

    needs_score = False

    def propose(self, point: Point, step_size: Tensor, *, generator: Generator = None) -> Move:
        return sk.Langevin().propose(point, step_size, generator=generator)

    def log_q_ratio(self, move: Move, step_size: Tensor) -> Tensor:
        return sk.Langevin().log_q_ratio(move, step_size)


class Renamed(NamedTuple):
    """`Evaluated` by another name."""

    x: Tensor
    score: Tensor
    log_prob: Tensor


@dataclass(frozen=True)
class Faulty(Kernel[Evaluated]):
    """Metropolis's kernel; each field is a fault."""

    fault: str
    adjusted = True

    def init(self, point: Point, *, generator: Generator = None) -> Evaluated:
        x = point.x + 0.1 if self.fault == "early" else point.x
        return Evaluated(x, point.score, point.log_prob)

    def step(self, point, state, step_size, *, generator=None):
        inner = sk.MetropolisAdjusted(sk.Langevin())
        state = Evaluated(*state)
        new, info = inner.step(point, state, step_size, generator=generator)
        match self.fault:
            case "frozen":
                return state, info._replace(accepted=torch.zeros_like(info.accepted))
            case "always":
                move = sk.Langevin().propose(point, step_size, generator=generator)
                end = move.path[-1]
                return Evaluated(end.x, end.score, end.log_prob), info._replace(accepted=~info.nonfinite)
            case "renamed":
                return Renamed(*new), info
            case "early":
                return new, info
            case "reluctant":  # half of what is accepted: a chain that is right, of which the ratio is not the whole
                kept = info.accepted & (uniform(info.log_accept, generator=generator) < 0.5)
                mixed = [torch.where(expand(kept, b).bool(), a, b) for a, b in zip(new, state, strict=True)]
                return Evaluated(*mixed), info._replace(accepted=kept)
            case "stale":
                return new._replace(score=state.score), info
            case "negated":
                return new, info._replace(accepted=~info.accepted)
            case "silent":
                return new, None
            case "shape":
                return new, info._replace(log_accept=info.log_accept.unsqueeze(1))
            case "mean":
                return new, info._replace(log_accept=info.log_accept / 3)
        raise ValueError(self.fault)


@dataclass(frozen=True)
class WrongNoise(Kernel[Position]):
    """sqrt(h) z for sqrt(2 h) z."""

    def init(self, point: Point, *, generator: Generator = None) -> Position:
        return Position(point.x)

    def step(self, point, state, step_size, *, generator=None):
        h = expand(step_size, point.x)
        return Position(point.x + h * point.score + h.sqrt() * normal(point.x, generator=generator)), None


@dataclass(frozen=True)
class Regression(Estimator):
    """Denoising, or a stochastic trace; each fault is one of the classical ones."""

    fault: str
    needs_noise: bool = True

    def __call__(self, score, x, sigma, eps, *, generator=None):
        if self.needs_noise or self.fault == "undeclared":
            error = score(x) + (-eps if self.fault == "sign" else eps) / expand(sigma, x)
            squares = error.square() / (1 if self.fault == "half" else 2)
            if self.fault == "mean":
                return squares.flatten(1).mean(1)
            if self.fault == "batch":
                return sum_event(squares).mean().expand(len(x))
            return squares.sum(-1) if self.fault == "axis" else sum_event(squares)
        v = rademacher(x[:1] if self.fault == "probe" else x, generator=generator).expand_as(x)
        with nullcontext() if self.fault == "borrowed" else torch.enable_grad():
            leaf = x.detach().requires_grad_()
            s = score(leaf)
            (product,) = torch.autograd.grad(s, leaf, v, create_graph=self.fault != "detached", retain_graph=True)
        trace = sum_event(v * product)
        return sum_event(s.square()) / 2 + (trace.abs() if self.fault == "absolute" else trace)


@dataclass(frozen=True)
class BadSchedule(NoiseSchedule):
    """Three levels; each fault is in what is drawn of them."""

    fault: str
    kept: Tensor = field(default_factory=lambda: torch.tensor([1.0, 0.5, 0.1]).double(), init=False, compare=False)

    def levels(self):
        match self.fault:
            case "rising":
                return torch.tensor([0.1, 0.5, 1.0], dtype=torch.float64)
            case "single":
                return torch.tensor([1.0, 0.5, 0.1])
            case "shared":
                return self.kept
        return torch.tensor([1.0, 0.5, 0.1], dtype=torch.float64)

    def sample(self, like, *, generator=None):
        u = uniform(like.new_empty(len(like)), generator=None if self.fault == "global" else generator)
        match self.fault:
            case "batch":
                u = u[:1].expand(len(like))
            case "short":
                u = u * 2 / 3
            case "between":
                return 0.1 + 0.9 * u
            case "outside":
                return 2 * self.levels().to(like)[(u * 3).long()]
        drawn = self.levels().to(like)[(u * 3).long()]
        return drawn.double() if self.fault == "double" else drawn


@dataclass(frozen=True)
class BadStep(StepSize):
    fault: str

    def __call__(self, sigma, point):
        match self.fault:
            case "undeclared":
                return 1 / (1 + point.x.square().flatten(1).sum(1))
            case "negative":
                return point.x.new_full((), sigma - 0.3)
            case "double":
                return torch.tensor(0.1, dtype=torch.float64)
            case "shape":
                return point.x.new_full((len(point.x), 1), 0.1)
        raise ValueError(self.fault)


@dataclass(frozen=True)
class BadMetric(Metric):
    fault: str

    def __call__(self, x, reference, *, generator=None):
        distance = (x.mean(0) - reference.mean(0)).norm()
        match self.fault:
            case "similarity":
                return 1 / (1 + distance.item())
            case "constant":
                return 1.0
            case "tensor":
                return distance
            case "paired":
                return (x - reference).norm().item() / len(x)
            case "infinite":
                return math.inf
            case "copies":
                return distance.item() + (torch.cdist(x, reference) == 0).double().mean().item() * len(x)
            case "cancelling":
                return ((x + 1e6).square().mean() - (reference + 1e6).square().mean()).abs().item()
            case "global":
                return distance.item() + 1e-3 * torch.rand(()).item()
        raise ValueError(self.fault)


@dataclass(frozen=True)
class BadStart(Start):
    fault: str

    def draw(self, like, sigma, *, family=None, generator=None):
        match self.fault:
            case "one":
                return sigma * normal(like[:1], generator=generator).expand_as(like)
            case "global":
                return sigma * torch.randn_like(like)
            case "double":
                return sigma * normal(like.double(), generator=generator)
            case "overflow":
                return sigma * normal(like, generator=generator) * torch.inf
            case "values":
                return like + sigma * normal(like, generator=generator)
        raise ValueError(self.fault)


@dataclass(frozen=True)
class Quadrature(LineIntegral):
    """Weights of the two ends."""

    first: float = 0.5
    last: float = 0.5

    def __call__(self, path):
        terms = [sum_event((self.first * a.score + self.last * b.score) * (b.x - a.x)) for a, b in pairwise(path)]
        total = sum(terms[1:], terms[0])
        return total, torch.ones_like(total, dtype=torch.bool)


@dataclass(frozen=True)
class BadDensity(Density):
    """A standard normal in two dimensions; each fault is in one of its parts."""

    fault: str

    @property
    def event_shape(self):
        return (2,)

    @property
    def moments(self):
        size = 3 if self.fault == "wide moments" else 2
        return torch.full((size,), 0.1 * (self.fault == "mean")), torch.full((size,), 1.0 + (self.fault == "moments"))

    def _variance(self, x, sigma):
        v = torch.ones((), dtype=x.dtype) + (0 if self.fault == "clean" else sigma**2)
        return v if self.fault == "broadcast" else expand(v, x)

    def log_prob(self, x, sigma=0.0):
        return -sum_event(x.square() / self._variance(x, sigma)) / (1 if self.fault == "half" else 2)

    def score(self, x, sigma=0.0):
        return -x / self._variance(x, sigma)

    def draw(self, like, sigma, *, generator=None):
        z = normal(like, generator=generator)
        std = (1 + sigma) if self.fault == "stds add" else (1 + sigma**2) ** 0.5
        return z[:1].expand_as(z) if self.fault == "one draw" else std * z


class BadFamily(TargetFamily):
    """A standard normal; each fault is in one of its parts."""

    def __init__(self, fault: str):
        self.fault = fault

    def at(self, sigma, *, like=None, generator=None):
        v = 1 + sigma**2
        sign = 1.0 if self.fault == "sign" else -1.0
        mean = (lambda x: x.mean(0, keepdim=True)) if self.fault == "batch" else (lambda x: 0.0)
        project = (lambda x: x + 0.5) if self.fault == "projection" else (lambda x: x)
        score = (lambda x: x * torch.nan) if self.fault == "nan" else (lambda x: -(x - mean(x)) / v)

        def log_prob(x: Tensor) -> Tensor:
            return sign * sum_event((x - mean(x)).square()) / 2 / v

        both = (lambda x: (log_prob(x) + 1, score(x))) if self.fault == "both" else None
        return Target(score, log_prob, both, project=project)


class BadNet(nn.Module):
    def __init__(self, fault: str, width: int = 4):
        super().__init__()
        self.fault, self.width = fault, width + (fault == "argument")
        self.first, self.last = nn.Linear(2, width), nn.Linear(width, 2)
        self.hidden = torch.rand(()).item() if fault == "hidden" else 1.0
        self.norm, self.idle = nn.BatchNorm1d(width, track_running_stats=False), nn.Linear(2, 2)

    def forward(self, x, sigma):
        h = self.first(x).tanh()
        h = self.norm(h) if self.fault == "batch norm" else h
        if self.fault == "dropout":
            h = nn.functional.dropout(h, training=True)
        y = self.hidden * self.last(h) / expand(1 + sigma, x) + (0 if self.fault == "idle" else self.idle(x))
        y = y + (0 if self.fault == "batch norm" else sum(p.sum() for p in self.norm.parameters()))
        return y.sum(1) if self.fault == "sum" else y


class BadModel(ScoreModel):
    def __init__(self, fault: str):
        super().__init__()
        self.fault, self.linear = fault, nn.Linear(2, 2)

    def forward(self, x: Tensor, sigma: Tensor, condition: Tensor | None = None) -> Tensor:
        scale = sigma.mean() if self.fault == "batch" else expand(1 + sigma, x)
        y = self.linear(x) / scale
        if self.fault == "autograd":
            with torch.enable_grad():
                leaf = x.detach().requires_grad_()
                y = y + torch.autograd.grad(leaf.sin().sum(), leaf)[0]
        return y.float() if self.fault == "float" else y

    def at(self, sigma: float, *, like: Tensor | None = None, generator: Generator = None) -> Target:
        level = sigma**2 if self.fault == "variance" else sigma
        return Target(lambda x: self(x, x.new_full((len(x),), level)))

    @property
    def moments(self) -> tuple[Tensor, Tensor] | None:
        return (torch.zeros(2), torch.ones(2)) if self.fault == "moments" else super().moments

    @property
    def min_sigma(self) -> float:
        return 0.5 if self.fault == "min_sigma" else 0.0


@dataclass(frozen=True)
class BadSampler(Sampler):
    """Langevin dynamics; each fault is in the bookkeeping, or in the noise."""

    fault: str
    num_steps: int = 100

    def initial(self, shape, *, family=None, generator=None, device=None, dtype=None):
        x = normal(torch.empty(shape, device=device, dtype=dtype), generator=generator)
        return x.float() if self.fault == "float" else x

    def num_updates(self):
        return self.num_steps - (self.fault == "count")

    def steps(self, family, x, *, generator=None):
        target = family.at(0.0)
        for i in range(self.num_steps):
            if self.fault == "autograd":
                with torch.no_grad():
                    yield sk.base.Step(x, 0.0, None, "step")
            if self.fault == "in place" and i == 0:
                x.add_(1)
            h = 0.1 / (1 + target.score(x).square().mean()) if self.fault == "batch" else torch.tensor(0.1).to(x)
            noise = 1.0 if self.fault == "noise" else 2.0
            x = x + h * target.score(x) + (noise * h).sqrt() * normal(x, generator=generator)
            yield sk.base.Step(x, float(i) if self.fault == "rising" else 0.0, None, "step")


def net(fault: str) -> Callable[[], nn.Module]:
    return lambda: BadNet(fault)


def model(fault: str) -> Callable[[], ScoreModel]:
    return lambda: BadModel(fault)
