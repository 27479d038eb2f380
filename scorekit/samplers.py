r"""Samplers: one driver for every kernel, schedule, step size and transition, and the loop around it.

**Annealed MCMC** (NCSN's Algorithm 1 with any kernel). For sigma_1 > ... > sigma_L: move the chains from the level
before by a transition, then take `steps_per_level` steps of the kernel on p_sigma; last, a final transition
(`Denoise`, say) to sigma = 0 and the projection of the family's target there. Annealed Langevin dynamics is `Stay` +
`Unadjusted(Langevin())`; one level makes it plain Langevin dynamics; zero steps per level leave an ordinary
transition sampler. With L levels of T steps, annealed Langevin makes exactly L T evaluations of the score, and one
more to denoise. Every update yields a `Step`, the last one included: the released NCSN sampler returned the state
one update short.
"""

from collections.abc import Callable, Iterable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from typing import Any, NamedTuple, final

import torch
from torch import Tensor

from scorekit.base import (
    Generator,
    Info,
    Kernel,
    NoiseSchedule,
    Point,
    Sampler,
    Start,
    Step,
    StepSize,
    Target,
    TargetFamily,
    Transition,
    fork,
    shift,
)
from scorekit.kernels import Unadjusted
from scorekit.noise import SingleLevel
from scorekit.proposals import Langevin
from scorekit.starts import Matched
from scorekit.step_sizes import Constant, SigmaSquared
from scorekit.target import identity
from scorekit.transitions import Stay


@final
@dataclass(frozen=True)
class AnnealedMCMC(Sampler):
    """Kernel steps at each noise level, a transition between levels, a final move.

    Args:
        kernel: the Markov kernel.
        noise: the schedule with the levels to visit.
        step_size: the rule for h; the default is h = sigma^2 / 8.
        steps_per_level: T >= 0.
        transition: how chains move from a level to the next.
        start: the law of the initial chains.
        final: the last move, from sigma_L to sigma = 0; `Stay()` for none.

    Raises:
        ValueError: if steps_per_level < 0, or a transition that only moves to sigma = 0 is put between levels.
    """

    kernel: Kernel[Any]
    noise: NoiseSchedule
    step_size: StepSize = SigmaSquared()
    steps_per_level: int = 100
    transition: Transition = Stay()
    start: Start = Matched()
    final: Transition = Stay()

    def __post_init__(self):
        if not isinstance(self.steps_per_level, int) or self.steps_per_level < 0:
            raise ValueError(f"AnnealedMCMC(steps_per_level={self.steps_per_level}): expected an integer >= 0")
        if self.transition.only_final:
            raise ValueError(
                f"AnnealedMCMC(transition={self.transition}): it moves to sigma = 0 only; use it as final="
            )

    def num_updates(self) -> int:
        """L T kernel steps, and L - 1 transitions and one final move unless they are `Stay()`."""
        num_levels = len(self.noise.levels())
        moves = (num_levels - 1) * (self.transition != Stay()) + (self.final != Stay())
        return num_levels * self.steps_per_level + moves

    def initial(
        self,
        shape: tuple[int, ...],
        *,
        family: TargetFamily | None = None,
        generator: Generator = None,
        device: torch.device | str | None = None,
        dtype: torch.dtype | None = None,
    ) -> Tensor:
        """Chains (B, *E) drawn from `start` for the first level; device and dtype are the family's unless given.

        Raises:
            ValueError: if the shape has no event axis or no chain.
        """
        _check_shape(shape)
        if family is not None:
            device, dtype = device or family.device, dtype or family.dtype
        like = torch.empty(tuple(shape), device=device, dtype=dtype)
        with torch.no_grad():
            return self.start.draw(
                like, self.noise.levels()[0].item(), family=family, generator=fork(generator, "start")
            )

    def steps(self, family: TargetFamily, x: Tensor, *, generator: Generator = None) -> Iterator[Step]:
        """Check at once, then yield every update of the chains that start at x (B, *E).

        Raises:
            ValueError: if x is not a floating-point (B, *E), the family is not valid at one of the levels, or the
                step-size rule has no positive finite h at one.
        """
        if x.ndim < 2 or not x.is_floating_point():
            raise ValueError(f"chains of shape {tuple(x.shape)} and type {x.dtype}: expected a floating-point (B, *E)")
        levels = self.noise.levels()
        family.require(levels)
        if self.steps_per_level and not self.step_size.uses_point:
            self._check_step_sizes(levels, Point(Target(identity), x))  # the family is not asked: `at` may draw
        return self._run(family, x, levels.tolist(), generator)

    def _check_step_sizes(self, levels: Tensor, point: Point) -> None:
        for sigma in levels.tolist():
            h = self.step_size(sigma, point)
            if not ((h > 0) & h.isfinite()).all():
                raise ValueError(
                    f"{self.step_size} gives h = {h.min().item():g} at sigma = {sigma:g}: expected 0 < h < inf"
                )

    def _run(self, family: TargetFamily, x: Tensor, levels: list[float], generator: Generator) -> Iterator[Step]:
        draws = fork(generator, "family")
        target = family.at(levels[0], like=x, generator=fork(draws, 0))
        point, carry = target.point(x), None
        for i, sigma in enumerate(levels):
            here, drawn = fork(generator, i), fork(draws, i)
            if i > 0:
                target = family.at(sigma, like=point.x, generator=drawn)
                ends = levels[i - 1], sigma
                with torch.no_grad():
                    x, carry = self.transition.move(
                        family, point, target, *ends, carry, generator=fork(here, "transition")
                    )
                moved = x is not point.x
                point = target.point(x)
                if moved:
                    yield Step(point.x, sigma, None, "transition")
            with torch.no_grad():
                state = self.kernel.init(point, generator=fork(here, "init"))
            h = self._hoisted(sigma, point)
            for t in range(self.steps_per_level):
                if t > 0 and family.refresh == "step":
                    target = family.at(sigma, like=point.x, generator=fork(drawn, t))
                    point = target.point(point.x)
                with torch.no_grad():
                    now = self.step_size(sigma, point) if h is None else h
                    state, info = self.kernel.step(point, state, now, generator=fork(here, t))
                point = self.kernel.point(target, state)
                yield Step(point.x, sigma, info, "step")
        clean = family.at(0.0, like=point.x, generator=fork(draws, len(levels)))
        with torch.no_grad():
            x, _ = self.final.move(family, point, clean, levels[-1], 0.0, carry, generator=fork(generator, "final"))
        x = clean.project(x)
        if x is not point.x:
            yield Step(x, 0.0, None, "final")

    def _hoisted(self, sigma: float, point: Point) -> Tensor | None:
        """h for the whole level, or None if it depends on the state."""
        return self.step_size(sigma, point) if self.steps_per_level and not self.step_size.uses_point else None


def langevin(
    *,
    sigma: float = 0.0,
    step_size: StepSize | float | None = None,
    num_steps: int = 1000,
    start: Start = Matched(),
    final: Transition = Stay(),
) -> AnnealedMCMC:
    """Unadjusted Langevin dynamics at one noise level: x <- x + h s(x, sigma) + sqrt(2 h) z.

    Args:
        sigma: the level; 0 samples the clean target.
        step_size: h, or a rule; None takes sigma^2 / 8, and is refused at sigma = 0 when sampling starts.
        num_steps: how many steps.
        start: the law of the initial chains.
        final: the last move; `Denoise()` for Tweedie's posterior mean.
    """
    return AnnealedMCMC(
        Unadjusted(Langevin()), SingleLevel(sigma), _rule(step_size), num_steps, start=start, final=final
    )


def annealed_langevin(
    noise: NoiseSchedule,
    *,
    step_size: StepSize | float | None = None,
    steps_per_level: int = 100,
    transition: Transition = Stay(),
    start: Start = Matched(),
    final: Transition = Stay(),
) -> AnnealedMCMC:
    """Annealed Langevin dynamics (Song and Ermon, arXiv 1907.05600, Algorithm 1).

    The paper's setting is `SigmaSquared(1e-5, sigma_min=0.01)` as printed (its alpha is 2 h) or `SigmaSquared(2e-5,
    sigma_min=0.01)` as released, 100 steps a level, `start=Uniform(0, 1)`.

    Args:
        noise: the levels to visit.
        step_size: h, or a rule; None takes sigma^2 / 8.
        steps_per_level: T.
        transition: how chains move from a level to the next.
        start: the law of the initial chains.
        final: the last move; `Denoise()` for Tweedie's posterior mean.
    """
    return AnnealedMCMC(
        Unadjusted(Langevin()), noise, _rule(step_size), steps_per_level, transition, start=start, final=final
    )


def _rule(step_size: StepSize | float | None) -> StepSize:
    if step_size is None:
        return SigmaSquared()
    return step_size if isinstance(step_size, StepSize) else Constant(step_size)


def sample(
    sampler: Sampler,
    family: TargetFamily,
    shape: tuple[int, ...],
    *,
    generator: Generator = None,
    batch_size: int | None = None,
    progress: bool = False,
    device: torch.device | str | None = None,
    dtype: torch.dtype | None = None,
) -> Tensor:
    """Run a sampler from its own start to its last update, in flat memory.

    The family's modules are in evaluation mode meanwhile, and each gets its own mode back.

    Args:
        sampler: the sampler.
        family: the targets: a score model, a density, `from_score(...)`, ...
        shape: (B, *E): the number of chains, and the event's shape.
        generator: where randomness comes from. With a `PerChain`, chain i is the same whatever B and batch_size, to
            rounding.
        batch_size: how many chains run at once; None for all. The last batch may be smaller.
        progress: show a progress bar, on a terminal.
        device, dtype: of the chains; the family's own, else torch's defaults, unless given.

    Returns:
        The last state of the chains (B, *E).

    Raises:
        ValueError: from `sampler.initial` and `sampler.steps`; if batch_size < 1.
    """
    _check_shape(shape)
    if not isinstance(family, TargetFamily):
        raise TypeError(
            f"sample takes a family of targets, not a {type(family).__name__}: wrap a network in DirectScore or "
            "ScaledScore, a function in from_score"
        )
    if batch_size is not None and batch_size < 1:
        raise ValueError(f"sample(batch_size={batch_size}): expected at least one chain at once")
    size = batch_size or shape[0]
    chunks = [(first, min(size, shape[0] - first)) for first in range(0, shape[0], size)]
    parts = []
    with family.evaluating(), _bar(len(chunks) * sampler.num_updates(), progress) as advance, _no_autograd(family):
        for first, count in chunks:
            streams = shift(generator, first)
            x = sampler.initial((count, *shape[1:]), family=family, generator=streams, device=device, dtype=dtype)
            for step in sampler.steps(family, x, generator=streams):
                x = step.x
                advance()
            parts.append(x)
    return torch.cat(parts)  # outside inference mode: an ordinary tensor


def _check_shape(shape: tuple[int, ...]) -> None:
    if len(shape) < 2 or min(shape) < 1:
        raise ValueError(
            f"shape {tuple(shape)}: expected (B, *E), a number of chains and at least one event axis, all >= 1"
        )


def _no_autograd(family: TargetFamily) -> AbstractContextManager[None]:
    return torch.inference_mode() if family.inference_mode else torch.no_grad()


@contextmanager
def _bar(total: int, shown: bool) -> Iterator[Callable[[], object]]:
    """A function to call at each update."""
    if not shown:
        yield lambda: None
        return
    from tqdm.auto import tqdm

    with tqdm(total=total, desc="sampling", unit="step", disable=None) as bar:
        yield bar.update


class Chains(NamedTuple):
    """States kept from a run, with time as the first axis."""

    x: Tensor  # (T, B, *E)
    sigma: Tensor  # (T,), float64
    info: Info | None  # each field (T, B); None if no kept step decided anything


def collect(steps: Iterable[Step], *, every: int = 1, start: int = 0) -> Chains:
    """Keep the updates number start, start + every, ... (from 0) of a run.

    Args:
        steps: what `Sampler.steps` yields.
        every: keep one update in so many.
        start: the first one kept.

    Returns:
        The kept states. Updates that decide nothing (a transition) have NaN or False in `info` where others decide.

    Raises:
        ValueError: if every < 1, start < 0, or nothing was kept.
    """
    if every < 1 or start < 0:
        raise ValueError(f"collect(every={every}, start={start}): expected every >= 1 and start >= 0")
    kept = [step for number, step in enumerate(steps) if number >= start and (number - start) % every == 0]
    if not kept:
        raise ValueError(f"collect(every={every}, start={start}): the run has too few updates, nothing was kept")
    sigma = torch.tensor([step.sigma for step in kept], dtype=torch.float64)
    return Chains(torch.stack([step.x for step in kept]), sigma, _stack([step.info for step in kept]))


def _stack(infos: list[Info | None]) -> Info | None:
    decided = next((info for info in infos if info is not None), None)
    if decided is None:
        return None
    nothing = Info(*(torch.zeros_like(v) if v.dtype == torch.bool else torch.full_like(v, torch.nan) for v in decided))
    return Info(*map(torch.stack, zip(*(info or nothing for info in infos), strict=True)))
