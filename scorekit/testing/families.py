r"""Checks of what samplers draw from: densities in closed form, and any family of targets.

Draws x of a density p, and any smooth function g that falls off, satisfy Stein's identity

    E[ s_j(x) g(x) + d g / d x_j (x) ] = 0,       s = grad log p,

which ties the draws to the score without knowing either's formula.
"""

import math
from collections.abc import Sequence

import torch
from torch import Tensor

from scorekit.base import Generator, Target, TargetFamily, normal
from scorekit.densities import Density
from scorekit.testing.statistics import BOUND, hotelling
from scorekit.testing.trial import BATCH, ConformanceError, Rows, Trial, configuration, difference, lawful


def check_target_family(
    family: TargetFamily, *, event_shape: tuple[int, ...], levels: Sequence[float] = (1.0, 0.3)
) -> None:
    """The laws of a family of targets: shapes and types, a log density whose gradient is the score, rows that depend on
    no other row, a projection that stays where it has been.

    Args:
        family: the family.
        event_shape: E.
        levels: noise levels at which it is valid.

    Raises:
        ConformanceError: naming the law that is broken.
    """
    trial = Trial("check_target_family", family)
    family.require(torch.tensor(levels, dtype=torch.float64))
    x = trial.rows(event_shape, dtype=family.dtype or torch.float64) / 3
    for sigma in levels:
        check_target(trial, family, x, sigma)
    check_moments_shape(trial, family, event_shape)


def check_target(trial: Trial, family: TargetFamily, x: Tensor, sigma: float) -> None:
    """The laws of a family's target at one level, at some states of its type, for another check."""

    def ask(x: Tensor, generator: Generator = None) -> Target:
        return family.at(sigma, like=x, generator=generator)

    def call(rows: Rows, generator: Generator) -> Rows:
        point = ask(rows[0], generator).point(rows[0])
        return (point.x, point.score) if point.target.log_prob is None else (point.x, point.score, point.log_prob)

    with family.evaluating(), torch.no_grad():
        lawful(trial, call, (x,), draws=False)
        for other in (torch.float32, torch.float64) if family.dtype is None else (x.dtype,):
            point = ask(x.to(other), trial.generator("type")).point(x.to(other))
            trial.shape(point.score, tuple(x.shape), "the score")
            trial.type(point.score, x.to(other), "the score")
            trial.require(
                bool(point.score.isfinite().any()),
                "the score is a number",
                f"NaN or infinity in all {len(x)} states",
                "a finite score where the law is",
                "0 / 0, an overflow, or a level at which the family has no density",
            )
        target = ask(x, torch.Generator().manual_seed(1))
        x = target.project(x)
        trial.error(
            difference(target.project(x), x),
            "a projected state is its own projection",
            "a projection that draws, or that moves what already meets the constraint",
        )
    if target.log_prob is None:
        return
    with family.evaluating():
        _check_log_prob(trial, target, x)


def _check_log_prob(trial: Trial, target: Target, x: Tensor) -> None:
    leaf = x.clone().requires_grad_()
    log_prob = target.point(leaf).log_prob
    trial.shape(log_prob, (len(x),), "log_prob")
    (gradient,) = torch.autograd.grad(log_prob.sum(), leaf)
    bound = 1e-6 if x.dtype == torch.float64 else 1e-3
    score = target.score(x)
    known = score.isfinite() & gradient.isfinite()
    trial.error(
        difference(torch.where(known, gradient, 0.0), torch.where(known, score, 0.0)),
        "the score is the gradient of log_prob",
        "a sign, a factor, or a log density of another temperature",
        bound=bound,
    )
    if target.value_and_score is not None and target.log_prob is not None:
        value, both = target.value_and_score(x)
        trial.error(
            max(difference(value, target.log_prob(x)), difference(both, score)),
            "value_and_score is log_prob and score",
            "the two in the wrong order, or of another level",
            bound=bound,
        )


def check_moments_shape(trial: Trial, family: TargetFamily, event: tuple[int, ...]) -> None:
    """The moments, if known, broadcast to the event."""
    for moment in family.moments or ():
        axes = zip(reversed(moment.shape), reversed(event), strict=False)
        fits = len(moment.shape) <= len(event) and all(mine in (1, theirs) for mine, theirs in axes)
        trial.require(
            fits and bool(moment.isfinite().all()),
            "moments broadcast to the event",
            f"a moment of shape {tuple(moment.shape)}",
            f"finite, and one that broadcasts to {event}",
            "a batch axis that is kept",
        )


# ------------------------------------------------------------------------------------------------------------ densities


def check_density(
    density: Density,
    *,
    levels: Sequence[float] = (0.0, 0.5),
    bounded: bool = False,
    configurable: bool = True,
) -> None:
    """The laws of a density: those of a family of targets, and that draws, score, log density and moments are of one
    law.

    Draws at sigma, and clean draws with noise of sigma added, both meet Stein's identity with the score at sigma; the
    level may be a float or one number a row. It is for events of some tens of numbers at most: the time grows as their
    cube.

    Args:
        density: the density.
        levels: noise levels at which it has a density.
        bounded: True if the clean density does not fall to 0 at the edge of its support, where Stein's identity has a
            boundary term: then the identity is asked for at sigma > 0 only.
        configurable: False if it is made of data, which is no configuration.

    Raises:
        ConformanceError: naming the law that is broken.
    """
    trial = Trial("check_density", density)
    event = density.event_shape

    def draw(rows: Rows, generator: Generator) -> Rows:
        return (density.sample(len(rows[0]), 0.5, generator=generator, dtype=torch.float64),)

    lawful(trial, draw, (trial.rows(event),), draws=True)
    for dtype in (torch.float32, torch.float64):
        x = density.sample(5, generator=trial.generator("type"), dtype=dtype)
        trial.shape(x, (5, *event), "the draws")
        trial.type(x, torch.empty(0, dtype=dtype), "the draws")
    check_moments_shape(trial, density, event)
    clean = density.sample(20_000, generator=trial.generator("clean"), dtype=torch.float64)
    _check_moments(trial, density, clean)
    for sigma in levels:
        near = density.sample(BATCH, sigma, generator=trial.generator(f"states at {sigma:g}"), dtype=torch.float64)
        check_target(trial, density, torch.cat((near[:4], trial.rows(event)[4:] / 3)), sigma)
        x = density.sample(20_000, sigma, generator=trial.generator(f"draws at {sigma:g}"), dtype=torch.float64)
        _check_levels(trial, density, x[:50], sigma)
        if sigma == 0 and bounded:
            continue
        noisy = clean + sigma * normal(clean, generator=trial.generator(f"noise at {sigma:g}"))
        for name, points in {"draws at sigma": x, "clean draws with noise": noisy}.items():
            trial.chance(
                stein_pvalue(points, density.score(points, sigma)),
                f"{name} = {sigma:g} have the score's law",
                "sigma for sigma^2 where variances add, a score of the clean data, or draws of another law",
            )
    if configurable:
        configuration(trial)


def stein_pvalue(x: Tensor, score: Tensor) -> float:
    """p of Stein's identity for g = w and w z_j of the first four coordinates, w = exp(-|z|^2 / 2), where z is x less
    its mean over its std times sqrt(d).

    The weight keeps the statistics bounded where the score grows as a power of x.
    """
    x, score = x.flatten(1), score.flatten(1)
    half = len(x) // 2  # the first half fixes g, the other half tests it
    mean, std = x[:half].mean(0), x[:half].std(0)
    scale = std * math.sqrt(x.shape[1])  # so that w is not small in many dimensions
    z, s = (x[half:] - mean) / scale, score[half:]
    w = (-z.square().sum(1, keepdim=True) / 2).exp()
    columns = [w * (s - z / scale)]
    for j in range(min(x.shape[1], 4)):
        own = torch.zeros_like(scale)
        own[j] = 1 / scale[j]
        columns.append(w * (z[:, j : j + 1] * (s - z / scale) + own))
    values = torch.cat(columns, dim=1)
    return hotelling(values) if values.isfinite().all() else 0.0


def _check_levels(trial: Trial, density: Density, x: Tensor, sigma: float) -> None:
    rows = x.new_full((len(x),), sigma)
    for name, function in {"score": density.score, "log_prob": density.log_prob}.items():
        law = f"{name} takes sigma as a float or (B,)"
        hint = "sigma (B,) broadcast against the event: use expand(sigma, x)"
        try:
            by_row = function(x, rows)
        except (RuntimeError, TypeError, ValueError) as error:
            raise ConformanceError(trial.title, law, f"{error}", "the same numbers for both", hint) from error
        trial.error(difference(by_row, function(x, sigma)), law, hint)


def _check_moments(trial: Trial, density: Density, clean: Tensor) -> None:
    if density.moments is None:
        return
    mean, std = (moment.to(clean) for moment in density.moments)
    squares = (clean - mean).square()
    heavy = squares.max(0).values > 0.01 * squares.sum(0)  # a variance that one draw in 20,000 decides: not testable
    for name, values, wanted in (("mean", clean, mean), ("variance", squares, std.square())):
        error = (values.mean(0) - wanted) / (values.std(0) / math.sqrt(len(clean))).clamp(min=1e-12)
        error = torch.where(heavy, 0.0, error)
        trial.error(
            error.abs().max().item(),
            f"the {name} of the draws is that of moments, in standard errors",
            "moments of noisy data, or a variance for a std",
            bound=BOUND + 1,  # the largest over the event; and squares have heavier tails than a normal law's
        )
