r"""Samplers: one driver for every kernel, schedule, step size and transition.

**Annealed MCMC** (NCSN's Algorithm 1 with any kernel). For sigma_1 > ... > sigma_L: move the chains from the level
before by a transition, then take `steps_per_level` steps of the kernel on p_sigma; last, a final transition
(`Denoise`, say) to sigma = 0 and the projection of the family's target there. Annealed Langevin dynamics is `Stay` +
`Unadjusted(Langevin())`; one level makes it plain Langevin dynamics; zero steps per level leave an ordinary
transition sampler. With L levels of T steps, annealed Langevin makes exactly L T evaluations of the score, and one
more to denoise. Every update yields a `Step`, the last one included: the released NCSN sampler returned the state
one update short.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from numbers import Integral
from typing import Any, final

import torch
from torch import Tensor

from scorekit._kinds import require_kind
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
)
from scorekit.noise import checked_levels
from scorekit.starts import Matched
from scorekit.step_sizes import SigmaSquared
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
        TypeError: if a part is of another kind: a proposal for the kernel, say.
        ValueError: if steps_per_level is no integer >= 0; if a transition that only moves to sigma = 0 is put between
            levels; if a Metropolis-adjusted kernel is given a step size that depends on the state.
    """

    kernel: Kernel[Any]
    noise: NoiseSchedule
    step_size: StepSize = SigmaSquared()
    steps_per_level: int = 100
    transition: Transition = Stay()
    start: Start = Matched()
    final: Transition = Stay()

    def __post_init__(self):
        require_kind("AnnealedMCMC", Kernel, "Unadjusted(...) or MetropolisAdjusted(...)", kernel=self.kernel)
        require_kind("AnnealedMCMC", NoiseSchedule, "Levels((2.0, 0.5)), say", noise=self.noise)
        require_kind("AnnealedMCMC", StepSize, "Constant(h), say", step_size=self.step_size)
        require_kind("AnnealedMCMC", Transition, transition=self.transition, final=self.final)
        require_kind("AnnealedMCMC", Start, start=self.start)
        if not isinstance(self.steps_per_level, int) or self.steps_per_level < 0:
            raise ValueError(f"AnnealedMCMC(steps_per_level={self.steps_per_level!r}): expected an integer >= 0")
        if self.transition.only_final:
            raise ValueError(
                f"AnnealedMCMC(transition={self.transition}): it moves to sigma = 0 only; use it as final="
            )
        if self.kernel.adjusted and self.step_size.uses_point:
            raise ValueError(
                f"AnnealedMCMC(kernel={self.kernel}, step_size={self.step_size}): the step size depends on the state, "
                "which breaks the kernel's detailed balance; use an unadjusted kernel or a fixed step"
            )

    def num_updates(self) -> int:
        """L T kernel steps, and L - 1 transitions and one final move unless they are `Stay()`.

        A family that projects (known pixels) adds a last update where `final` is `Stay()`.
        """
        num_levels = len(self.noise.levels())
        moves = (num_levels - 1) * (self.transition != Stay()) + (self.final != Stay())
        return num_levels * self.steps_per_level + moves

    @property
    def fixed_step_size(self) -> StepSize | None:
        """`step_size`, unless it depends on the state or no step is taken."""
        return None if self.step_size.uses_point or not self.steps_per_level else self.step_size

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
            TypeError: if the shape is no sequence of integers.
            ValueError: if the shape has no event axis or no chain.
        """
        check_shape(shape)
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
            TypeError: if the family is none.
            ValueError: if x is not a floating-point (B, *E), the levels do not decrease, the family is not valid at one
                of them, or the step-size rule has no positive finite h at one.
        """
        require_kind("steps", TargetFamily, "ScaledScore(network), from_score(function), ...", family=family)
        if x.ndim < 2 or not x.is_floating_point():
            raise ValueError(f"chains of shape {tuple(x.shape)} and type {x.dtype}: expected a floating-point (B, *E)")
        levels = checked_levels(self.noise)
        family.require(levels)
        if self.steps_per_level and not self.step_size.uses_point:
            self._check_step_sizes(levels, Point(Target(identity), x))  # the family is not asked: `at` may draw
        return self._run(family, x, generator)

    def _check_step_sizes(self, levels: Tensor, point: Point) -> None:
        for sigma in levels.tolist():
            h = self.step_size(sigma, point)
            if not ((h > 0) & h.isfinite()).all():
                raise ValueError(
                    f"{self.step_size} gives h = {h.min().item():g} at sigma = {sigma:g}: expected 0 < h < inf"
                )

    def stages(self, family: TargetFamily, x: Tensor, *, generator: Generator = None) -> Iterator["Stage"]:
        """The chains at each level in turn, moved there by the transition; what `Stage.step` makes of them there is
        taken to the next level. `steps` and tuning go through the levels so.

        Args:
            family: the targets.
            x: the chains (B, *E), at the first level.
            generator: where every draw comes from.
        """
        levels, draws = self.noise.levels().tolist(), fork(generator, "family")
        point, carry = family.at(levels[0], like=x, generator=fork(draws, 0)).point(x), None
        for i, sigma in enumerate(levels):
            here, drawn = fork(generator, i), fork(draws, i)
            moved = False
            if i > 0:
                target = family.at(sigma, like=point.x, generator=drawn)
                ends = levels[i - 1], sigma
                with torch.no_grad():
                    x, carry = self.transition.move(
                        family, point, target, *ends, carry, generator=fork(here, "transition")
                    )
                moved = x is not point.x
                point = target.point(x)
            stage = Stage(self.kernel, family, sigma, point, moved, carry, here, drawn)
            yield stage
            point = stage.point

    def _run(self, family: TargetFamily, x: Tensor, generator: Generator) -> Iterator[Step]:
        for stage in self.stages(family, x, generator=generator):
            if stage.moved:
                yield Step(stage.point.x, stage.sigma, None, "transition")
            rule = self._rule_at(stage)
            for _ in range(self.steps_per_level):
                info = stage.step(rule)
                yield Step(stage.point.x, stage.sigma, info, "step")
        yield from self._finish(family, stage, generator)

    def _rule_at(self, stage: "Stage") -> Callable[[Point], Tensor]:
        """Point -> h; h is worked out once for the whole level unless it depends on the state."""
        sigma = stage.sigma
        if self.step_size.uses_point or not self.steps_per_level:
            return lambda point: self.step_size(sigma, point)
        h = self.step_size(sigma, stage.point)
        return lambda point: h

    def _finish(self, family: TargetFamily, stage: "Stage", generator: Generator) -> Iterator[Step]:
        point, number = stage.point, len(self.noise.levels())
        clean = family.at(0.0, like=point.x, generator=fork(fork(generator, "family"), number))
        with torch.no_grad():
            x, _ = self.final.move(
                family, point, clean, stage.sigma, 0.0, stage.carry, generator=fork(generator, "final")
            )
        x = clean.project(x)
        if x is not point.x:
            yield Step(x, 0.0, None, "final")


@final
class Stage:
    """The chains at one noise level, moved by a kernel.

    Args:
        kernel: the Markov kernel.
        family: the targets; asked again before every step if its `refresh` is "step".
        sigma: the level.
        point: the chains' state there.
        moved: whether a transition moved them on their way there.
        carry: the history for the next transition.
        moves: where the kernel draws from.
        draws: where the family does.
    """

    def __init__(
        self,
        kernel: Kernel[Any],
        family: TargetFamily,
        sigma: float,
        point: Point,
        moved: bool,
        carry: Any,
        moves: Generator,
        draws: Generator,
    ):
        self.sigma, self.point, self.moved, self.carry = sigma, point, moved, carry
        self.kernel, self._family, self._moves, self._draws = kernel, family, moves, draws
        self._steps = 0
        with torch.no_grad():
            self._state = kernel.init(point, generator=fork(moves, "init"))

    def step(self, rule: Callable[[Point], Tensor]) -> Info | None:
        """One step of the kernel, by the step size that `rule` gives at the point; what it decided."""
        number, target = self._steps, self.point.target
        if number > 0 and self._family.refresh == "step":
            target = self._family.at(self.sigma, like=self.point.x, generator=fork(self._draws, number))
            self.point = target.point(self.point.x)
        with torch.no_grad():
            self._state, info = self.kernel.step(
                self.point, self._state, rule(self.point), generator=fork(self._moves, number)
            )
        self.point, self._steps = self.kernel.point(target, self._state), number + 1
        return info


def check_shape(shape: tuple[int, ...]) -> None:
    """Refuse a shape that is not (B, *E).

    Raises:
        TypeError: if it is no sequence of integers.
        ValueError: if it has fewer than two, or one < 1.
    """
    rule = "expected (B, *E), a number of chains and at least one event axis, all integers >= 1"
    if not isinstance(shape, Sequence) or not all(isinstance(size, Integral) for size in shape):
        raise TypeError(f"shape {shape!r}: {rule}")
    if len(shape) < 2 or min(shape) < 1:
        raise ValueError(f"shape {tuple(shape)}: {rule}")
