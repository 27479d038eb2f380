r"""The laws of transitions between noise levels, and transitions written out by hand.

Each is a number that is small for a right transition:

- *replay*: the largest difference from the published formula, on a Gaussian and on a mixture, over unequal steps;
- *golden*: the relative difference from the variance of a thousand steps of the variance exploding diffusion;
- *limit*: the relative error of the variance after 400 levels, at which every transition has the right law;
- *order*: how far the observed order of a flow's transition is from its own, on steps that alternate 1 : 3;
- *weight*: the error of the weight of a mode of the NCSN paper's mixture after 9 moves, by quadrature.

On a Gaussian a run is linear in its start and its draws, so that unit impulses give the variance exactly.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass
from itertools import pairwise
from typing import Any, final

import torch
from scipy.integrate import solve_ivp
from torch import Tensor

from scorekit import AnnealedMCMC, Geometric, Langevin, Unadjusted
from scorekit.base import Generator, NoiseSchedule, PerChain, Point, Target, TargetFamily, Transition, normal
from scorekit.densities import Density, Gaussian
from scorekit.noise import Levels
from scorekit.transitions import Stay
from tests.laws.drivers import run
from tests.laws.targets import figure3, gauss3, mixture3

# ------------------------------------------------------------------------------------------------------------- drawing


@final
class Scripted(PerChain):
    """Draws what it is told to: draw number n (from 0) is `draws(n, like)`, from the forks as well."""

    def __init__(self, draws: Callable[[int, Tensor], Tensor]):
        super().__init__(0)
        self.draws, self.drawn = draws, 0

    def fork(self, label: int | str) -> "Scripted":
        return self

    def normal(self, like: Tensor) -> Tensor:
        self.drawn += 1
        return self.draws(self.drawn - 1, like)


def impulse(number: int, like: Tensor) -> Tensor:
    """Draw number n is 1 for chain n + 1 and 0 for the others."""
    z = torch.zeros_like(like)
    z[number + 1 : number + 2] = 1
    return z


def played(draws: list[Tensor]) -> Callable[[int, Tensor], Tensor]:
    """Draw number n is `draws[n]`."""
    return lambda number, like: draws[number]


# ----------------------------------------------------------------------------------------------------------------- laws


def sampler(transition: Transition, noise: NoiseSchedule, final: Transition = Stay()) -> AnnealedMCMC:
    """Transitions alone."""
    return AnnealedMCMC(Unadjusted(Langevin()), noise, steps_per_level=0, transition=transition, final=final)


def variance(transition: Transition, noise: NoiseSchedule, final: Transition, data: float, prior: float) -> float:
    """The exact variance at the end of chains from N(0, prior), for data N(0, data): chain 0 starts at 1 and draws
    zeros, chain n starts at 0 and draws 1 in move n, 0 in the others."""
    chains = torch.zeros(1 + len(noise.levels()), 1, dtype=torch.float64)
    chains[0] = 1
    response = run(sampler(transition, noise, final), Gaussian((0.0,), data), chains, Scripted(impulse)).square()
    return (prior * response[0] + response[1:].sum()).item()


THOUSAND = Geometric(50.0, 0.01, 1000)


def golden(transition: Transition, final: Transition, value: float) -> float:
    """Data N(0, .25^2), prior variance 50^2, 1000 levels from 50 to .01 and the final move."""
    return abs(variance(transition, THOUSAND, final, 0.0625, 2500.0) / value - 1)


def limit(transition: Transition) -> float:
    """400 levels from 10 to .01 from the exact law of sigma_1."""
    return abs(variance(transition, Geometric(10.0, 0.01, 400), Stay(), 0.0625, 100.0625) / 0.0626 - 1)


STEPS = (3.0, 2.0, 0.7, 0.5, 0.1)  # lambda steps .41, 1.05, .34, 1.61


def replay(transition: Transition, by_hand: "ByHand", seed: int) -> float:
    """Four unequal moves and the one to 0, on gauss3 and mixture3."""
    generator = torch.Generator().manual_seed(seed)
    worst = 0.0
    for density in (gauss3(), mixture3()):
        x, *draws = torch.randn(6, 7, *density.event_shape, dtype=torch.float64, generator=generator)
        chains = run(sampler(transition, Levels(STEPS), transition), density, 3 * x, Scripted(played(draws)))
        worst = max(worst, (chains - by_hand(density, 3 * x, (*STEPS, 0.0), draws)).abs().max().item())
    return worst


def alternating(num_pairs: int, first: float = 5.0, last: float = 0.2) -> Levels:
    """Levels whose steps of log sigma alternate 1 : 3."""
    steps = torch.tensor([1.0, 3.0], dtype=torch.float64).repeat(num_pairs).cumsum(0)
    exponent = torch.cat((torch.zeros(1, dtype=torch.float64), steps / steps[-1]))
    return Levels(tuple((first * (last / first) ** exponent).tolist()))


def order(transition: Transition, num_pairs: int = 64) -> float:
    """log2 of the ratio of the errors with n and 2 n pairs of steps, on mixture3."""
    x = 5 * torch.randn(20, 2, dtype=torch.float64, generator=torch.Generator().manual_seed(3))
    density = mixture3()
    ends = alternating(1).levels()[[0, -1]].tolist()
    exact = flow(density, x, *ends)
    coarse, fine = (
        (run(sampler(transition, alternating(n)), density, x, Scripted(impulse)) - exact).norm().item()
        for n in (num_pairs, 2 * num_pairs)
    )
    return math.log2(coarse / fine)


def flow(density: Density, x: Tensor, sigma_from: float, sigma_to: float) -> Tensor:
    """The flow dx / dsigma = -sigma s, solved by a Runge-Kutta method of order 8."""

    def slope(sigma: float, flat: Any) -> Any:
        return -sigma * density.score(torch.from_numpy(flat).reshape(x.shape), sigma).flatten().numpy()

    solved = solve_ivp(slope, (sigma_from, sigma_to), x.flatten().numpy(), method="DOP853", rtol=1e-12, atol=1e-12)
    return torch.from_numpy(solved.y[:, -1]).reshape(x.shape)


def weight(transition: Transition, num_quantiles: int = 20_001) -> float:
    """The error of the small mode's weight under the flow from the matched start, with 10 levels from 20 to 1.

    The mixture is even around its axis u through the modes, and the start isotropic: a chain ends in the mode on its
    side of a value of u, whatever its other coordinate. So quantiles of u are enough, on the axis."""
    density = figure3()
    mean, std = density.moments
    quantiles = (torch.arange(num_quantiles, dtype=torch.float64) + 0.5) / num_quantiles
    u = mean.sum() / 2**0.5 + (400 + std[0] ** 2).sqrt() * torch.special.ndtri(quantiles)
    x = (u / 2**0.5).unsqueeze(1).expand(-1, 2)
    ended = run(sampler(transition, Geometric(20.0, 1.0, 10)), density, x, Scripted(impulse))
    return ((ended.sum(1) < 0).double().mean() - 0.2).item()


# -------------------------------------------------------------------------------------------------------------- by hand

ByHand = Callable[[Density, Tensor, tuple[float, ...], list[Tensor]], Tensor]


def denoised(density: Density, x: Tensor, sigma: float) -> Tensor:
    return x + sigma**2 * density.score(x, sigma)


def euler(density: Density, x: Tensor, levels: tuple[float, ...], draws: list[Tensor]) -> Tensor:
    """With the slope (x - D) / sigma of arXiv 2206.00364."""
    for a, b in pairwise(levels):
        x = x + (b - a) * (x - denoised(density, x, a)) / a
    return x


def heun(density: Density, x: Tensor, levels: tuple[float, ...], draws: list[Tensor]) -> Tensor:
    """Algorithm 1 there, without churn."""
    for a, b in pairwise(levels):
        d = (x - denoised(density, x, a)) / a
        y = x + (b - a) * d
        x = y if b == 0 else x + (b - a) * (d / 2 + (y - denoised(density, y, b)) / (2 * b))
    return x


def reverse_diffusion(density: Density, x: Tensor, levels: tuple[float, ...], draws: list[Tensor]) -> Tensor:
    for (a, b), z in zip(pairwise(levels), draws, strict=True):
        g = (a**2 - b**2) ** 0.5
        x = x + g**2 * density.score(x, a) + g * z
    return x


def ancestral(density: Density, x: Tensor, levels: tuple[float, ...], draws: list[Tensor]) -> Tensor:
    """The posterior of x_b given x_a and x0 = D."""
    for (a, b), z in zip(pairwise(levels), draws, strict=True):
        kept = b**2 / a**2
        x = kept * x + (1 - kept) * denoised(density, x, a) + b * (1 - kept) ** 0.5 * z
    return x


def dpm_solver(eta: float) -> ByHand:
    """DPM-Solver++(2M), eta = 0, and its stochastic form, eta = 1, in lambda = -log sigma."""

    def by_hand(density: Density, x: Tensor, levels: tuple[float, ...], draws: list[Tensor]) -> Tensor:
        before = h_before = None
        for (a, b), z in zip(pairwise(levels), draws, strict=True):
            clean = denoised(density, x, a)
            if b == 0:
                return clean
            h = math.log(a) - math.log(b)
            r = None if h_before is None else h_before / h
            mixed = clean if r is None else (1 + 1 / (2 * r)) * clean - 1 / (2 * r) * before
            noise = b * (1 - math.exp(-2 * eta * h)) ** 0.5
            x = b / a * math.exp(-eta * h) * x + (1 - math.exp(-(1 + eta) * h)) * mixed + noise * z
            before, h_before = clean, h
        raise ValueError("the levels end with 0")

    return by_hand


# ---------------------------------------------------------------------------------------------------------------- twins

Coefficient = Callable[[float, float], float]


@final
@dataclass(frozen=True)
class OneStage(Transition):
    """x + drift(a, b) s(x, a) + noise(a, b) z."""

    drift: Coefficient
    noise: Coefficient = lambda a, b: 0.0

    def move(
        self, family: TargetFamily, point: Point, target: Target, sigma_from: float, sigma_to: float, carry: Any = None,
        *, generator: Generator = None,
    ) -> tuple[Tensor, Any]:  # fmt: skip
        z = normal(point.x, generator=generator)
        return point.x + self.drift(sigma_from, sigma_to) * point.score + self.noise(sigma_from, sigma_to) * z, None


@final
@dataclass(frozen=True)
class TwoStage(Transition):
    """Heun's step; the switches are faults.

    Args:
        share: the weight of the second slope.
        sign: of the drift.
        power: of sigma in the slopes.
        stale: the second slope is evaluated under the source's target.
        projects: whether the predicted state is.
    """

    share: float = 0.5
    sign: float = 1.0
    power: float = 1.0
    stale: bool = False
    projects: bool = True

    def move(
        self, family: TargetFamily, point: Point, target: Target, sigma_from: float, sigma_to: float, carry: Any = None,
        *, generator: Generator = None,
    ) -> tuple[Tensor, Any]:  # fmt: skip
        step, first = sigma_from - sigma_to, self.sign * sigma_from**self.power * point.score
        predicted = point.x + step * first
        if sigma_to == 0:
            return predicted, None
        there = point.target if self.stale else target
        score = there.point(predicted).score if self.projects else there.score(predicted)
        second = self.sign * sigma_to**self.power * score
        return point.x + step * ((1 - self.share) * first + self.share * second), None


@final
@dataclass(frozen=True)
class Multistep(Transition):
    """DPM-Solver++(2M); the switches are faults.

    Args:
        eta: how much noise.
        ahead: r -> the weight of D - D'.
        noise: its factor.
        share: (eta, h) -> the weight of D.
    """

    eta: float
    ahead: Callable[[float], float] = lambda r: 1 / (2 * r)
    noise: float = 1.0
    share: Coefficient = lambda eta, h: 1 - math.exp(-(1 + eta) * h)

    def move(
        self, family: TargetFamily, point: Point, target: Target, sigma_from: float, sigma_to: float, carry: Any = None,
        *, generator: Generator = None,
    ) -> tuple[Tensor, Any]:  # fmt: skip
        clean = point.x + sigma_from**2 * point.score
        if sigma_to == 0:
            return clean, None
        h = math.log(sigma_from / sigma_to)
        mixed = clean if carry is None else clean + self.ahead(carry[1] / h) * (clean - carry[0])
        share = self.share(self.eta, h)
        std = self.noise * sigma_to * (1 - math.exp(-2 * self.eta * h)) ** 0.5
        return (1 - share) * point.x + share * mixed + std * normal(point.x, generator=generator), (clean, h)
