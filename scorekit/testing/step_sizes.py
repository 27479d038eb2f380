"""The check of a step size."""

from collections.abc import Sequence

import torch
from torch import Tensor

from scorekit.base import Generator, StepSize, Target, expand
from scorekit.testing.targets import correlated
from scorekit.testing.trial import EVENTS, Rows, Trial, configuration, difference, lawful, scoreless


def check_step_size(
    step_size: StepSize, *, levels: Sequence[float] = (2.0, 0.5, 0.1), event_shape: tuple[int, ...] | None = None
) -> None:
    """The laws of a step size: positive, finite, (), (B,) or (B, *E) in the type of x, and what it says of the state.

    A rule whose `uses_point` is False neither asks for the score nor changes with x; one whose `uses_point` is True
    gives each chain its own step.

    Args:
        step_size: the rule.
        levels: noise levels at which it has a step.
        event_shape: the only event that it is for; None for any.

    Raises:
        ConformanceError: naming the law that is broken.
    """
    trial = Trial("check_step_size", step_size)
    for event in EVENTS if event_shape is None else (event_shape,):
        target = correlated(event).at(0.0) if step_size.uses_point else scoreless(trial, "uses_point")
        for sigma in levels:

            def call(rows: Rows, generator: Generator, sigma: float = sigma, target: Target = target) -> Rows:
                return (expand(step_size(sigma, target.point(rows[0])), rows[0]).expand_as(rows[0]),)

            for dtype in (torch.float32, torch.float64):
                x = trial.rows(event, dtype=dtype)
                _check_step(trial, step_size(sigma, target.point(x)), x, sigma)
            lawful(trial, call, (x,), draws=False)
            if not step_size.uses_point:
                far = call((x + 5,), None)[0]
                trial.error(
                    difference(far, call((x,), None)[0]),
                    "uses_point tells the truth",
                    "h depends on x: set uses_point = True, so that Metropolis kernels refuse it",
                )
    configuration(trial)


def _check_step(trial: Trial, h: Tensor, x: Tensor, sigma: float) -> None:
    trial.type(h, x, "h")
    trial.require(
        tuple(h.shape) in ((), tuple(x.shape[:1]), tuple(x.shape)),
        "the shape of h",
        f"{tuple(h.shape)}",
        f"(), {tuple(x.shape[:1])} or {tuple(x.shape)}",
        "keepdim=True, or one axis too many",
    )
    trial.require(
        bool(((h > 0) & h.isfinite()).all()),
        f"0 < h < inf at sigma = {sigma:g}",
        f"h = {h.min().item():g}",
        "a positive, finite step",
        "a difference that changes its sign, or a division by 0",
    )
