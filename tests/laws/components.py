"""Small components for tests: families that watch or paint, a kernel that decides, transitions with a history."""

import math
import weakref
from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any, Literal, NamedTuple, final
from unittest.mock import patch

import torch
from torch import Tensor, nn

from scorekit.base import (
    Generator,
    Info,
    Kernel,
    LineIntegral,
    Move,
    NoiseSchedule,
    Point,
    Proposal,
    Sampler,
    Step,
    StepSize,
    Target,
    TargetFamily,
    Transition,
    WrappedFamily,
    expand,
    normal,
    sum_event,
    uniform,
)


@final
class Watch(WrappedFamily):
    """Logs each call of `at` and each evaluation of the score: (sigma, grad mode, inference mode); counts the log
    densities."""

    def __init__(self, family: TargetFamily):
        self._family = family
        self.asked: list[tuple[float, Generator]] = []
        self.evaluated: list[tuple[float, bool, bool]] = []
        self.num_log_probs = 0

    @property
    def family(self) -> TargetFamily:
        return self._family

    def at(self, sigma: float, *, like: Tensor | None = None, generator: Generator = None) -> Target:
        self.asked.append((sigma, generator))
        target = self._family.at(sigma, like=like, generator=generator)

        def score(x: Tensor) -> Tensor:
            self.evaluated.append((sigma, torch.is_grad_enabled(), torch.is_inference_mode_enabled()))
            return target.score(x)

        def log_prob(x: Tensor) -> Tensor:
            self.num_log_probs += 1
            return target.log_prob(x)

        known = None if target.log_prob is None else log_prob
        return Target(score, known, target.value_and_score, target.project)

    def calls(self) -> list[tuple[float, int]]:
        """Runs of evaluations at one level: [(sigma, how many), ...]."""
        runs: list[tuple[float, int]] = []
        for sigma, _, _ in self.evaluated:
            runs = [*runs[:-1], (sigma, runs[-1][1] + 1)] if runs and runs[-1][0] == sigma else [*runs, (sigma, 1)]
        return runs


@final
class Paint(WrappedFamily):
    """Known coordinates: `mask` (*E) of ones where x must equal the observation y plus sigma times fresh noise."""

    def __init__(self, family: TargetFamily, mask: Tensor, y: Tensor, refresh: Literal["level", "step"] = "level"):
        self._family, self.mask, self.y, self._refresh = family, mask, y, refresh
        self.observed: list[tuple[float, Tensor]] = []
        self.evaluated_on_it: list[bool] = []

    @property
    def family(self) -> TargetFamily:
        return self._family

    @property
    def refresh(self) -> Literal["level", "step"]:
        return self._refresh

    def at(self, sigma: float, *, like: Tensor | None = None, generator: Generator = None) -> Target:
        if like is None:
            raise ValueError("Paint draws one observation for each chain: it needs like=")
        target, known = self._family.at(sigma, like=like, generator=generator), self.mask.bool()
        y = self.y + sigma * normal(like, generator=generator) if sigma > 0 else self.y.expand_as(like)
        self.observed.append((sigma, y))

        def score(x: Tensor) -> Tensor:
            self.evaluated_on_it.append(torch.equal(x, torch.where(known, y.to(x), x)))
            return torch.where(known, 0.0, target.score(x))

        return Target(
            score,
            target.log_prob,  # of the joint density: the known coordinates add a constant
            project=lambda x: torch.where(known, y.to(x), x),
        )


class Decided(NamedTuple):
    """x with its log density and the number of steps made: fields beyond those that a Point knows."""

    x: Tensor
    log_prob: Tensor
    made: Tensor


@final
@dataclass(frozen=True)
class Deciding(Kernel[Decided]):
    """A random walk with Metropolis's decision: exact at any step size, for targets with a log_prob."""

    def init(self, point: Point, *, generator: Generator = None) -> Decided:
        return Decided(point.x, point.log_prob, torch.zeros_like(point.log_prob))

    def step(
        self, point: Point, state: Decided, step_size: Tensor, *, generator: Generator = None
    ) -> tuple[Decided, Info | None]:
        noise = (2 * expand(step_size, point.x)).sqrt() * normal(point.x, generator=generator)
        proposed = point.target.point(point.x + noise)
        log_accept = proposed.log_prob - point.log_prob
        accepted = uniform(log_accept, generator=generator) < log_accept.exp()
        x = torch.where(expand(accepted, point.x).bool(), proposed.x, point.x)
        info = Info(accepted, log_accept, ~log_accept.isfinite(), torch.ones_like(accepted), -log_accept)
        return Decided(x, torch.where(accepted, proposed.log_prob, point.log_prob), state.made + 1), info


class Kicked(NamedTuple):
    """x with a velocity."""

    x: Tensor
    velocity: Tensor


@final
@dataclass(frozen=True)
class Kick(Kernel[Kicked]):
    """x + sqrt(h) v, v redrawn by half: a kernel that draws in `init` as well."""

    def init(self, point: Point, *, generator: Generator = None) -> Kicked:
        return Kicked(point.x, normal(point.x, generator=generator))

    def step(
        self, point: Point, state: Kicked, step_size: Tensor, *, generator: Generator = None
    ) -> tuple[Kicked, Info | None]:
        moved = point.target.point(point.x + expand(step_size, point.x).sqrt() * state.velocity)
        return Kicked(moved.x, (state.velocity + normal(point.x, generator=generator)) / 2), None


@final
@dataclass(frozen=True)
class Jitter(Transition):
    """x + sigma_from z: a transition that draws."""

    def move(
        self, family: TargetFamily, point: Point, target: Target, sigma_from: float, sigma_to: float, carry: Any = None,
        *, generator: Generator = None,
    ) -> tuple[Tensor, Any]:  # fmt: skip
        return point.x + sigma_from * normal(point.x, generator=generator), None


@final
@dataclass(frozen=True)
class Shrink(Transition):
    """x sigma_to / sigma_from, deterministic; its history counts the moves."""

    def move(
        self, family: TargetFamily, point: Point, target: Target, sigma_from: float, sigma_to: float, carry: Any = None,
        *, generator: Generator = None,
    ) -> tuple[Tensor, Any]:  # fmt: skip
        return point.x * (sigma_to / sigma_from), (0 if carry is None else carry) + 1


@final
@dataclass(frozen=True)
class Levels(NoiseSchedule):
    """Whatever levels a test wants, in whatever order."""

    values: tuple[float, ...]

    def levels(self) -> Tensor:
        return torch.tensor(self.values, dtype=torch.float64)

    def sample(self, like: Tensor, *, generator: Generator = None) -> Tensor:
        return like.new_full((like.shape[0],), self.values[0])


@final
@dataclass(frozen=True)
class Power(StepSize):
    """h = scale sigma^exponent."""

    scale: float
    exponent: float

    def __call__(self, sigma: float, point: Point) -> Tensor:
        return point.x.new_full((), self.scale * sigma**self.exponent)


@final
@dataclass(frozen=True)
class SignalToNoise(StepSize):
    """h from each chain's own |s| and |z|, or (the published code) from their mean over the batch."""

    ratio: float
    mean_over_batch: bool = False
    uses_point = True

    def __call__(self, sigma: float, point: Point) -> Tensor:
        norm = point.score.flatten(1).norm(dim=1)
        if self.mean_over_batch:
            norm = norm.mean().expand_as(norm)
        return (self.ratio * math.sqrt(point.x[0].numel()) / norm).square()


@final
@dataclass(frozen=True)
class Drift(Proposal):
    """x + a h s + sqrt(b h) z: Langevin's move for a = 1, b = 2; other factors, and the switches, are faults.

    Args:
        drift: a.
        noise: b.
        shared: one z for all chains.
        stale: the score of the point before.
        quiet_at: the number of the call that adds no noise.
    """

    drift: float = 1.0
    noise: float = 2.0
    shared: bool = False
    stale: bool = False
    quiet_at: int | None = None
    _scores: list[Tensor] = field(default_factory=list, compare=False, repr=False)

    def propose(self, point: Point, step_size: Tensor, *, generator: Generator = None) -> Move:
        h = expand(step_size, point.x)
        self._scores.append(point.score)
        score = self._scores[-2] if self.stale and len(self._scores) > 1 else point.score
        z = normal(point.x[:1] if self.shared else point.x, generator=generator)
        noise = 0.0 if self.quiet_at == len(self._scores) else self.noise
        return Move((point, point.target.point(point.x + self.drift * h * score + (noise * h).sqrt() * z)))

    def log_q_ratio(self, move: Move, step_size: Tensor) -> Tensor:
        raise TypeError("a fault has no ratio")


@final
@dataclass(frozen=True)
class Trapezoid(LineIntegral):
    """The trapezoid rule: exact on Gaussians alone."""

    def __call__(self, path: tuple[Point, ...]) -> tuple[Tensor, Tensor]:
        total = torch.stack([sum_event((a.score + b.score) / 2 * (b.x - a.x)) for a, b in pairwise(path)]).sum(0)
        return total, torch.ones_like(total, dtype=torch.bool)


@final
class Relabel(WrappedFamily):
    """A family asked at f(sigma) instead of sigma."""

    def __init__(self, family: TargetFamily, labels: dict[float, float]):
        self._family, self.labels = family, labels

    @property
    def family(self) -> TargetFamily:
        return self._family

    def at(self, sigma: float, *, like: Tensor | None = None, generator: Generator = None) -> Target:
        return self._family.at(self.labels.get(sigma, sigma), like=like, generator=generator)


@final
class Tracked(Sampler):
    """A sampler whose steps are counted while they are alive, by weak references to their x."""

    def __init__(self, sampler: Sampler, alive: list[int]):
        self.sampler, self.alive = sampler, alive

    def initial(self, shape: tuple[int, ...], **kwargs: Any) -> Tensor:
        return self.sampler.initial(shape, **kwargs)

    def num_updates(self) -> int:
        return self.sampler.num_updates()

    def steps(self, family: TargetFamily, x: Tensor, *, generator: Generator = None) -> Iterator[Step]:
        made: list[weakref.ref[Tensor]] = []
        for step in self.sampler.steps(family, x, generator=generator):
            made.append(weakref.ref(step.x))
            self.alive.append(sum(reference() is not None for reference in made))
            yield step


@final
class Moody(nn.Module):
    """A network f(x, sigma) whose submodules notice their mode; dropout makes evaluation mode matter."""

    def __init__(self, fails: bool = False):
        super().__init__()
        self.inner, self.frozen, self.fails = nn.Dropout(0.5), nn.Sequential(nn.Dropout(0.5)), fails
        self.frozen.eval()
        self.scale = nn.Parameter(torch.ones(()))
        self.modes: list[tuple[bool, ...]] = []

    def forward(self, x: Tensor, sigma: Tensor) -> Tensor:
        self.modes.append(tuple(module.training for module in self.modules()))
        if self.fails and len(self.modes) > 2:
            raise ArithmeticError("planted")
        return -self.scale * self.frozen(self.inner(x)) / expand(1 + sigma**2, x)


@final
class Play:
    """Within it, what proposals draw by `normal` is z."""

    def __init__(self, z: Tensor):
        self._patches = [
            patch(f"{module}.normal", lambda like, *, generator=None: z)
            for module in ("scorekit.proposals", "scorekit.base.sampling")
        ]

    def __enter__(self) -> None:
        for each in self._patches:
            each.start()

    def __exit__(self, *raised: object) -> None:
        for each in self._patches:
            each.stop()
