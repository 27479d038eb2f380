"""Pictures of what can be drawn in a plane, and of runs, with matplotlib (scorekit[plots]).

Every function takes the axes to draw on (`ax`; None makes a figure) and returns them: titles, limits and `savefig` are
the caller's. Colours are matplotlib's defaults and its perceptually uniform maps.
"""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, TypeAlias

import torch
from torch import Tensor

from scorekit.base import TargetFamily
from scorekit.metrics import Decisions
from scorekit.samplers import Chains

if TYPE_CHECKING:
    from matplotlib.axes import Axes

Extent: TypeAlias = tuple[float, float, float, float]  # left, right, bottom, top

_ARROWS = 20  # in each direction
_PIXELS = 200
_MARGIN = 0.08  # of the samples' range, around them


def scatter(
    x: Tensor,
    *,
    score: TargetFamily | None = None,
    density: TargetFamily | None = None,
    sigma: float = 0.0,
    extent: Extent | None = None,
    ax: "Axes | None" = None,
) -> "Axes":
    """Samples in the plane, over the arrows of a score and the shades of a density.

    Args:
        x: the samples (N, 2); score and density are evaluated in their dtype and on their device.
        score: a family whose score is drawn as arrows of one common scale.
        density: a family that knows log_prob, whose density is drawn as shades.
        sigma: the noise level of both.
        extent: (left, right, bottom, top); None takes the samples' range and a margin.
        ax: where to draw.

    Raises:
        ValueError: if x is not a finite (N, 2), or the density knows its score only.
        ImportError: without matplotlib.
    """
    points = _plane(x, "x")
    ax = _axes(ax)
    extent = _around(points) if extent is None else _checked(extent)
    if density is not None:
        _shade(ax, density, sigma, extent, x)
    if score is not None:
        _arrows(ax, _grid(extent, _ARROWS, x), _field(score, sigma, extent, x), color="0.35")
    ax.scatter(*points.T.numpy(), s=6, color="C3", linewidths=0, zorder=3)
    return _framed(ax, extent)


def fields(
    true: TargetFamily,
    learned: TargetFamily,
    sigma: float,
    extent: Extent = (-8.0, 8.0, -8.0, 8.0),
    *,
    like: Tensor | None = None,
    axes: "Sequence[Axes] | None" = None,
) -> "tuple[Axes, Axes, Axes]":
    """Two scores in the plane side by side, and their difference, all arrows on one scale.

    The shades are the length of the arrows; the difference's title tells its root mean square relative to the true
    score's, over the grid (not over the data).

    Args:
        true: the score that is known.
        learned: the score that was learned.
        sigma: the noise level of both.
        extent: (left, right, bottom, top).
        like: a tensor whose dtype and device the scores are evaluated in; None takes the learned family's own.
        axes: three axes to draw on; None makes a figure.

    Raises:
        ValueError: if `axes` are not three, or a score is not finite somewhere on the grid.
        ImportError: without matplotlib.
    """
    left, middle, right = _three(axes)
    extent = _checked(extent)
    like = torch.empty(0, device=learned.device, dtype=learned.dtype) if like is None else like
    grid, first, second = _grid(extent, _ARROWS, like), *(_field(each, sigma, extent, like) for each in (true, learned))
    longest = max(first.norm(dim=1).max().item(), second.norm(dim=1).max().item())
    relative = ((second - first).square().sum() / first.square().sum()).sqrt().item()
    titles = ("true score", "learned score", f"difference ({relative:.1%} of the true score)")
    for ax, values, title in zip((left, middle, right), (first, second, second - first), titles, strict=True):
        shades = values.norm(dim=1).reshape(_ARROWS, _ARROWS).double().cpu().numpy()
        image = ax.imshow(shades, origin="lower", extent=extent, vmin=0, vmax=longest, cmap="Blues", aspect="auto")
        _arrows(ax, grid, values, color="0.2", longest=longest)
        _framed(ax, extent).set_title(title)
    right.figure.colorbar(image, ax=[left, middle, right], label="|s|", shrink=0.8)
    return left, middle, right


def chains(
    run: Chains, *, coordinates: tuple[int, ...] = (0, 1), num_chains: int = 5, ax: "Axes | None" = None
) -> "Axes":
    """The way of a few chains: in the plane of two coordinates, or of one coordinate against the kept states.

    In the plane a ring marks the first kept state and a dot the last. Over the states, dotted lines mark where the
    level changes.

    Args:
        run: what `collect` kept.
        coordinates: one or two numbers of coordinates of the flattened event.
        num_chains: the first so many chains are drawn.
        ax: where to draw.

    Raises:
        ValueError: for a coordinate that the event does not have, or num_chains < 1.
        ImportError: without matplotlib.
    """
    paths = run.x.detach().double().flatten(2).cpu()
    if len(coordinates) not in (1, 2) or not all(0 <= c < paths.shape[2] for c in coordinates) or num_chains < 1:
        raise ValueError(
            f"chains(coordinates={coordinates}, num_chains={num_chains}): expected one or two coordinates below "
            f"{paths.shape[2]}, and num_chains >= 1"
        )
    ax = _axes(ax)
    paths = paths[:, :num_chains, list(coordinates)]
    if len(coordinates) == 1:
        return _traces(ax, run, paths[:, :, 0], coordinates[0])
    for number, path in enumerate(paths.unbind(1)):
        horizontal, vertical = path.T.numpy()
        ax.plot(horizontal, vertical, color=f"C{number}", linewidth=0.7, alpha=0.6)
        ax.plot(horizontal[0], vertical[0], "o", color=f"C{number}", markerfacecolor="none")
        ax.plot(horizontal[-1], vertical[-1], "o", color=f"C{number}")
    ax.set(xlabel=f"coordinate {coordinates[0]}", ylabel=f"coordinate {coordinates[1]}")
    return ax


def _traces(ax: "Axes", run: Chains, paths: Tensor, coordinate: int) -> "Axes":
    ax.plot(paths.numpy(), linewidth=0.7)
    for place in torch.nonzero(run.sigma.diff()).flatten().tolist():
        ax.axvline(place + 0.5, color="0.6", linestyle=":", linewidth=0.8)
    ax.set(xlabel="kept state", ylabel=f"coordinate {coordinate}")
    return ax


def acceptance(decisions: Decisions, *, ax: "Axes | None" = None) -> "Axes":
    """Acceptance against the level: every chain a dot, their mean a line, the chains that never moved as crosses.

    Args:
        decisions: from `metrics.acceptance_per_level`.
        ax: where to draw.

    Raises:
        ImportError: without matplotlib.
    """
    ax = _axes(ax)
    places = torch.arange(len(decisions.sigma), dtype=torch.float64)
    rates, stuck = decisions.acceptance.cpu(), decisions.stuck.cpu()
    everywhere = places.unsqueeze(1).expand_as(rates)
    ax.plot(everywhere[~stuck].numpy(), rates[~stuck].numpy(), ".", color="C0", alpha=0.35, label="a chain")
    if stuck.any():
        ax.plot(everywhere[stuck].numpy(), rates[stuck].numpy(), "x", color="C3", label="a chain that never moved")
    ax.plot(places.numpy(), rates.mean(1).numpy(), "-", color="C1", label="mean over chains")
    ax.set_xticks(places.tolist(), [f"{sigma:.3g}" for sigma in decisions.sigma.tolist()])
    ax.set(xlabel="sigma", ylabel="acceptance", ylim=(-0.05, 1.05))
    ax.legend()
    return ax


def losses(log: "str | Path | Sequence[Mapping[str, object]]", *, ax: "Axes | None" = None) -> "Axes":
    """The training loss, and the held-out loss of each level, over the steps.

    Args:
        log: a run's metrics.jsonl, or its rows. A last line without an end, as a run in progress may have, is left out.
        ax: where to draw.

    Raises:
        ValueError: if a line is not a row of a training log, with its number; if there are no rows.
        ImportError: without matplotlib.
    """
    rows = _rows(Path(log).read_text()) if isinstance(log, str | Path) else list(log)
    steps = [_number(row, "step") for row in rows]
    if not rows:
        raise ValueError("the log has no rows: nothing to draw")
    ax = _axes(ax)
    ax.plot(steps, [_number(row, "loss") for row in rows], color="0.75", linewidth=0.7, label="training")
    held_out = [(step, row["held_out"]) for step, row in zip(steps, rows, strict=True) if row.get("held_out")]
    levels = list(dict.fromkeys(sigma for _, values in held_out for sigma in _mapping(values)))
    colours = _colours(len(levels))
    for sigma, colour in zip(levels, colours, strict=True):
        curve = [(step, _number(_mapping(values), sigma)) for step, values in held_out]
        ax.plot(
            *zip(*curve, strict=True), ".-", color=colour, linewidth=1, label=f"held out, sigma = {float(sigma):.3g}"
        )
    ax.set(xlabel="step", ylabel="loss")
    ax.legend(fontsize="small")
    return ax


def _rows(text: str) -> list[Mapping[str, object]]:
    rows = []
    for number, line in enumerate(text.splitlines(keepends=True), 1):
        if not line.endswith("\n"):
            break  # the last line, still being written
        try:
            rows.append(_mapping(json.loads(line)))
        except ValueError as error:
            raise ValueError(f"line {number} is not a row of a training log: {line[:60]!r}") from error
    return rows


def _mapping(value: object) -> Mapping[str, object]:
    if not isinstance(value, Mapping):
        raise ValueError(f"{value!r}: expected a mapping")
    return value


def _number(row: Mapping[str, object], name: str) -> float:
    """A number of a row; NaN, which leaves a gap, for null: a loss that was not finite."""
    value = row.get(name, "nothing")
    if value is None:
        return float("nan")
    if not isinstance(value, int | float):
        raise ValueError(f"a row of the log has {value!r} for {name!r}: expected a number")
    return value


def _colours(count: int) -> list[tuple[float, float, float, float]]:
    from matplotlib import colormaps

    return [colormaps["viridis"](place) for place in torch.linspace(0, 0.9, count).tolist()]


def _axes(ax: "Axes | None") -> "Axes":
    if ax is not None:
        return ax
    return _figure(1, (5.0, 4.0))[0]


def _three(axes: "Sequence[Axes] | None") -> "tuple[Axes, Axes, Axes]":
    axes = _figure(3, (13.0, 4.0)) if axes is None else axes
    if len(axes) != 3:
        raise ValueError(f"fields(axes={len(axes)} of them): expected three, for true, learned and difference")
    left, middle, right = axes
    return left, middle, right


def _figure(columns: int, size: tuple[float, float]) -> "list[Axes]":
    try:
        from matplotlib import pyplot
    except ImportError as error:
        raise ImportError("plots need matplotlib: pip install 'scorekit[plots]'") from error
    _, axes = pyplot.subplots(1, columns, figsize=size, layout="compressed", squeeze=False)
    return list(axes[0])


def _plane(x: Tensor, name: str) -> Tensor:
    """(N, 2) on the CPU in double precision."""
    if x.ndim != 2 or x.shape[1] != 2 or not len(x) or not x.isfinite().all():
        raise ValueError(f"{name} of shape {tuple(x.shape)}: expected finite points (N, 2), to draw them in a plane")
    return x.detach().double().cpu()


def _checked(extent: Extent) -> Extent:
    left, right, bottom, top = extent
    if not (left < right and bottom < top):
        raise ValueError(f"extent = {extent}: expected (left, right, bottom, top) with left < right and bottom < top")
    return extent


def _around(points: Tensor) -> Extent:
    low, high = points.min(0).values, points.max(0).values
    margin = _MARGIN * (high - low) + 1e-3 * (1 + high.abs().maximum(low.abs()))  # one point alone has no range
    (left, bottom), (right, top) = (low - margin).tolist(), (high + margin).tolist()
    return left, right, bottom, top


def _grid(extent: Extent, count: int, like: Tensor) -> Tensor:
    """The centres of count x count cells, row by row from the bottom: (count^2, 2)."""
    left, right, bottom, top = extent
    unit = (torch.arange(count, dtype=like.dtype, device=like.device) + 0.5) / count
    return torch.cartesian_prod(bottom + (top - bottom) * unit, left + (right - left) * unit).flip(1)


def _field(family: TargetFamily, sigma: float, extent: Extent, like: Tensor) -> Tensor:
    """The score at the arrows' feet, (n, 2)."""
    grid = _grid(extent, _ARROWS, like)
    with torch.no_grad(), family.evaluating():
        values = family.at(sigma, like=grid).score(grid)
    if not values.isfinite().all():
        raise ValueError(f"the score of {family.title} at sigma = {sigma:g} is not finite everywhere within {extent}")
    return values


def _arrows(ax: "Axes", feet: Tensor, values: Tensor, *, color: str, longest: float | None = None) -> None:
    """Arrows of which the longest reaches as far as its neighbour's foot."""
    longest = values.norm(dim=1).max().item() if longest is None else longest
    feet, values = feet.double().cpu(), values.double().cpu()
    spacing = (feet[1, 0] - feet[0, 0]).item()
    scale = max(longest, torch.finfo(torch.float64).tiny) / (1.4 * spacing)
    ax.quiver(
        *feet.T.numpy(),
        *values.T.numpy(),
        color=color,
        angles="xy",
        scale_units="x",
        scale=scale,
        width=0.003,
        zorder=2,
    )


def _shade(ax: "Axes", density: TargetFamily, sigma: float, extent: Extent, like: Tensor) -> None:
    grid = _grid(extent, _PIXELS, like)
    target = density.at(sigma, like=grid)
    if target.log_prob is None:
        raise ValueError(f"{density.title} knows its score only: there is no density to shade")
    with torch.no_grad(), density.evaluating():
        log_prob = target.log_prob(grid)
    shades = (log_prob - log_prob.max()).exp().reshape(_PIXELS, _PIXELS).double().cpu().numpy()
    ax.imshow(shades, origin="lower", extent=extent, cmap="Blues", vmax=1.3, aspect="auto")


def _framed(ax: "Axes", extent: Extent) -> "Axes":
    left, right, bottom, top = extent
    ax.set(xlim=(left, right), ylim=(bottom, top), aspect="equal")
    return ax
