"""Checks of what training is put together from: noise schedules and estimators."""

import torch
from torch import Tensor

from scorekit.base import Estimator, Generator, NoiseSchedule, PerChain, TensorFunction, normal, sum_event
from scorekit.densities import Density
from scorekit.noise import checked_levels
from scorekit.testing.statistics import hotelling
from scorekit.testing.targets import gauss3, mixture3
from scorekit.testing.trial import (
    EVENTS,
    Call,
    ConformanceError,
    Rows,
    Trial,
    any_event,
    configuration,
    difference,
    lawful,
)

SIGMA = 0.7


def check_noise_schedule(noise: NoiseSchedule) -> None:
    """The laws of a noise schedule.

    Levels are float64, on the CPU, strictly decreasing, and their own copy. Training draws one sigma for each row,
    in the type of `like`, between the ends; where `continuous` is False each draw is one of the levels, and no level
    is left out.

    Args:
        noise: the schedule.

    Raises:
        ConformanceError: naming the law that is broken.
    """
    trial = Trial("check_noise_schedule", noise)
    levels = _checked_levels(trial, noise)
    noise.levels().zero_()
    trial.error(
        difference(noise.levels(), levels),
        "levels() gives a copy",
        "one tensor is kept and handed out: a caller that writes to it changes the schedule",
    )

    def call(rows: Rows, generator: Generator) -> Rows:
        return (noise.sample(rows[0], generator=generator),)

    for event in EVENTS:
        x = trial.rows(event)
        trial.shape(noise.sample(x, generator=trial.generator("shape")), (len(x),), "a training draw")
        lawful(trial, call, (x,), draws=False)
    for dtype in (torch.float32, torch.float64):
        x = trial.rows((3,), dtype=dtype)
        trial.type(noise.sample(x, generator=trial.generator("type")), x, "a training draw")
    _check_draws(trial, noise, levels)
    configuration(trial)


def _checked_levels(trial: Trial, noise: NoiseSchedule) -> Tensor:
    try:
        levels = checked_levels(noise)
    except ValueError as error:
        found = str(error)
    else:
        found = "" if levels.device.type == "cpu" else f"levels on {levels.device}"
    trial.require(
        not found,
        "levels decrease",
        found,
        "(L,) in float64 on the CPU, finite, >= 0, strictly decreasing",
        "levels from the smallest to the largest, as the score-SDE papers number them, or torch's default type",
    )
    return noise.levels().clone()


def _check_draws(trial: Trial, noise: NoiseSchedule, levels: Tensor) -> None:
    count = max(20_000, 40 * len(levels))  # one of L levels of probability 1 / L is missed once in e^40 / L
    sigma = noise.sample(torch.empty(count, 1, dtype=torch.float64), generator=trial.generator("draws"))
    ends = levels[-1].item(), levels[0].item()
    trial.require(
        bool(((sigma >= ends[0] * (1 - 1e-6)) & (sigma <= ends[1] * (1 + 1e-6))).all()),
        "training draws lie between the ends",
        f"draws from {sigma.min().item():g} to {sigma.max().item():g}",
        f"[{ends[0]:g}, {ends[1]:g}]",
        "a law of sigma that is not truncated, or sigma^2 for sigma",
    )
    if len(levels) == 1 and not noise.continuous:
        return
    trial.require(
        len(sigma.unique()) > 1,
        "each row draws its own sigma",
        f"one value for {count} rows",
        "different values",
        "one draw for the whole batch",
    )
    if not noise.continuous:
        halfway = (levels[1:] + levels[:-1]).flip(0) / 2
        nearest = len(levels) - 1 - torch.bucketize(sigma, halfway)  # not a table of all differences: L may be 2,000
        trial.error(
            difference(sigma, levels[nearest]),
            "training draws are levels",
            "a continuous law: set continuous = True",
            bound=1e-6,
        )
        missed = len(levels) - len(nearest.unique())
        trial.require(
            missed == 0,
            "training draws every level",
            f"{missed} of {len(levels)} levels never drawn",
            "none",
            "an index that ends one short, such as randint(0, L - 1)",
        )


# ----------------------------------------------------------------------------------------------------------- estimators


def check_estimator(estimator: Estimator, *, density: Density | None = None) -> None:
    """The laws of an estimator, none of which knows its formula.

    *Affine*: less the Fisher divergence 1/2 |s - s*|^2, its mean is the same constant whatever the score s. *Fixpoint*:
    at the true score s* its expected gradient is 0. One that needs no noise ignores eps, and has both laws at sigma = 0
    too.

    Args:
        estimator: the estimator.
        density: of the clean data, on events of rank 1, if it is right for one density only; None for any.

    Raises:
        ConformanceError: naming the law that is broken.
    """
    trial = Trial("check_estimator", estimator)
    if density is None:
        any_event(trial, lambda event: _estimating(estimator, trial), draws=False)
    else:
        lawful(trial, _estimating(estimator, trial), (trial.rows(density.event_shape),), draws=False)
    for dtype in (torch.float32, torch.float64):
        x = trial.rows((3,) if density is None else density.event_shape, dtype=dtype)
        value = estimator(_bent, x, x.new_full((len(x),), SIGMA), x, generator=trial.generator("type"))
        trial.shape(value, (len(x),), "the estimate")
        trial.type(value, x, "the estimate")
    _check_held_out(trial, estimator, density)
    for name, each in (
        {"gauss3": gauss3(), "mixture3": mixture3()}.items() if density is None else {"": density}.items()
    ):
        for sigma in (SIGMA,) if estimator.needs_noise else (SIGMA, 0.0):
            where = f"on {name or type(each).__name__} at sigma = {sigma:g}"
            trial.chance(
                _affine(estimator, each, sigma, trial.seed(where)),
                f"the Fisher divergence and a constant, {where}",
                "the factor 1/2, a sign, a mean for the sum over the event, or a probe of the wrong variance",
            )
            trial.chance(
                _fixpoint(estimator, each, sigma, trial.seed(where)),
                f"stationary at the true score, {where}",
                "a term that is detached from the graph, or a target that is not the score's",
            )
    configuration(trial)


def _bent(x: Tensor) -> Tensor:
    """A score whose Jacobian is no diagonal."""
    flat = x.flatten(1)
    return (flat.sin() - 2 * flat + flat.roll(1, 1) / 2).reshape(x.shape)


def _estimating(estimator: Estimator, trial: Trial) -> Call:
    def call(rows: Rows, generator: Generator) -> Rows:
        x = rows[0]
        sigma = 0.3 + x.flatten(1)[:, 0].square()  # each row its own
        return (estimator(_bent, x, sigma, 0.5 * x, generator=generator),)

    return call


def _check_held_out(trial: Trial, estimator: Estimator, density: Density | None) -> None:
    x = trial.rows((3,) if density is None else density.event_shape)
    sigma = x.new_full((len(x),), SIGMA)
    value = estimator(_bent, x, sigma, x / 2, generator=PerChain(1))
    law = "the same value under no_grad"
    hint = "a derivative in x that relies on the caller's autograd: turn it on inside"
    try:
        with torch.no_grad():
            held_out = estimator(_bent, x, sigma, x / 2, generator=PerChain(1))
    except RuntimeError as error:
        raise ConformanceError(trial.title, law, f"{error}", "the value with autograd", hint) from error
    trial.error(difference(held_out, value), law, hint)
    if not estimator.needs_noise:
        other = estimator(_bent, x, sigma, -x, generator=PerChain(1))
        trial.error(
            difference(other, value), "needs_noise tells the truth", "eps enters the estimate: set needs_noise = True"
        )


def _tilted(density: Density, theta: Tensor, sigma: float) -> TensorFunction:
    """(1 + a) s* + B x + c + e tanh(x): the true score s* at theta = 0."""
    (d,) = density.event_shape
    a, e = theta[:2]
    b, c = theta[2 : 2 + d * d].reshape(d, d), theta[2 + d * d :]
    return lambda x: (1 + a) * density.score(x, sigma) + x @ b.T + c + e * x.tanh()


def _noisy(density: Density, sigma: float, count: int, generator: torch.Generator) -> tuple[Tensor, Tensor, Tensor]:
    x = density.sample(count, generator=generator, dtype=torch.float64)
    eps = normal(x, generator=generator)
    return x + sigma * eps, x.new_full((count,), sigma), eps


def _num_parameters(density: Density) -> int:
    (d,) = density.event_shape
    return 2 + d * d + d


def _affine(estimator: Estimator, density: Density, sigma: float, seed: int, count: int = 10_000) -> float:
    """p that the estimate less the Fisher divergence has one mean for three scores, under the same draws."""
    generator = torch.Generator().manual_seed(seed)
    x, level, eps = _noisy(density, sigma, count, generator)
    true, rest = density.score(x, sigma), []
    for _ in range(3):
        theta = normal(torch.empty(_num_parameters(density), dtype=torch.float64), generator=generator) / 2
        score = _tilted(density, theta, sigma)
        with torch.no_grad():
            value = estimator(score, x, level, eps, generator=torch.Generator().manual_seed(seed + 1))
        rest.append(value - sum_event((score(x) - true).square()) / 2)
    columns = torch.stack([other - rest[0] for other in rest[1:]], dim=1)
    if columns.abs().max() < 1e-8:  # the divergence itself: nothing is left to chance
        return 1.0
    return hotelling(columns) if columns.isfinite().all() else 0.0


def _fixpoint(
    estimator: Estimator, density: Density, sigma: float, seed: int, batches: int = 80, size: int = 100
) -> float:
    """p that the mean gradient at the true score is 0."""
    generator = torch.Generator().manual_seed(seed)
    gradients = []
    for _ in range(batches):
        x, level, eps = _noisy(density, sigma, size, generator)
        theta = torch.zeros(_num_parameters(density), dtype=torch.float64, requires_grad=True)
        value = estimator(_tilted(density, theta, sigma), x, level, eps, generator=generator).mean()
        gradients.append(torch.autograd.grad(value, theta)[0])
    stacked = torch.stack(gradients)
    if stacked.abs().max() < 1e-8:
        return 1.0
    return hotelling(stacked) if stacked.isfinite().all() else 0.0
