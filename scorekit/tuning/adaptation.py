r"""Step sizes for Metropolis-adjusted kernels, found in a short run and fixed from then on.

At each noise level, with the chains that come from the level before, and h_0 the sampler's own step there:

1. **Bracketing.** h is doubled, or halved, from h_0 until the acceptance rate crosses 1/2, so that the steps of dual
   averaging are not spent on the way there: from a step a million times too long, on log-gamma variables, d = 20, it
   ends .04 to .10 from its target alone, and within .01 with the bracketing.
2. **Dual averaging** (Hoffman and Gelman, JMLR 2014, section 3.2) of u = log h towards an acceptance rate delta. With
   a_t the acceptance probability of step t, averaged over the chains,

       H_t = (1 - 1/(t + t_0)) H_{t-1} + (delta - a_t) / (t + t_0),     u_{t+1} = u_1 - sqrt(t) / gamma H_t,

   and log h is the average of the iterates, w_t u_{t+1} + (1 - w_t) times the average before, w_t = t^-kappa; gamma =
   .05, t_0 = 10, kappa = .75 as there. u_1, towards which u is drawn, is where the bracketing ended.
3. **Diagonal mass**, if wanted. The variance v_j of each coordinate, over chains and steps at that h, is shrunk towards
   the geometric mean over the coordinates, as N chains are worth it, and the steps are proportional to it,

       h_j = h (v_j / v)^(N / (N + 5)),     log v = mean of log v_j,

   where h is found by 1. and 2. once more. The mean is geometric because v_j are scales: beside a large one, an
   arithmetic mean would swamp the small ones.

The result is a `Table`: a pure rule, under which the kernel leaves each target invariant. Adapting while samples are
kept would not.
"""

import math
from collections.abc import Callable
from dataclasses import replace

import torch
from torch import Tensor

from scorekit._kinds import require_kind
from scorekit.base import Generator, Info, StepSize, TargetFamily, fork
from scorekit.samplers import AnnealedMCMC, Stage, sample
from scorekit.step_sizes import Table

_GAMMA, _T0, _KAPPA = 0.05, 10.0, 0.75
_DOUBLINGS = 60
_PRIOR_CHAINS = 5.0


def tune(
    sampler: AnnealedMCMC,
    family: TargetFamily,
    shape: tuple[int, ...],
    *,
    target_acceptance: float | None = None,
    num_iterations: int = 60,
    diagonal_mass: bool = False,
    generator: Generator = None,
    device: torch.device | str | None = None,
    dtype: torch.dtype | None = None,
) -> AnnealedMCMC:
    """The sampler with a step size for each level at which moves are accepted as often as wanted.

    The cost at a level is about `num_iterations` steps and 2 to 10 for the bracketing; three times that with a diagonal
    mass. The chains of the tuning run are dropped.

    Args:
        sampler: its kernel is Metropolis-adjusted; its own step size is where the search starts.
        family: the targets, with or without a log density.
        shape: (B, *E). The acceptance is averaged over the B chains: 32 or more make it smooth.
        target_acceptance: delta; None for the kernel's own (.574 with `Langevin`, .8 with `Hamiltonian`, .234 with
            `RandomWalk`; .95 with `FreeCubic`, which errs at longer steps).
        num_iterations: the steps of dual averaging at each level.
        diagonal_mass: a step for each coordinate, from the chains' variances.
        generator: where the run draws from: the fork "tune" of a `PerChain`.
        device, dtype: of the chains; the family's own, else torch's defaults, unless given.

    Returns:
        The same sampler with a `Table`.

    Raises:
        TypeError: if `sampler`, `family`, `shape` or `generator` is something else.
        ValueError: if the kernel is not Metropolis-adjusted, or takes no step; if target_acceptance or num_iterations
            is out of range; for a diagonal mass from fewer than two chains; for a trajectory (`Hamiltonian`) over
            several levels, unless target_acceptance is given; if no step size brings the acceptance rate across 1/2;
            from `sampler.initial` and `sampler.steps`.
    """
    require_kind("tune", AnnealedMCMC, "annealed_mala(...), say", sampler=sampler)
    require_kind("tune", TargetFamily, "ScaledScore(network), from_score(function), ...", family=family)
    delta = _checked(sampler, shape, target_acceptance, num_iterations, diagonal_mass)
    draws = fork(generator, "tune")
    with family.evaluating(), torch.no_grad():
        x = sampler.initial(shape, family=family, generator=draws, device=device, dtype=dtype)
        sampler.steps(family, x)  # its checks are made at once; no step is taken
        adapt = _with_mass if diagonal_mass else _adapted
        steps = tuple(
            adapt(stage, _pattern(sampler.step_size, stage), delta, num_iterations)
            for stage in sampler.stages(family, x, generator=draws)
        )
    table = Table(tuple(sampler.noise.levels().tolist()), tuple(h.double().tolist() for h in steps))
    return replace(sampler, step_size=table)


def tune_and_sample(
    sampler: AnnealedMCMC,
    family: TargetFamily,
    shape: tuple[int, ...],
    *,
    tuning_chains: int = 128,
    target_acceptance: float | None = None,
    num_iterations: int = 60,
    diagonal_mass: bool = False,
    generator: Generator = None,
    batch_size: int | None = None,
    progress: bool = False,
    device: torch.device | str | None = None,
    dtype: torch.dtype | None = None,
) -> Tensor:
    """`tune`, then `sample` with what it gave: new chains from the start, none of those that were tuned on.

    Args:
        sampler: see `tune`.
        family: see `tune`.
        shape: (B, *E), of the samples.
        tuning_chains: how many chains the step size is tuned on.
        target_acceptance: see `tune`.
        num_iterations: see `tune`.
        diagonal_mass: see `tune`.
        generator: where both runs draw from.
        batch_size: see `sample`, as are the rest.
        progress: a progress bar for the second run.
        device, dtype: of the chains.

    Returns:
        The last state of the chains (B, *E).

    Raises:
        TypeError: from `tune` and `sample`.
        ValueError: from `tune` and `sample`.
    """
    tuned = tune(
        sampler,
        family,
        (tuning_chains, *shape[1:]),
        target_acceptance=target_acceptance,
        num_iterations=num_iterations,
        diagonal_mass=diagonal_mass,
        generator=generator,
        device=device,
        dtype=dtype,
    )
    return sample(
        tuned,
        family,
        shape,
        generator=generator,
        batch_size=batch_size,
        progress=progress,
        device=device,
        dtype=dtype,
    )


def _checked(
    sampler: AnnealedMCMC, shape: tuple[int, ...], wanted: float | None, num_iterations: int, diagonal_mass: bool
) -> float:
    """The target acceptance, after the checks that need no chain."""
    kernel, num_levels = sampler.kernel, len(sampler.noise.levels())
    if not kernel.adjusted:
        raise ValueError(f"tune: {kernel} is not Metropolis-adjusted: every move is made, there is nothing to tune")
    if sampler.steps_per_level < 1:
        raise ValueError("tune: AnnealedMCMC(steps_per_level=0) takes no step of its kernel: there is nothing to tune")
    if not isinstance(num_iterations, int) or num_iterations < 1:
        raise ValueError(f"tune(num_iterations={num_iterations!r}): expected an integer >= 1")
    if diagonal_mass and shape[0] < 2:
        raise ValueError(f"tune(shape={tuple(shape)}, diagonal_mass=True): variances need two chains at least")
    if wanted is None and kernel.num_segments > 1 and num_levels > 1:
        raise ValueError(
            f"tune: {kernel} over {num_levels} levels: trajectories as long as their acceptance allows hop between "
            "modes in the wrong proportions; under annealing keep them near (pi / 2) sigma, as the default step size "
            "does, or give target_acceptance= to tune all the same"
        )
    delta = kernel.target_acceptance if wanted is None else wanted
    if delta is None:
        raise ValueError(f"tune: {kernel} names no acceptance rate to aim at: give target_acceptance=")
    if not 0 < delta < 1:
        raise ValueError(f"tune(target_acceptance={delta}): expected 0 < target_acceptance < 1")
    return delta


# ------------------------------------------------------------------------------------------------- chains at a level


def _step(stage: Stage, h: Tensor) -> float:
    """One step of the kernel; the acceptance probability, averaged over the chains."""
    info = stage.step(lambda point: h)
    if info is None:
        raise ValueError(f"tune: {stage.kernel} calls itself adjusted but its Info is None: no acceptance to go by")
    return _acceptance(info)


def _acceptance(info: Info) -> float:
    """The mean of min(1, e^r); what was decided on other grounds than r (not finite, not trusted) as it was decided."""
    by_ratio = info.log_accept.isfinite() & info.trusted
    probability = torch.where(by_ratio, info.log_accept.exp().clamp(max=1), info.accepted.to(info.log_accept.dtype))
    return float(probability.mean())


def _pattern(rule: StepSize, stage: Stage) -> Tensor:
    """The rule's own h at a level, () or (*E)."""
    x = stage.point.x
    h = rule(stage.sigma, stage.point)
    if h.ndim == 0:
        return h
    if h.shape != x.shape or not (h == h[:1]).all():
        raise ValueError(
            f"tune: {rule} gives each chain a step of its own at sigma = {stage.sigma:g}: expected one number, or the "
            "same numbers of the event's shape for all chains"
        )
    return h[0]


# ------------------------------------------------------------------------------------------------- one level's step


def _adapted(stage: Stage, pattern: Tensor, delta: float, num_iterations: int) -> Tensor:
    """The multiple of `pattern`, () or (*E), whose acceptance rate is delta."""
    x = stage.point.x

    def accepted(u: float) -> float:
        h = pattern * math.exp(u)
        return _step(stage, h if h.ndim == 0 else h.expand(x.shape))

    place = f"tune: at sigma = {stage.sigma:g}, from h = {pattern.mean():.3g}"
    u = dual_averaging(accepted, bracketed(accepted, place), delta, num_iterations)
    return pattern.double() * math.exp(u)


def _with_mass(stage: Stage, pattern: Tensor, delta: float, num_iterations: int) -> Tensor:
    """A step for each coordinate, proportional to the variance of the chains, shrunk."""
    h = _adapted(stage, pattern, delta, num_iterations).to(stage.point.x)
    variances = _variances(stage, h if h.ndim == 0 else h.expand(stage.point.x.shape), num_iterations)
    mass = h.double().log().mean().exp() * relative_steps(variances, len(stage.point.x))
    return _adapted(stage, mass.to(stage.point.x), delta, num_iterations)


def _variances(stage: Stage, h: Tensor, num_steps: int) -> Tensor:
    """Of each coordinate, over chains and steps, (*E) in float64."""
    origin = stage.point.x.double().mean(0)
    first, second = torch.zeros_like(origin), torch.zeros_like(origin)
    for _ in range(num_steps):
        _step(stage, h)
        moved = stage.point.x.double() - origin
        first, second = first + moved.mean(0) / num_steps, second + moved.square().mean(0) / num_steps
    return second - first.square()


def relative_steps(variances: Tensor, num_chains: int) -> Tensor:
    """(v_j / v)^(N / (N + 5)), with v their geometric mean: steps for each coordinate, (*E), of geometric mean 1.

    A variance of 0, of a coordinate that a family holds fast, counts as v: it needs no step of its own.
    """
    moved = variances > 0
    logs = torch.where(moved, variances, 1.0).log()
    relative = torch.where(moved, logs - logs[moved].mean(), 0.0)
    return (relative * (num_chains / (num_chains + _PRIOR_CHAINS))).exp()


def bracketed(acceptance: Callable[[float], float], place: str) -> float:
    """A log step near which the acceptance rate crosses 1/2, searched from 0.

    Args:
        acceptance: log step -> the acceptance rate of a step of that size.
        place: what the message begins with.

    Raises:
        ValueError: if 60 doublings or halvings do not get there.
    """
    u = 0.0
    small = acceptance(u) > 0.5
    for _ in range(_DOUBLINGS):
        u += math.log(2) if small else -math.log(2)
        if (acceptance(u) > 0.5) != small:
            return u
    side, way = ("above", "doubled") if small else ("not above", "halved")
    raise ValueError(f"{place}: the acceptance rate is {side} 1/2 still after the step was {way} {_DOUBLINGS} times")


def dual_averaging(acceptance: Callable[[float], float], u: float, delta: float, num_iterations: int) -> float:
    """The log step whose acceptance rate is delta.

    Args:
        acceptance: log step -> the acceptance rate of a step of that size, noise and all.
        u: the log step to start from.
        delta: the acceptance rate wanted.
        num_iterations: how often `acceptance` is asked.
    """
    centre, error, average = u, 0.0, u
    for t in range(1, num_iterations + 1):
        error += (delta - acceptance(u) - error) / (t + _T0)
        u = centre - math.sqrt(t) / _GAMMA * error
        average += t**-_KAPPA * (u - average)
    return average
