"""Checkpoints as the command line names them: a run's folder, its checkpoint folder, or one `step-N` folder."""

from pathlib import Path
from typing import Any

import torch

from scorekit.base import ScoreModel, TargetFamily
from scorekit.checkpoint.model import Weights
from scorekit.cli.errors import UsageError
from scorekit.config import to_config
from scorekit.evaluation.origin import Opened, checkpoint_home, open_checkpoint

SHAPES = ("image_shape", "event_shape")
"""What networks call the shape of one example."""


def find_checkpoint(path: Path) -> Path:
    """The folder to load from: `path`, or the folder `checkpoint` in it, where a run keeps its own.

    Raises:
        ValueError: if there is no such folder.
    """
    if not path.is_dir():
        found = "a file" if path.exists() else "nothing"
        raise ValueError(f"{path}: expected the folder of a run, of its checkpoints or of one of them; found {found}")
    return checkpoint_home(path)


def open_model(checkpoint: Path, weights: Weights | None, device: str | None) -> Opened:
    """The model of a checkpoint and where it comes from, on the device asked for."""
    return open_checkpoint(find_checkpoint(checkpoint), weights=weights, device=usable_device(device))


def usable_device(name: str | None) -> torch.device:
    """The device of a name; a GPU if there is one and none is named.

    Raises:
        UsageError: if there is no such device here.
    """
    from scorekit.runs.running import default_device

    try:
        return default_device(name)
    except ValueError as error:
        raise UsageError(f"--{error}") from error


def conditioned(model: ScoreModel, label: int | None) -> TargetFamily:
    """The model of one class; the model itself if none is named."""
    return model if label is None else model.given(torch.tensor(label, device=model.device))


def event_shape(model: ScoreModel) -> tuple[int, ...]:
    """The shape of one example: that of the data's moments, else what the network was made for.

    Raises:
        ValueError: if neither is known.
    """
    if model.moments is not None and model.moments[0].ndim > 0:
        return tuple(model.moments[0].shape)
    found = _shape_in(to_config(model))
    if found is None:
        raise ValueError(
            f"this {type(model).__name__} knows neither its data's moments nor an {' or '.join(SHAPES)}: there is no "
            "telling the shape of a sample"
        )
    return found


def _shape_in(config: Any) -> tuple[int, ...] | None:
    """The first shape in a configuration, from the outside in."""
    if not isinstance(config, dict):
        return None
    params = config.get("params", {})
    own = next((tuple(params[name]) for name in SHAPES if name in params), None)
    return own or next(filter(None, map(_shape_in, params.values())), None)
