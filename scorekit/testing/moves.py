"""Checks of what moves the chains at one noise level: proposals, kernels, line integrals and step sizes."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from scorekit.base import Generator, Kernel, LineIntegral, Move, Point, Proposal, StepSize, Target, expand, wide
from scorekit.kernels import MetropolisAdjusted
from scorekit.proposals import Hamiltonian, Langevin
from scorekit.testing.invariance import Made, balance_pvalue, calibration_pvalue, stationary, third_step
from scorekit.testing.targets import LAWS, Law, correlated
from scorekit.testing.trial import (
    EVENTS,
    Call,
    Rows,
    Trial,
    any_event,
    configuration,
    difference,
    reproducible,
    rows_alone,
)

_STEP = "h mistaken for sqrt(2 h) or h / 2: the drift is h score, the noise sqrt(2 h) z"


def _sizes(h: float, x: Tensor) -> Sequence[Tensor]:
    """One step in its three shapes: (), (B,) and (B, *E)."""
    return x.new_full((), h), x.new_full((x.shape[0],), h), x.new_full(x.shape, h)


# ------------------------------------------------------------------------------------------------------------ proposals


def check_proposal(proposal: Proposal, *, step_size: float = 0.1) -> None:
    """The laws of a proposal; as Metropolis needs it, its ratio of densities has to be right.

    A path starts at the current point and has `num_segments` segments; h may have the shapes (), (B,) and (B, *E); the
    log ratio of a move and of its reverse cancel; `MetropolisAdjusted(proposal)` is stationary on four targets.

    Args:
        proposal: the proposal.
        step_size: an h at which a good part of the moves is accepted on targets of unit size.

    Raises:
        ConformanceError: naming the law that is broken.
    """
    trial = Trial("check_proposal", proposal)
    any_event(trial, lambda event: _moving(proposal, correlated(event).at(0.0), step_size), draws=True)
    for dtype in (torch.float32, torch.float64):
        x = trial.rows((3,), dtype=dtype)
        move = proposal.propose(_unseen(proposal, x), x.new_full((), step_size), generator=trial.generator("type"))
        ratio = proposal.log_q_ratio(move, x.new_full((), step_size))
        trial.type(move.path[-1].x, x, "a proposed state")
        trial.type(ratio, wide(x), "log_q_ratio")
        trial.shape(ratio, (len(x),), "log_q_ratio")
    _check_path(trial, proposal, step_size)
    _check_step_shapes(trial, proposal, step_size)
    _check_reverse(trial, proposal, step_size)
    _check_invariance(
        trial,
        MetropolisAdjusted(proposal),
        LAWS,
        step_size,
        "a wrong log_q_ratio, or a move that is "
        "not the one that it is the ratio of: mean for sum, a sign, the score of the wrong point",
    )
    configuration(trial)


def _unseen(proposal: Proposal, x: Tensor) -> Point:
    """A point whose score may be asked for only if the proposal says that it does."""
    return (correlated(tuple(x.shape[1:])).at(0.0) if proposal.needs_score else _SCORELESS).point(x)


def _refuse(x: Tensor) -> Tensor:
    raise ValueError("the score was evaluated, and the component says that it needs none (needs_score, uses_point)")


_SCORELESS = Target(_refuse)


def _moving(proposal: Proposal, target: Target, h: float) -> Call:
    def call(rows: Rows, generator: Generator) -> Rows:
        size = rows[0].new_full((), h)
        move = proposal.propose(target.point(rows[0]), size, generator=generator)
        return *(point.x for point in move.path), proposal.log_q_ratio(move, size), *(move.momenta or ())

    return call


def _check_path(trial: Trial, proposal: Proposal, h: float) -> None:
    x = trial.rows((3,))
    half = Target(lambda y: -y, project=lambda y: torch.cat((torch.zeros_like(y[:, :1]), y[:, 1:]), dim=1))
    path = proposal.propose(half.point(x), x.new_full((), h), generator=trial.generator("path")).path
    trial.require(
        len(path) == proposal.num_segments + 1,
        "the path has num_segments segments",
        f"{len(path) - 1}",
        f"{proposal.num_segments}",
        "num_segments is not overridden, or a point is left out",
    )
    trial.error(
        difference(path[0].x, half.point(x).x),
        "the path starts at the current point",
        "path = (proposed,) for (point, proposed), or the two the wrong way round",
    )
    trial.error(
        max(difference(half.project(point.x), point.x) for point in path),
        "every point is projected",
        "Point(target, y) for target.point(y)",
    )


def _check_step_shapes(trial: Trial, proposal: Proposal, h: float) -> None:
    x, found = trial.rows((4, 2)), []
    for size in _sizes(h, x):
        generator = trial.generator("step shapes")
        move = proposal.propose(correlated((4, 2)).at(0.0).point(x), size, generator=generator)
        found.append((move.path[-1].x, proposal.log_q_ratio(move, size)))
    worst = max(difference(a, b) for each in found[1:] for a, b in zip(each, found[0], strict=True))
    trial.error(worst, "h may be (), (B,) or (B, *E)", "h * score without expand(h, x)")


def _check_reverse(trial: Trial, proposal: Proposal, h: float) -> None:
    x = trial.rows((3,))
    size = x.new_full((), h)
    move = proposal.propose(correlated((3,)).at(0.0).point(x), size, generator=trial.generator("reverse"))
    back = Move(move.path[::-1], None if move.momenta is None else (-move.momenta[1], -move.momenta[0]))
    there, again = proposal.log_q_ratio(move, size), proposal.log_q_ratio(back, size)
    trial.error(
        difference(-again, there),
        "the log ratios of a move and of its reverse cancel",
        "log q(x | y) evaluated with the score at x, or one of the two terms missing",
    )


# -------------------------------------------------------------------------------------------------------------- kernels


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
    _check_kernel_step_shapes(trial, kernel, step_size)
    hint = "a decision that is not Metropolis's, a stale score or log density, or a repaired NaN"
    if kernel.adjusted:
        _check_invariance(trial, kernel, LAWS, step_size, hint)
        if score_only:
            hidden = {name: (lambda name=name: LAWS[name]().score_only()) for name in LAWS if name != "exponential2"}
            _check_invariance(trial, kernel, hidden, step_size, "a line integral that is not exact enough")
    else:
        smooth = {name: LAWS[name] for name in LAWS if name != "exponential2"}
        size = step_size / 10
        for name, law in smooth.items() if invariant else ():
            trial.chance(stationary(kernel, law(), size, trial.seed(name)), f"stationary on {name} as h -> 0", _STEP)
    _check_mobility(trial, third_step(kernel, LAWS["gauss3"](), step_size, trial.seed("mobility")))
    configuration(trial)


def _stepping(kernel: Kernel[Any], target: Target, h: float, num_steps: int = 2) -> Call:
    def call(rows: Rows, generator: Generator) -> Rows:
        state, info = kernel.init(target.point(rows[0]), generator=generator), None
        for _ in range(num_steps):
            size = rows[0].new_full((), h)
            state, info = kernel.step(kernel.point(target, state), state, size, generator=generator)
        return *(each for each in state if each is not None), *(info or ())

    return call


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


def _check_kernel_step_shapes(trial: Trial, kernel: Kernel[Any], h: float) -> None:
    x, found = trial.rows((4, 2)), []
    for size in _sizes(h, x):
        generator, point = trial.generator("step shapes"), correlated((4, 2)).at(0.0).point(x)
        found.append(kernel.step(point, kernel.init(point, generator=generator), size, generator=generator)[0].x)
    worst = max(difference(each, found[0]) for each in found[1:])
    trial.error(worst, "h may be (), (B,) or (B, *E)", "h * score without expand(h, x)")


def _check_invariance(
    trial: Trial, kernel: Kernel[Any], laws: Mapping[str, Callable[[], Law]], h: float, hint: str
) -> None:
    """Stationary, with decisions that are balanced and what they say they are, and not for want of moving."""
    for name, make in laws.items():
        law = make()
        trial.chance(stationary(kernel, law, h, trial.seed(name)), f"stationary on {name}", hint)
        made = third_step(kernel, law, h, trial.seed(f"{name}, decision"))
        _check_mobility(trial, made)
        info = made.info
        if info is not None and name != "exponential2":  # there r is 0 but for its rounding
            trial.chance(balance_pvalue(info), f"detailed balance on {name}", hint)
            trial.chance(
                calibration_pvalue(info),
                f"accepted with probability min(1, e^r) on {name}",
                "one uniform for the whole batch, or a log_accept that is not the ratio that decided",
            )


def _check_mobility(trial: Trial, made: Made) -> None:
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


# ------------------------------------------------------------------------------------------------------- line integrals


def check_line_integral(
    line_integral: LineIntegral, *, proposal: Proposal | None = None, step_size: float = 0.1
) -> None:
    """The laws of a line integral: antisymmetric, exact for constant scores, and exact enough for Metropolis.

    `MetropolisAdjusted(proposal, line_integral)` has to be stationary on targets of which it sees the score alone. The
    log-gamma target rejects the trapezoid rule, which is exact on Gaussians.

    Args:
        line_integral: the rule.
        proposal: whose paths it integrates over; None for Langevin's if one segment is enough, else a Hamiltonian's.
        step_size: an h for that proposal.

    Raises:
        ConformanceError: naming the law that is broken.
    """
    trial = Trial("check_line_integral", line_integral)
    shortest = line_integral.min_segments
    chosen = proposal or (Langevin() if shortest == 1 else Hamiltonian(max(3, shortest)))

    def call_on(event: tuple[int, ...]) -> Call:
        target = Target(correlated(event).score)

        def call(rows: Rows, generator: Generator) -> Rows:
            size = rows[0].new_full((), step_size)
            return line_integral(chosen.propose(target.point(rows[0]), size, generator=generator).path)

        return call

    any_event(trial, call_on, draws=True)
    x = trial.rows((3,))
    constant, bent = Target(lambda y: torch.ones_like(y) * 3), Target(lambda y: -(y**3))
    for target in (constant, bent):
        path = chosen.propose(target.point(x), x.new_full((), step_size), generator=trial.generator("path")).path
        value, trusted = line_integral(path)
        trial.shape(trusted, (len(x),), "trusted")
        trial.type(trusted, torch.ones(1, dtype=torch.bool), "trusted")
        trial.error(
            difference(-line_integral(path[::-1])[0], value),
            "reversal of the path changes the sign",
            "weights that are not symmetric in the two ends",
        )
        if target is constant:
            trial.error(
                difference(value, 3 * (path[-1].x - path[0].x).sum(1)),
                "exact for a constant score",
                "weights that do not sum to 1",
            )
    kernel = MetropolisAdjusted(chosen, line_integral)
    for name in ("gauss3", "loggamma2", "gmm2"):
        law = LAWS[name]().score_only()
        trial.chance(
            stationary(kernel, law, step_size, trial.seed(name)),
            f"Metropolis is stationary on {name}",
            "a rule of too low an order, such as the trapezoid rule",
        )
    _check_mobility(trial, third_step(kernel, LAWS["loggamma2"]().score_only(), step_size, trial.seed("mobility")))
    configuration(trial)


# ----------------------------------------------------------------------------------------------------------- step sizes


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
        target = correlated(event).at(0.0) if step_size.uses_point else _SCORELESS
        for sigma in levels:

            def call(rows: Rows, generator: Generator, sigma: float = sigma, target: Target = target) -> Rows:
                return (expand(step_size(sigma, target.point(rows[0])), rows[0]).expand_as(rows[0]),)

            for dtype in (torch.float32, torch.float64):
                _check_step(
                    trial,
                    step_size(sigma, target.point(trial.rows(event, dtype=dtype))),
                    trial.rows(event, dtype=dtype),
                    sigma,
                )
            x = trial.rows(event)
            reproducible(trial, call, (x,), draws=False)
            rows_alone(trial, call, (x,))
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


__all__ = ["check_kernel", "check_line_integral", "check_proposal", "check_step_size"]
