"""The conformance kit: every built-in component passes its check, and each check rejects what is broken."""

import math
from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import dataclass, field
from functools import partial
from itertools import pairwise
from typing import Any, NamedTuple

import pytest
import torch
from torch import Tensor, nn

import scorekit as sk
from scorekit import testing
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
    Transition,
    expand,
    normal,
    rademacher,
    sum_event,
    uniform,
)
from scorekit.densities import Density
from scorekit.hookspecs import KINDS
from scorekit.kernels import Evaluated, Position
from scorekit.networks import MLP, ScalarMLP
from scorekit.registry import Registry
from scorekit.testing import ConformanceError
from scorekit.testing.statistics import hotelling
from scorekit.testing.targets import gauss3
from tests.laws.components import SignalToNoise
from tests.laws.flows import OneStage

COARSE, FINE = sk.Geometric(2.0, 0.5, 8), sk.Geometric(5.0, 0.05, 40)
CHECKS: dict[str, Callable[..., None]] = {
    "noise_schedules": testing.check_noise_schedule,
    "estimators": testing.check_estimator,
    "models": testing.check_model,
    "networks": testing.check_network,
    "proposals": testing.check_proposal,
    "line_integrals": testing.check_line_integral,
    "kernels": testing.check_kernel,
    "step_sizes": testing.check_step_size,
    "transitions": testing.check_transition,
    "starts": testing.check_start,
    "samplers": testing.check_sampler,
    "densities": testing.check_density,
    "metrics": testing.check_metric,
}
FLAT = {"event_shape": (2,)}
# The parameters that a component needs, and what its check has to be told. A module's check takes a factory.
ARGUMENTS: dict[tuple[str, str], tuple[dict[str, Any], dict[str, Any]]] = {
    ("noise_schedules", "single-level"): ({"sigma": 0.3}, {}),
    ("noise_schedules", "levels"): ({"values": (2.0, 0.5, 0.0)}, {}),
    ("estimators", "explicit"): ({"density": gauss3()}, {"density": gauss3()}),
    ("models", "direct-score"): ({"net": lambda: MLP((2,))}, FLAT),
    ("models", "scaled-score"): ({"net": lambda: MLP((2,))}, FLAT),
    ("models", "denoiser"): ({"net": lambda: MLP((2,))}, FLAT),
    ("models", "energy"): ({"net": lambda: ScalarMLP((2,))}, FLAT),
    ("models", "round-to-levels"): ({"model": lambda: sk.DirectScore(MLP((2,)), COARSE)}, FLAT),
    ("networks", "refinenet"): (
        {"image_shape": (1, 8, 8), "noise": COARSE, "width": 4},
        {"event_shape": (1, 8, 8), "levels": (2.0, 0.5)},
    ),
    ("networks", "mlp"): ({"event_shape": (2, 3)}, {"event_shape": (2, 3)}),
    ("networks", "scalar-mlp"): ({"event_shape": (2, 3)}, {"event_shape": (2, 3), "output": "energy"}),
    ("networks", "inner-product"): ({"net": lambda: MLP((4,))}, {"event_shape": (4,), "output": "energy"}),
    ("line_integrals", "free-cubic"): ({}, {"step_size": 0.03}),  # at .1 its own error shows
    ("kernels", "unadjusted"): ({"proposal": sk.Langevin()}, {}),
    ("kernels", "metropolis-adjusted"): ({"proposal": sk.Langevin()}, {"score_only": True}),
    ("step_sizes", "constant"): ({"step_size": 0.1}, {}),
    ("step_sizes", "table"): ({"levels": (1.0, 0.5), "step_sizes": (0.2, 0.1)}, {"levels": (1.0, 0.5)}),
    ("step_sizes", "per-coordinate"): ({"step_size": sk.SNR(), "scale": (1.0, 2.0)}, FLAT),
    ("transitions", "stay"): ({}, {"follows": False}),
    ("samplers", "langevin"): ({"step_size": 0.05, "num_steps": 150}, {}),
    ("samplers", "mala"): ({"step_size": 0.2, "num_steps": 40}, {}),
    ("samplers", "hmc"): ({"step_size": 0.1, "num_steps": 30}, {}),
    ("samplers", "random-walk"): ({"step_size": 0.2, "num_steps": 100}, {}),
    ("samplers", "annealed-langevin"): ({"noise": COARSE, "steps_per_level": 10}, {}),
    ("samplers", "annealed-mala"): ({"noise": COARSE, "steps_per_level": 10}, {}),
    ("samplers", "annealed-hmc"): ({"noise": COARSE, "steps_per_level": 5}, {}),
    ("samplers", "predictor-corrector"): (
        {"noise": FINE, "step_size": sk.SigmaSquared(), "steps_per_level": 1},
        {},
    ),
    ("samplers", "annealed-mcmc"): (
        {"kernel": sk.Unadjusted(sk.Langevin()), "noise": COARSE, "steps_per_level": 2, "transition": sk.Heun()},
        {},
    ),
    **{("samplers", name): ({"noise": FINE}, {}) for name in ("ancestral", "reverse-diffusion", "heun", "dpm-solver")},
    ("densities", "gaussian"): ({"mean": ((0.0, 1.0), (2.0, 0.5))}, {}),
    ("densities", "gaussian-mixture"): ({"means": ((0.0, 1.0), (2.0, 3.0))}, {}),
    ("densities", "fig3-mixture"): ({}, {"levels": (0.5, 1.0)}),  # point masses
    ("densities", "box"): ({"low": (0.0, -1.0), "high": (1.0, 2.0)}, {"bounded": True}),
    ("densities", "checkerboard"): ({}, {"bounded": True}),
    ("densities", "banana"): ({}, {"levels": (0.0,)}),
    ("densities", "funnel"): ({}, {"levels": (0.0,)}),
    ("densities", "log-gamma"): ({}, {"levels": (0.0,)}),
    ("densities", "exponential"): ({}, {"levels": (0.0,), "bounded": True}),
    ("metrics", "mode-weight-error"): ({"means": ((-2.0, 0.0), (2.0, 0.0))}, {}),
}
CELLS = [(kind, name) for kind in KINDS for name in Registry().names(kind)]


def made(kind: str, name: str) -> Any:
    """The component; a factory for a module, so that its parts are new as well."""
    params, _ = ARGUMENTS.get((kind, name), ({}, {}))
    if kind not in ("models", "networks"):
        return Registry().make(kind, name, **params)
    return lambda: Registry().make(
        kind, name, **{key: value() if callable(value) else value for key, value in params.items()}
    )


def test_there_is_a_check_for_every_hook_and_a_cell_for_every_component():
    assert CHECKS.keys() == KINDS.keys()
    assert len(CELLS) == 70
    assert ARGUMENTS.keys() <= set(CELLS)


@pytest.mark.parametrize(("kind", "name"), CELLS, ids=lambda part: part)
def test_every_built_in_component_passes_its_check(kind, name):
    _, options = ARGUMENTS.get((kind, name), ({}, {}))
    CHECKS[kind](made(kind, name), **options)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("check", "component", "options"),
    [
        (testing.check_estimator, sk.DenoisingScoreMatching("antithetic"), {}),
        (testing.check_estimator, sk.DenoisingScoreMatching("control_variate"), {}),
        (testing.check_estimator, sk.SlicedScoreMatching(False), {}),
        (testing.check_kernel, sk.MetropolisAdjusted(sk.Hamiltonian(3)), {"score_only": True}),
        (testing.check_kernel, sk.MetropolisAdjusted(sk.RandomWalk()), {}),
        (testing.check_kernel, sk.Unadjusted(sk.Hamiltonian(1, 0.0)), {}),
        (testing.check_transition, sk.DPMSolverMultistep(0.0), {}),
        (testing.check_line_integral, sk.GaussLobatto(5), {}),
        (testing.check_noise_schedule, sk.SingleLevel(0.0), {}),
    ],
    ids=repr,
)
def test_their_options_pass_too(check, component, options):
    check(component, **options)


def test_families_made_of_functions_pass():
    testing.check_target_family(sk.from_score(lambda x, sigma: -x / (1 + sigma**2)), event_shape=(2, 3))
    potential = sk.from_log_prob(lambda x, sigma: -sum_event(x.square()) / 2 / (1 + sigma**2))
    testing.check_target_family(potential, event_shape=(2, 3))
    testing.check_target_family(sk.densities.TwoMoons(), event_shape=(2,))


# ---------------------------------------------------------------------------------------------------- broken components


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


NETWORK = partial(testing.check_network, event_shape=(2,))
MODEL = partial(testing.check_model, event_shape=(2,))
FAMILY = partial(testing.check_target_family, event_shape=(2,))
BATCH, GLOBAL = "a row depends on no other row", "the global random state is left alone"
BROKEN: list[tuple[Callable[..., None], Any, str]] = [
    (testing.check_noise_schedule, BadSchedule("rising"), "levels decrease"),
    (testing.check_noise_schedule, BadSchedule("single"), "levels decrease"),
    (testing.check_noise_schedule, BadSchedule("shared"), "levels() gives a copy"),
    (testing.check_noise_schedule, BadSchedule("global"), GLOBAL),
    (testing.check_noise_schedule, BadSchedule("batch"), "each row draws its own sigma"),
    (testing.check_noise_schedule, BadSchedule("short"), "training draws every level"),
    (testing.check_noise_schedule, BadSchedule("between"), "training draws are levels"),
    (testing.check_noise_schedule, BadSchedule("outside"), "training draws lie between the ends"),
    (testing.check_noise_schedule, BadSchedule("double"), "the type of a training draw"),
    (testing.check_estimator, Regression("sign"), "the Fisher divergence and a constant"),
    (testing.check_estimator, Regression("half"), "the Fisher divergence and a constant"),
    (testing.check_estimator, Regression("mean"), "the Fisher divergence and a constant"),
    (testing.check_estimator, Regression("batch"), BATCH),
    (testing.check_estimator, Regression("axis"), "the shape of a result for (3, 4, 5)"),
    (testing.check_estimator, Regression("absolute", False), "the Fisher divergence and a constant"),
    (testing.check_estimator, Regression("probe", False), BATCH),
    (testing.check_estimator, Regression("detached", False), "stationary at the true score"),
    (testing.check_estimator, Regression("undeclared", False), "needs_noise tells the truth"),
    (testing.check_estimator, Regression("borrowed", False), "the same value under no_grad"),
    (testing.check_proposal, Doubled(ratio=0.0), "stationary on gauss3"),
    (testing.check_proposal, Doubled(ratio=-1.0), "stationary on gauss3"),
    (testing.check_proposal, Doubled(noise=0.5**0.5), "stationary on gauss3"),
    (testing.check_proposal, Doubled(global_state=True), GLOBAL),
    (testing.check_proposal, Doubled(in_place=True), "inputs stay as they are"),
    (testing.check_proposal, Doubled(batch=True), BATCH),
    (testing.check_proposal, Doubled(last_axis=True), "the event's shape is nothing to it"),
    (testing.check_proposal, Doubled(double=True), "the type of a proposed state"),
    (testing.check_proposal, Doubled(unprojected=True), "every point is projected"),
    (testing.check_proposal, StaleRatio(), "the log ratios of a move and of its reverse cancel"),
    (testing.check_proposal, BadMove("segments"), "the path has num_segments segments"),
    (testing.check_proposal, BadMove("backwards"), "the path starts at the current point"),
    (testing.check_proposal, BadMove("unexpanded"), "h may be (), (B,) or (B, *E)"),
    (testing.check_proposal, Unannounced(), "needs_score tells the truth"),
    (testing.check_kernel, Faulty("early"), "init starts at the point"),
    (testing.check_kernel, Faulty("renamed"), "init and step give one kind of state"),
    (testing.check_kernel, Faulty("reluctant"), "accepted with probability min(1, e^r) on gauss3"),
    (testing.check_kernel, Faulty("frozen"), "the chains move"),
    (testing.check_kernel, Faulty("always"), "stationary on gauss3"),
    (testing.check_kernel, Faulty("stale"), "stationary on gauss3"),
    (testing.check_kernel, Faulty("negated"), "accepted moves are made"),
    (testing.check_kernel, Faulty("silent"), "a kernel that decides says what"),
    (testing.check_kernel, Faulty("shape"), "the shape of Info.log_accept"),
    (testing.check_kernel, Faulty("mean"), "detailed balance on gauss3"),
    (testing.check_kernel, WrongNoise(), "stationary on gauss3 as h -> 0"),
    (testing.check_kernel, sk.Unadjusted(sk.RandomWalk()), "stationary on gauss3 as h -> 0"),
    (testing.check_kernel, sk.Unadjusted(Doubled(drift=0.5)), "stationary on gauss3 as h -> 0"),
    (testing.check_line_integral, Quadrature(), "Metropolis is stationary on loggamma2"),
    (testing.check_line_integral, Quadrature(1.0, 0.0), "reversal of the path changes the sign"),
    (testing.check_line_integral, Quadrature(0.25, 0.25), "exact for a constant score"),
    (testing.check_step_size, SignalToNoise(0.1, mean_over_batch=True), BATCH),
    (testing.check_step_size, BadStep("undeclared"), "uses_point tells the truth"),
    (testing.check_step_size, BadStep("negative"), "0 < h < inf at sigma = 0.1"),
    (testing.check_step_size, BadStep("double"), "the type of h"),
    (testing.check_step_size, BadStep("shape"), "the shape of h"),
    (testing.check_start, BadStart("one"), BATCH),
    (testing.check_start, BadStart("global"), GLOBAL),
    (testing.check_start, BadStart("double"), "the type of the initial chains"),
    (testing.check_start, BadStart("overflow"), "initial chains are finite"),
    (testing.check_start, BadStart("values"), "`like` gives shape, type and device only"),
    (testing.check_sampler, BadSampler("float"), "the type of the initial chains"),
    (testing.check_sampler, BadSampler("count"), "num_updates() is the most that steps yields"),
    (testing.check_sampler, BadSampler("autograd"), "autograd stays as the caller has it"),
    (testing.check_sampler, BadSampler("in place"), "the initial chains stay as they are"),
    (testing.check_sampler, BadSampler("rising"), "levels do not rise"),
    (testing.check_sampler, BadSampler("batch"), BATCH),
    (testing.check_sampler, BadSampler("noise"), "the last states have the family's law"),
    (testing.check_sampler, sk.langevin(step_size=0.01, num_steps=5, start=sk.Uniform()), "the last states"),
    (testing.check_density, BadDensity("half"), "the score is the gradient of log_prob"),
    (testing.check_density, BadDensity("stds add"), "draws at sigma = 0.5 have the score's law"),
    (testing.check_density, BadDensity("clean"), "draws at sigma = 0.5 have the score's law"),
    (testing.check_density, BadDensity("one draw"), BATCH),
    (testing.check_density, BadDensity("broadcast"), "score takes sigma as a float or (B,)"),
    (testing.check_density, BadDensity("moments"), "the variance of the draws is that of moments"),
    (testing.check_density, BadDensity("mean"), "the mean of the draws is that of moments"),
    (testing.check_density, BadDensity("wide moments"), "moments broadcast to the event"),
    (FAMILY, BadFamily("nan"), "the score is a number"),
    (FAMILY, BadFamily("both"), "value_and_score is log_prob and score"),
    (FAMILY, BadFamily("sign"), "the score is the gradient of log_prob"),
    (FAMILY, BadFamily("batch"), BATCH),
    (FAMILY, BadFamily("projection"), "a projected state is its own projection"),
    (testing.check_metric, BadMetric("similarity"), "a shift by one std is further away"),
    (testing.check_metric, BadMetric("constant"), "a shift by one std is further away"),
    (testing.check_metric, BadMetric("tensor"), "the value is a float"),
    (testing.check_metric, BadMetric("infinite"), "the value is a float"),
    (testing.check_metric, BadMetric("cancelling"), "samples in float32 have the value of those in float64"),
    (testing.check_metric, BadMetric("copies"), "a sample is nearest to itself"),
    (testing.check_metric, BadMetric("paired"), "the order of the rows is nothing to it"),
    (testing.check_metric, BadMetric("global"), GLOBAL),
    (NETWORK, net("batch norm"), BATCH),
    (NETWORK, net("dropout"), GLOBAL),
    (NETWORK, net("idle"), "the gradient reaches every parameter"),
    (NETWORK, net("argument"), "from_config undoes to_config"),
    (NETWORK, net("hidden"), "with its weights the made module is this one"),
    (NETWORK, net("sum"), "the shape of the output"),
    (MODEL, model("batch"), BATCH),
    (MODEL, model("float"), "the type of the score"),
    (MODEL, model("autograd"), "inference_mode tells the truth"),
    (MODEL, model("moments"), "the moments travel with the weights"),
    (MODEL, model("variance"), "at(0.3).score is forward"),
]
TRANSITIONS = {
    "drift twice, no noise": OneStage(lambda a, b: a**2 - b**2),
    "noise without its drift": OneStage(lambda a, b: a * (a - b), lambda a, b: (a**2 - b**2) ** 0.5),
    "sign": OneStage(lambda a, b: -a * (a - b)),
    "sigma for sigma^2": OneStage(lambda a, b: a - b),
}


@pytest.mark.parametrize(
    ("check", "component", "law"), BROKEN, ids=[f"{i}-{law[:30]}" for i, (_, _, law) in enumerate(BROKEN)]
)
def test_a_broken_component_is_rejected_by_the_law_that_it_breaks(check, component, law):
    with pytest.raises(ConformanceError) as caught:
        check(component)
    assert caught.value.law.startswith(law), str(caught.value)
    assert caught.value.hint in str(caught.value)


@pytest.mark.parametrize("name", TRANSITIONS)
def test_a_broken_transition_is_rejected(name):
    with pytest.raises(ConformanceError, match="end with the law of the last one"):
        testing.check_transition(TRANSITIONS[name])


def test_a_final_move_that_is_no_posterior_mean_is_rejected():
    @dataclass(frozen=True)
    class Final(Transition):
        power: int = 1
        only_final = True

        def move(self, family, point, target, sigma_from, sigma_to, carry=None, *, generator=None):
            return point.x + sigma_from**self.power * point.score, None

    with pytest.raises(ConformanceError, match="posterior mean"):
        testing.check_transition(Final())
    testing.check_transition(Final(2))


def test_a_model_is_asked_where_it_is_valid():
    with pytest.raises(ValueError, match=r"sigma = 0\.3 is below"):
        testing.check_model(model("min_sigma"), event_shape=(2,))


def test_a_component_without_a_configuration_is_rejected():
    @dataclass(frozen=True)
    class Tabled(StepSize):
        table: list = field(default_factory=lambda: [0.1])

        def __call__(self, sigma, point):
            return point.x.new_full((), self.table[0])

    with pytest.raises(ConformanceError, match="from_config undoes to_config"):
        testing.check_step_size(Tabled())


def test_a_density_made_of_data_need_not_be_configuration():
    """`Empirical`: the library's own, and its check must not be one that it cannot pass."""
    given = sk.densities.Empirical(torch.tensor([[0.0, 1.0], [2.0, -1.0], [0.5, 0.5]], dtype=torch.float64), std=0.2)
    testing.check_density(given, configurable=False)
    with pytest.raises(ConformanceError, match="is not configuration"):
        testing.check_density(given)


def test_the_right_twins_pass():
    """What the broken components are without a fault."""
    testing.check_proposal(Doubled())
    testing.check_noise_schedule(BadSchedule("none"))
    testing.check_proposal(BadMove("none"))
    testing.check_estimator(Regression("none"))
    testing.check_estimator(Regression("none", False))
    testing.check_density(BadDensity("none"))
    FAMILY(BadFamily("none"))
    NETWORK(net("none"))
    MODEL(model("none"))
    testing.check_sampler(BadSampler("none"))


def test_what_leaves_nothing_to_chance_has_a_p_value():
    """A kernel that accepts every move, say: no covariance to divide by."""
    assert hotelling(torch.zeros(9, 2)) == 1
    assert hotelling(torch.full((9, 2), torch.nan)) == 0


def test_a_check_leaves_the_global_random_state_alone():
    before = torch.get_rng_state()
    NETWORK(net("none"))
    MODEL(model("none"))
    assert torch.equal(torch.get_rng_state(), before)


def test_an_error_says_what_was_found_and_why():
    with pytest.raises(ConformanceError) as caught:
        testing.check_step_size(BadStep("negative"))
    assert str(caught.value) == (
        "check_step_size(BadStep(fault='negative')) breaks the law '0 < h < inf at sigma = 0.1': h = -0.2; expected a "
        "positive, finite step. Usual cause: a difference that changes its sign, or a division by 0"
    )
    assert isinstance(caught.value, AssertionError)
