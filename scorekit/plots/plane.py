"""Samples, scores and densities in the plane."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, TypeAlias

import torch
from torch import Tensor

from scorekit.base import TargetFamily
from scorekit.plots.canvas import axes_of, figure

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
    points = _plane(x)
    ax = axes_of(ax)
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


def _three(axes: "Sequence[Axes] | None") -> "tuple[Axes, Axes, Axes]":
    axes = figure(3, (13.0, 4.0)) if axes is None else axes
    if len(axes) != 3:
        raise ValueError(f"fields(axes={len(axes)} of them): expected three, for true, learned and difference")
    left, middle, right = axes
    return left, middle, right


def _plane(x: Tensor) -> Tensor:
    """(N, 2) on the CPU in double precision."""
    if x.ndim != 2 or x.shape[1] != 2 or not len(x) or not x.isfinite().all():
        raise ValueError(f"x of shape {tuple(x.shape)}: expected finite points (N, 2), to draw them in a plane")
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
