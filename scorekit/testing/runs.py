"""Checks of what moves the chains through the noise levels: transitions, starts and whole samplers."""

import math
from collections.abc import Sequence
from itertools import pairwise

import torch
from torch import Tensor

from scorekit.base import Generator, Sampler, Start, Step, TargetFamily, Transition
from scorekit.densities import Gaussian
from scorekit.noise import Geometric
from scorekit.testing.statistics import BOUND, hotelling, legendre
from scorekit.testing.targets import Law, correlated, gauss3, gaussian
from scorekit.testing.trial import (
    EVENTS,
    Call,
    Rows,
    Trial,
    any_event,
    configuration,
    difference,
    lawful,
)

FINE = Geometric(2.0, 0.2, 121)


# ---------------------------------------------------------------------------------------------------------- transitions


def check_transition(transition: Transition, *, follows: bool = True) -> None:
    """The laws of a transition between noise levels.

    It follows the noise: chains that start as N(mu, S + sigma_1^2) end near N(mu, S + sigma_L^2) after many small
    moves. One that goes to sigma = 0 only is asked for Tweedie's posterior mean instead, in the mean over its draws.

    Args:
        transition: the transition.
        follows: False for one that leaves it to the kernel to follow the noise, as `Stay` does.

    Raises:
        ConformanceError: naming the law that is broken.
    """
    trial = Trial("check_transition", transition)
    ends = ((1.0, 0.0),) if transition.only_final else ((1.0, 0.6), (0.3, 0.0))
    for a, b in ends:
        any_event(trial, lambda event, a=a, b=b: _moving(transition, correlated(event), a, b), draws=False)
        for dtype in (torch.float32, torch.float64):
            x = trial.rows((3,), dtype=dtype)
            (moved,) = _moving(transition, correlated((3,)), a, b)((x,), trial.generator("type"))
            trial.type(moved, x, "the state")
    if follows and transition.only_final:
        _check_posterior_mean(trial, transition)
    elif follows:
        _check_follows(trial, transition)
    configuration(trial)


def _moving(transition: Transition, family: TargetFamily, a: float, b: float) -> Call:
    """Two moves, the second one with the history of the first, where b > 0."""

    def call(rows: Rows, generator: Generator) -> Rows:
        levels = (a, b) if b == 0 else (a, (a + b) / 2, b)
        return (_descend(transition, family, rows[0], levels, generator),)

    return call


def _descend(
    transition: Transition, family: TargetFamily, x: Tensor, levels: Sequence[float], generator: Generator
) -> Tensor:
    """Move through the levels as a sampler does."""
    carry = None
    with torch.no_grad():
        for a, b in pairwise(levels):
            point, target = family.at(a).point(x), family.at(b)
            x, carry = transition.move(family, point, target, a, b, carry, generator=generator)
    return x


def _check_follows(trial: Trial, transition: Transition) -> None:
    density, levels = gauss3(), FINE.levels().tolist()
    start, end = (gaussian(density, sigma) for sigma in (levels[0], levels[-1]))
    x = _descend(transition, density, start.draw(10_000, trial.generator("start")), levels, trial.generator("draws"))
    trial.error(
        _distance(end, x),
        f"{len(levels)} levels from {levels[0]:g} to {levels[-1]:g} end with the law of the last one",
        "a^2 - b^2 for a (a - b) or the reverse, a sign, or noise of another variance than the drift calls for",
        bound=0.05 + BOUND / 100,  # the discretisation, and the noise of 10,000 chains
    )


def _distance(law: Law, x: Tensor) -> float:
    """The largest mean of a bounded statistic of unit variance of the PIT: 0 for the law itself, up to its noise."""
    return legendre(law.pit(x)).mean(0).abs().max().item() if x.isfinite().all() else math.inf


def _check_posterior_mean(trial: Trial, transition: Transition) -> None:
    density = gauss3()
    x = density.sample(1, 0.8, generator=trial.generator("x"), dtype=torch.float64).expand(4000, -1).clone()
    moved = _descend(transition, density, x, (0.8, 0.0), trial.generator("draws"))
    error = moved - (x + 0.8**2 * density.score(x, 0.8))
    hint = "sigma for sigma^2, or a sign: E[x0 | x] = x + sigma^2 s(x, sigma)"
    if moved.std(0).max() < 1e-9:
        trial.error(error.abs().max().item(), "to sigma = 0 it moves to the posterior mean", hint)
    else:
        trial.chance(hotelling(error), "to sigma = 0 it moves to the posterior mean", hint)


# --------------------------------------------------------------------------------------------------------------- starts


def check_start(start: Start, *, event_shape: tuple[int, ...] | None = None, sigma: float = 2.0) -> None:
    """The laws of a start: finite chains shaped like `like` and in its type, each its own draw.

    Args:
        start: the start.
        event_shape: the only event that it is for; None for any. The family that it is given is a Gaussian.
        sigma: the first noise level.

    Raises:
        ConformanceError: naming the law that is broken.
    """
    trial = Trial("check_start", start)

    def call_on(event: tuple[int, ...]) -> Call:
        return lambda rows, generator: (start.draw(rows[0], sigma, family=correlated(event), generator=generator),)

    if event_shape is None:
        any_event(trial, call_on, draws=True)
    else:
        lawful(trial, call_on(event_shape), (trial.rows(event_shape),), draws=True)
    for event in EVENTS if event_shape is None else (event_shape,):
        for dtype in (torch.float32, torch.float64):
            like = trial.rows(event, dtype=dtype)
            (x,) = call_on(event)((like,), trial.generator("type"))
            trial.shape(x, tuple(like.shape), "the initial chains")
            trial.type(x, like, "the initial chains")
            trial.require(
                bool(x.isfinite().all()), "initial chains are finite", "NaN or infinity", "finite", "an overflow"
            )
        (x,) = call_on(event)((trial.rows(event),), trial.generator("draws"))
        (other,) = call_on(event)((5 * trial.rows(event),), trial.generator("draws"))
        trial.error(
            difference(other, x), "`like` gives shape, type and device only", "the numbers in `like`, which are not set"
        )
    configuration(trial)


# ------------------------------------------------------------------------------------------------------------- samplers


def check_sampler(
    sampler: Sampler, *, family: Gaussian | None = None, num_chains: int = 2000, tolerance: float | None = 0.1
) -> None:
    """The laws of a sampler.

    Its chains have the shape and type asked for; `steps` yields at most `num_updates()` updates and never lets its
    autograd mode out; levels do not rise; chains depend on their own stream alone, so that a run in chunks is the whole
    run; and it samples: from its own start it comes near the family's law at the last level.

    It is run eight times: check one of a few hundred updates, not of thousands.

    Args:
        sampler: the sampler.
        family: the Gaussian to sample; None for a correlated one of three coordinates.
        num_chains: how many chains judge the law.
        tolerance: how far off the mean of a bounded statistic of unit variance may be, besides its noise: .1 is a
            standard deviation that is 8 % off, or a mean that is a tenth of one off. None for a sampler that this
            family is not meant for.

    Raises:
        ConformanceError: naming the law that is broken.
    """
    trial = Trial("check_sampler", sampler)
    density = family or gauss3()
    shape = (4, *density.event_shape)
    for dtype in (torch.float32, torch.float64):
        x = sampler.initial(shape, family=density, generator=trial.generator("type"), dtype=dtype)
        trial.shape(x, shape, "the initial chains")
        trial.type(x, torch.empty(0, dtype=dtype), "the initial chains")
        before = x.clone()
        for step in _steps(trial, sampler, density, x) if dtype == torch.float32 else ():
            trial.shape(step.x, shape, f"the chains at sigma = {step.sigma:g}")
            trial.type(step.x, x, f"the chains at sigma = {step.sigma:g}")
        trial.error(difference(x, before), "the initial chains stay as they are", "an update in place")

    def whole(rows: Rows, generator: Generator) -> Rows:
        x = sampler.initial(tuple(rows[0].shape), family=density, generator=generator, dtype=torch.float64)
        return (_last(sampler, density, x, generator),)

    lawful(trial, whole, (trial.rows(density.event_shape),), draws=True)
    if tolerance is not None:
        _check_law(trial, sampler, density, num_chains, tolerance)
    configuration(trial)


def _last(sampler: Sampler, family: TargetFamily, x: Tensor, generator: Generator) -> Tensor:
    for step in sampler.steps(family, x, generator=generator):
        x = step.x
    return x


def _steps(trial: Trial, sampler: Sampler, density: Gaussian, x: Tensor) -> list[Step]:
    """A run, with the laws of its bookkeeping."""
    made: list[Step] = []
    for step in sampler.steps(density, x, generator=trial.generator("run")):
        trial.require(
            torch.is_grad_enabled(),
            "autograd stays as the caller has it",
            "off while a step is handed out",
            "on",
            "`with torch.no_grad():` around a yield: put it around the computation",
        )
        made.append(step)
    most = sampler.num_updates()
    trial.require(
        0 < len(made) <= most,
        "num_updates() is the most that steps yields",
        f"{len(made)} updates, num_updates() = {most}",
        "between 1 and num_updates()",
        "transitions or the final move not counted",
    )
    sigmas = [step.sigma for step in made]
    trial.require(
        all(a >= b for a, b in pairwise(sigmas)),
        "levels do not rise",
        f"{sigmas[:6]} ...",
        "from the largest to the smallest",
        "levels in the order of the score-SDE papers",
    )
    return made


def _check_law(trial: Trial, sampler: Sampler, density: Gaussian, num_chains: int, tolerance: float) -> None:
    shape = (num_chains, *density.event_shape)
    generator = trial.generator("law")
    x = sampler.initial(shape, family=density, generator=generator, dtype=torch.float64)
    sigma = math.nan
    for step in sampler.steps(density, x, generator=generator):
        x, sigma = step.x, step.sigma
    trial.error(
        _distance(gaussian(density, sigma), x),
        f"the last states have the family's law at sigma = {sigma:g}",
        "too few steps or too small a step for this family, noise sqrt(h) for sqrt(2 h), or a level that is skipped",
        bound=tolerance + BOUND / math.sqrt(num_chains),
    )
