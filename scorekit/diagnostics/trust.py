r"""How far a score may be trusted: what a Metropolis kernel takes from it, measured at each noise level.

log p(y) - log p(x) is the line integral of the score along any path, *if* the score is a gradient and the quadrature
is exact. A learned score is not, and no quadrature is; the four columns of the report say by how much.

    fisher        E[tr J + 1/2 |s|^2]: the Fisher divergence up to a constant of the level (implicit score matching,
                  Hyvarinen, JMLR 6, 2005). Lower is better, between models at one level; negative for a good one
    curl          |J - J'| / |J|, Frobenius norms, root mean square over the examples: 0 for a gradient
    circulation   the median of |closed line integral| around triangles of three noisy examples, in nats: how much
                  log p is at odds with itself over the distance between data. `loop error` is the median difference
                  to half the panels: only a circulation well above it speaks of the score (at a small sigma a score
                  is sharp between the data, and takes more panels)
    quadrature    |Simpson - 8-node Gauss-Legendre| on segments of the size of a Langevin step, in nats: median and root
                  mean square. What the default line integral adds to a Metropolis ratio

All are at x = data + sigma eps.
"""

import math
from dataclasses import dataclass
from typing import NamedTuple, final

import torch
from torch import Tensor

from scorekit._kinds import require_kind
from scorekit.base import (
    Generator,
    NoiseSchedule,
    StepSize,
    Target,
    TargetFamily,
    expand,
    fork,
    normal,
    shift,
    sum_event,
)
from scorekit.diagnostics.fields import circulation, gauss_legendre, jacobian_sums, simpson
from scorekit.metrics.table import table
from scorekit.step_sizes import SigmaSquared


class LevelTrust(NamedTuple):
    """How far the score may be trusted at one level."""

    sigma: float
    fisher: float
    fisher_error: float  # its standard error
    curl: float
    circulation: float
    loop_error: float
    quadrature: float
    quadrature_rms: float


@final
@dataclass(frozen=True, repr=False)
class TrustReport:
    """The levels of a diagnosis, in the order they were taken. It prints as a table.

    Args:
        title: what was diagnosed.
        examples: on how many examples.
        levels: one record a level.
    """

    title: str
    examples: int
    levels: tuple[LevelTrust, ...]

    def __repr__(self) -> str:
        heads = ("sigma", "fisher", "+-", "curl", "circulation", "loop error", "quadrature", "rms")
        return f"{self.title} on {self.examples} examples\n{table(heads, self.levels)}"


def diagnose(
    family: TargetFamily,
    data: Tensor,
    noise: NoiseSchedule | None = None,
    *,
    step_size: StepSize = SigmaSquared(),
    num_probes: int = 4,
    panels: int = 4,
    batch_size: int = 256,
    generator: Generator = None,
) -> TrustReport:
    """Measure how far the score of a family may be trusted, level by level.

    A level costs, for each example, 144 evaluations of the score for its loop at panels=4, 12 for its segment, and one
    evaluation with `num_probes` vector-Jacobian products (as many as coordinates, up to 16 of them).

    Args:
        family: the score model, or any family.
        data: clean examples (N, *E), N >= 3; a few hundred, held out, are enough. Their type and device decide.
        noise: the levels to look at; None takes the family's own `noise_levels`.
        step_size: the rule for the size of a Langevin step.
        num_probes: probes for each example, >= 2, for events of more than 16 numbers.
        panels: how finely each edge of a loop is integrated, an even number >= 2.
        batch_size: how many examples are evaluated at once.
        generator: where noise, probes and segments are drawn from. With a `PerChain`, example i has its own.

    Returns:
        A report that prints as a table.

    Raises:
        TypeError: if `family` or `data` is something else.
        ValueError: if it is not a finite floating-point (N, *E) with N >= 3; if there are no levels, or the family is
            not valid at one; if a count is out of range; if the score has no derivative, is not finite, or the rule has
            no h.
    """
    require_kind("diagnose", TargetFamily, "ScaledScore(network), from_score(function), ...", family=family)
    require_kind("diagnose", Tensor, "clean examples (N, *E)", data=data)
    _check(data, num_probes, panels, batch_size)
    levels, probing = _levels(family, noise), _Probing(step_size, num_probes, panels)
    with family.evaluating():
        rows = [
            _at_level(family, data, sigma, probing, batch_size, fork(generator, i))
            for i, sigma in enumerate(levels.tolist())
        ]
    return TrustReport(family.title, len(data), tuple(rows))


def _check(data: Tensor, num_probes: int, panels: int, batch_size: int) -> None:
    if data.ndim < 2 or not data.is_floating_point() or len(data) < 3 or not data.isfinite().all():
        raise ValueError(
            f"data of shape {tuple(data.shape)} and type {data.dtype}: expected a finite floating-point (N, *E), N >= 3"
        )
    if num_probes < 2 or panels < 2 or panels % 2 or batch_size < 1:
        raise ValueError(
            f"diagnose(num_probes={num_probes}, panels={panels}, batch_size={batch_size}): expected num_probes >= 2, "
            "an even number of panels >= 2, batch_size >= 1"
        )


def _levels(family: TargetFamily, noise: NoiseSchedule | None) -> Tensor:
    levels = family.noise_levels if noise is None else noise.levels()
    if levels is None:
        raise ValueError(f"{family.title} is valid at every sigma: name the levels to look at by noise=")
    family.require(levels)
    return levels


class _Probing(NamedTuple):
    step_size: StepSize
    num_probes: int
    panels: int


def _at_level(
    family: TargetFamily, data: Tensor, sigma: float, probing: _Probing, batch_size: int, generator: Generator
) -> LevelTrust:
    noisy = data + sigma * normal(data, generator=fork(generator, "eps"))
    parts: list[_Measured] = []
    for first in range(0, len(noisy), batch_size):
        own, streams = slice(first, first + batch_size), shift(generator, first)
        corners = [noisy.roll(turn, 0)[own] for turn in (0, 1, 2)]
        target = family.at(sigma, like=corners[0], generator=fork(streams, "family"))
        parts.append(_measure(target, corners, sigma, probing, streams))
    found = _Measured(*map(torch.cat, zip(*parts, strict=True)))
    for name, values in found._asdict().items():
        if not values.isfinite().all():
            raise ValueError(
                f"{family.title} at sigma = {sigma:g}: {(~values.isfinite()).sum().item()} of {len(values)} values of "
                f"{name} are NaN or infinite: there is nothing to average"
            )
    return _summarise(sigma, found)


class _Measured(NamedTuple):
    """For each example, (B,) in double precision."""

    fisher: Tensor
    squares: Tensor
    asymmetry: Tensor
    loop: Tensor
    coarse_loop: Tensor
    segment_error: Tensor


def _measure(target: Target, corners: list[Tensor], sigma: float, probing: _Probing, generator: Generator) -> _Measured:
    corners = [target.project(corner) for corner in corners]
    point = target.point(corners[0])
    jacobian = jacobian_sums(target.score, point.x, num_probes=probing.num_probes, generator=fork(generator, "probe"))
    with torch.no_grad():
        h = expand(_checked_step(probing.step_size(sigma, point), probing.step_size, sigma), point.x)
        step = h * point.score + (2 * h).sqrt() * normal(point.x, generator=fork(generator, "step"))
        fisher = jacobian.trace + sum_event(point.score.double().square()) / 2
    moved = target.project(point.x + step)
    fine, coarse = (circulation(target.score, corners, panels=n) for n in (probing.panels, probing.panels // 2))
    error = simpson(target.score, point.x, moved) - gauss_legendre(target.score, point.x, moved)
    return _Measured(fisher, jacobian.squares, jacobian.asymmetry, fine, coarse, error)


def _checked_step(h: Tensor, rule: StepSize, sigma: float) -> Tensor:
    if not ((h > 0) & h.isfinite()).all():
        raise ValueError(f"{rule} gives h = {h.min().item():g} at sigma = {sigma:g}: expected 0 < h < inf")
    return h


def _summarise(sigma: float, found: _Measured) -> LevelTrust:
    norm = found.squares.mean().item()
    return LevelTrust(
        sigma=sigma,
        fisher=found.fisher.mean().item(),
        fisher_error=found.fisher.std().item() / math.sqrt(len(found.fisher)),
        curl=math.sqrt(found.asymmetry.mean().item() / norm) if norm > 0 else math.nan,
        circulation=found.loop.abs().median().item(),
        loop_error=(found.loop - found.coarse_loop).abs().median().item(),
        quadrature=found.segment_error.abs().median().item(),
        quadrature_rms=found.segment_error.square().mean().sqrt().item(),
    )
