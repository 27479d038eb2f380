"""What a run of training did, from its log."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import torch

from scorekit.plots.canvas import axes_of

if TYPE_CHECKING:
    from matplotlib.axes import Axes


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
    ax = axes_of(ax)
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
