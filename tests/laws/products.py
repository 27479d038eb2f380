r"""The cross product: every registered estimator, each parametrisation, every registered sampler, each schedule.

The data are .3 N(-m, s^2 I) + .7 N(m, s^2 I), m = (.9, .675), s = .5. At the last level sigma_L = .5 the modes have
the variance v = s^2 + sigma_L^2 = .5 and are 2 |m| / sqrt(v) = 3.2 standard deviations apart: far enough to tell shares
and variances, near enough that samplers at that one level, from a uniform start almost twice as wide as the data,
forget it within the 300 steps of h = .1 v that all are given (the random walk and MALA are the slowest). A wider start
would ask what nothing has learned: far from every example the score of one energy was a tenth of the exact one, and of
8,192 chains from [-6, 6]^2 some 30 to 50 never came back, with a variance of 1.2 to 1.4 v. Those samplers that go
through the levels start from N(mean, sigma_1^2 + std^2), four times as wide as the data. All are judged at sigma_L,
without a final move, by two figures that are known there whatever the overlap of the modes:

    weight      the share of the chains nearer to -m           .3 F(a) + .7 F(-a),    a = |m| / sqrt(v)
    variance    mean of sum_k r_k(x) |x - m_k|^2 / 2           v,    r the posterior probabilities of the modes

Nothing here knows a component by its name: what a parameter is given depends on what the parameter is called, and
whether a sampler is adjusted on whether its steps decide anything.
"""

import inspect
import math
import zlib
from collections.abc import Callable, Mapping
from functools import cache
from itertools import product
from typing import Any, NamedTuple

import torch
from torch import Tensor

import scorekit as sk
from scorekit.base import Estimator, Generator, NoiseSchedule, Sampler, ScoreModel, TargetFamily
from scorekit.metrics import ModeWeightError

MEAN, STD = (0.9, 0.675), 0.5
MIXTURE = sk.densities.GaussianMixture(((-MEAN[0], -MEAN[1]), MEAN), (0.3, 0.7), STD)
SIGMA_MAX, SIGMA, NUM_LEVELS = 4.0, 0.5, 50
VARIANCE = STD**2 + SIGMA**2
NUM_STEPS = 300

_ENDS: Mapping[str, Any] = {"sigma_max": SIGMA_MAX, "sigma_min": SIGMA, "num_levels": NUM_LEVELS}
SCHEDULES: Mapping[str, Mapping[str, Any]] = {  # the levels themselves in training, and a law of all sigma between
    "geometric": _ENDS,
    "log-normal": {"mean": 0.3, "std": 1.0, **_ENDS},
}
PARAMETRISATIONS: Mapping[str, Callable[[], ScoreModel]] = {
    "score": lambda: sk.ScaledScore(sk.networks.MLP((2,), 64, 3, "silu")),
    "energy": lambda: sk.EnergyModel(sk.networks.ScalarMLP((2,), 64, 3, "silu")),
}


class Learned(NamedTuple):
    """What is trained once for all samplers."""

    estimator: str
    parametrisation: str
    schedule: str


class Budget(NamedTuple):
    """How long a model is trained, and one of many runs of it."""

    num_steps: int
    batch_size: int
    learning_rate: float
    run: int = 0


class Cell(NamedTuple):
    """One of the product."""

    learned: Learned
    sampler: str

    @property
    def title(self) -> str:
        return "-".join((*self.learned, self.sampler))


def every_learned() -> list[Learned]:
    return list(map(Learned._make, product(sk.registry("estimators"), PARAMETRISATIONS, SCHEDULES)))


def every_cell() -> list[Cell]:
    return [Cell(*pair) for pair in product(every_learned(), sk.registry("samplers"))]


def thinned() -> list[Cell]:
    """Each sampler once, dealt to one model for each estimator. These take the pairs below in turn, so that two of the
    five are energies, and not of the estimators that differentiate them once more."""
    first, second = SCHEDULES
    pairs = (("energy", first), ("score", second), ("score", first), ("score", second))
    models = [Learned(name, *pairs[i % len(pairs)]) for i, name in enumerate(sk.registry("estimators"))]
    return [Cell(models[i % len(models)], name) for i, name in enumerate(sk.registry("samplers"))]


def schedule(name: str) -> NoiseSchedule:
    return sk.make("noise_schedules", name, **SCHEDULES[name])


def estimator(name: str) -> Estimator:
    return sk.make("estimators", name, **_wanted(sk.registry("estimators")[name], {"density": MIXTURE}))


def sampler(name: str, noise: NoiseSchedule) -> Sampler:
    """A registered sampler with the arguments that its signature asks for: `NUM_STEPS` moves in all, a trajectory of n
    leapfrog steps counting as n."""
    factory = sk.registry("samplers")[name]
    takes = inspect.signature(factory).parameters
    num_steps = NUM_STEPS // (takes["num_leapfrog"].default if "num_leapfrog" in takes else 1)
    offered = {
        "noise": noise,
        "sigma": SIGMA,
        "kernel": sk.MetropolisAdjusted(sk.Langevin()),
        "step_size": sk.SigmaSquared(0.2),  # .1 v at the last level
        "num_steps": num_steps,
        "steps_per_level": math.ceil(num_steps / NUM_LEVELS),
        "final": sk.Stay(),
        **({"start": sk.Uniform(-3.0, 3.0)} if "sigma" in takes else {}),
    }
    return sk.make("samplers", name, **_wanted(factory, offered))


def _wanted(factory: Callable[..., object], offered: Mapping[str, object]) -> dict[str, Any]:
    takes = inspect.signature(factory).parameters
    return {name: value for name, value in offered.items() if name in takes}


def train(learned: Learned, budget: Budget, given: Estimator | None = None) -> ScoreModel:
    """A model for one estimator (the registered one, unless another is `given`), parametrisation and schedule.

    `fit`, on 100,000 clean draws, with the weight sigma, since the lower levels have more to learn.
    """
    seed = zlib.crc32("-".join(learned).encode(), budget.run)
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        model = PARAMETRISATIONS[learned.parametrisation]()
    chosen = estimator(learned.estimator) if given is None else given
    objective = sk.Objective(model, chosen, schedule(learned.schedule), "sigma")
    data = MIXTURE.sample(100_000, generator=torch.Generator().manual_seed(seed), dtype=torch.float32)
    numbers = {name: value for name, value in budget._asdict().items() if name != "run"}
    for _ in sk.fit(objective, data, **numbers, decay="cosine", seed=seed):
        pass
    return model


@cache
def trained(learned: Learned, budget: Budget) -> ScoreModel:
    """`train`, once in a process."""
    return train(learned, budget)


def fisher_error(family: TargetFamily, generator: Generator, size: int = 4096) -> float:
    """E|s - s*|^2 / E|s*|^2 under p_sigma, s* the mixture's own score: the worst of the first, middle and last
    level."""
    errors = []
    for sigma in (SIGMA_MAX, math.sqrt(SIGMA_MAX * SIGMA), SIGMA):
        x = MIXTURE.sample(size, sigma, generator=generator, dtype=torch.float32)
        with torch.no_grad():
            true, score = MIXTURE.score(x, sigma), family.at(sigma).score(x)
        errors.append(((score - true).square().sum() / true.square().sum()).item())
    return max(errors, key=lambda error: math.inf if math.isnan(error) else error)


class Figures(NamedTuple):
    """What chains are judged by."""

    weight_error: float  # the share of the small mode less that under p_sigma
    variance_ratio: float  # within the modes, over v
    adjusted: bool  # some step decided something
    chains: int

    @property
    def weight_deviation(self) -> float:
        """Its standard error for independent chains with the right law."""
        return math.sqrt(share() * (1 - share()) / self.chains)

    @property
    def variance_deviation(self) -> float:
        """Its standard error, as for separate modes: 2 coordinates a chain."""
        return math.sqrt(1 / self.chains)


class Bounds(NamedTuple):
    """What figures must meet: |weight error| <= weight, low <= variance ratio <= high, for unadjusted samplers high +
    bias."""

    weight: float
    low: float
    high: float
    bias: float

    def complaint(self, what: str, found: Figures) -> str:
        """What is out of bounds, with the figure and its bound; nothing if all is well. NaN is out of bounds."""
        high = self.high + (0 if found.adjusted else self.bias)
        wrong = []
        if not abs(found.weight_error) <= self.weight:
            wrong.append(f"weight error {found.weight_error:+.4f}, bound {self.weight:.4f}")
        if not self.low <= found.variance_ratio <= high:
            wrong.append(f"variance ratio {found.variance_ratio:.4f}, bounds {self.low:.3f} to {high:.3f}")
        return f"{what}: {'; '.join(wrong)}" if wrong else ""


def share() -> float:
    """The share of p_sigma nearer to the small mode, at the last level."""
    a = math.hypot(*MEAN) / math.sqrt(VARIANCE)
    return 0.3 * _normal_cdf(a) + 0.7 * _normal_cdf(-a)


def _normal_cdf(a: float) -> float:
    return math.erfc(-a / math.sqrt(2)) / 2


def run(made: Sampler, family: TargetFamily, chains: int, generator: Generator) -> Figures:
    """The figures of a sampler's last state, in float32 from its own start."""
    x = made.initial((chains, 2), family=family, generator=generator, dtype=torch.float32)
    adjusted = False
    with family.evaluating():
        for step in made.steps(family, x, generator=generator):
            x, adjusted = step.x, adjusted or step.info is not None
    return figures(x, adjusted)


def figures(x: Tensor, adjusted: bool) -> Figures:
    """The figures of chains x (B, 2) at the last level; NaN if one of them is not finite."""
    if not x.isfinite().all():
        return Figures(math.nan, math.nan, adjusted, len(x))
    x = x.double()
    near = ModeWeightError(MIXTURE.means).shares(x)[0].item()
    squared = (x.unsqueeze(1) - torch.tensor(MIXTURE.means, dtype=torch.float64)).square().sum(2)
    posterior = (torch.tensor(MIXTURE.weights, dtype=torch.float64).log() - squared / (2 * VARIANCE)).softmax(1)
    ratio = (posterior * squared).sum(1).mean().item() / (2 * VARIANCE)
    return Figures(near - share(), ratio, adjusted, len(x))
