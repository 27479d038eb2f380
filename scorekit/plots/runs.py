"""What a run of chains did."""

from typing import TYPE_CHECKING

import torch
from torch import Tensor

from scorekit.metrics import Decisions
from scorekit.plots.canvas import axes_of
from scorekit.samplers import Chains

if TYPE_CHECKING:
    from matplotlib.axes import Axes


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
    ax = axes_of(ax)
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
    ax = axes_of(ax)
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
