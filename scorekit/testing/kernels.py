"""The check of a kernel, and what every check that runs one asks of it: invariance, and that the chains move."""

from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

import torch
from torch import Tensor

from scorekit.base import Generator, Kernel, Target, wide
from scorekit.testing.invariance import Made, balance_pvalue, calibration_pvalue, stationary, third_step
from scorekit.testing.targets import LAWS, Law, correlated
from scorekit.testing.trial import Call, ConformanceError, Rows, Trial, any_event, configuration, difference

_STEP = "h mistaken for sqrt(2 h) or h / 2: the drift is h score, the noise sqrt(2 h) z"


def check_kernel(
    kernel: Kernel[Any], *, step_size: float = 0.1, score_only: bool = False, invariant: bool = True
) -> None:
    """The laws of a kernel.

    Chains move; where something is decided, what `Info` reports is what happened. An adjusted kernel is stationary on
    four targets in closed form: a correlated Gaussian, log-gamma, a mixture, an exponential whose score is NaN outside
    its support. An unadjusted one is so to first order in h, which is tried on the first three with a tenth of
    `step_size`.

    Args:
        kernel: the kernel.
        step_size: an h at which a good part of the moves is accepted on targets of unit size.
        score_only: whether it works, and has its law, on targets without a log density as well.
        invariant: False for an unadjusted kernel whose law is another than the target's (a tempered one, say).

    Raises:
        ConformanceError: naming the law that is broken.
    """
    trial = Trial("check_kernel", kernel)
    any_event(trial, lambda event: _stepping(kernel, correlated(event).at(0.0), step_size), draws=True)
    _check_state(trial, kernel, step_size)
    check_step_shapes(trial, partial(_first_step, trial, kernel), step_size, trial.rows((4, 2)))
    hint = "a decision that is not Metropolis's, a stale score or log density, or a repaired NaN"
    if kernel.adjusted:
        check_invariance(trial, kernel, LAWS, step_size, hint)
        if score_only:
            hidden = {name: (lambda name=name: LAWS[name]().score_only()) for name in LAWS if name != "exponential2"}
            check_invariance(trial, kernel, hidden, step_size, "a line integral that is not exact enough")
    else:
        smooth = {name: LAWS[name] for name in LAWS if name != "exponential2"}
        size = step_size / 10
        for name, law in smooth.items() if invariant else ():
            trial.chance(stationary(kernel, law(), size, trial.seed(name)), f"stationary on {name} as h -> 0", _STEP)
        check_mobility(trial, third_step(kernel, LAWS["gauss3"](), step_size, trial.seed("mobility")))
    configuration(trial)


def _stepping(kernel: Kernel[Any], target: Target, h: float, num_steps: int = 2) -> Call:
    def call(rows: Rows, generator: Generator) -> Rows:
        state, info = kernel.init(target.point(rows[0]), generator=generator), None
        for _ in range(num_steps):
            size = rows[0].new_full((), h)
            state, info = kernel.step(kernel.point(target, state), state, size, generator=generator)
        return *(each for each in state if each is not None), *(info or ())

    return call


def _first_step(trial: Trial, kernel: Kernel[Any], step_size: Tensor) -> Rows:
    generator, point = trial.generator("step shapes"), correlated((4, 2)).at(0.0).point(trial.rows((4, 2)))
    return (kernel.step(point, kernel.init(point, generator=generator), step_size, generator=generator)[0].x,)


def _check_state(trial: Trial, kernel: Kernel[Any], h: float) -> None:
    for dtype in (torch.float32, torch.float64):
        x, generator = trial.rows((3,), dtype=dtype), trial.generator("type")
        point = correlated((3,)).at(0.0).point(x)
        first = kernel.init(point, generator=generator)
        state, info = kernel.step(point, first, x.new_full((), h), generator=generator)
        trial.error(difference(first.x, x), "init starts at the point", "an update in `init`: it belongs in `step`")
        trial.type(state.x, x, "the state")
        trial.require(
            type(state) is type(first),
            "init and step give one kind of state",
            type(state).__name__,
            type(first).__name__,
            "another NamedTuple in `step`",
        )
        trial.require(
            not (kernel.adjusted and info is None),
            "a kernel that decides says what",
            "Info is None",
            "an Info",
            "`adjusted` is True and `step` returns None in its place",
        )
        for name, value in () if info is None else info._asdict().items():
            trial.shape(value, (len(x),), f"Info.{name}")
            boolean = name in ("accepted", "nonfinite", "trusted")
            trial.type(value, torch.ones(1, dtype=torch.bool) if boolean else wide(x), f"Info.{name}")


def check_invariance(
    trial: Trial, kernel: Kernel[Any], laws: Mapping[str, Callable[[], Law]], h: float, hint: str
) -> None:
    """Stationary, with decisions that are balanced and what they say they are, and not for want of moving."""
    for name, make in laws.items():
        law = make()
        trial.chance(stationary(kernel, law, h, trial.seed(name)), f"stationary on {name}", hint)
        made = third_step(kernel, law, h, trial.seed(f"{name}, decision"))
        check_mobility(trial, made)
        info = made.info
        if info is not None and name != "exponential2":  # there r is 0 but for its rounding
            trial.chance(balance_pvalue(info), f"detailed balance on {name}", hint)
            trial.chance(
                calibration_pvalue(info),
                f"accepted with probability min(1, e^r) on {name}",
                "one uniform for the whole batch, or a log_accept that is not the ratio that decided",
            )


def check_mobility(trial: Trial, made: Made) -> None:
    """Some chains move, and those that accepted a move among them."""
    moved = (made.before != made.after).flatten(1).any(1)
    share = moved.double().mean().item()
    trial.require(
        share > 0.02,
        "the chains move",
        f"{share:.2%} of them moved in a step",
        "2 % at least",
        "a decision that always rejects, or a step_size= that is too large for this check",
    )
    if made.info is not None:
        idle = (made.info.accepted & ~moved).sum().item()
        trial.require(
            idle == 0,
            "accepted moves are made",
            f"{idle} chains accepted a move and stayed",
            "none",
            "`accepted` negated, or the old state returned",
        )


def check_step_shapes(trial: Trial, call: Callable[[Tensor], Rows], h: float, x: Tensor) -> None:
    """A call gives the same for one step in its three shapes."""
    law, hint = "h may be (), (B,) or (B, *E)", "h * score without expand(h, x)"
    try:
        first, *others = (call(x.new_full(shape, h)) for shape in ((), x.shape[:1], x.shape))
    except RuntimeError as error:
        raise ConformanceError(trial.title, law, f"{error}", "the same for all three", hint) from error
    worst = max(difference(a, b) for each in others for a, b in zip(each, first, strict=True))
    trial.error(worst, law, hint)
