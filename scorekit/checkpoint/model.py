"""Models in checkpoints: `save`, `load`, and the files that both they and training use.

model.safetensors   the weights as trained        ema.safetensors   their moving average, if one was kept
config.json         {"format", "version", "model": to_config(model), "scorekit": ..., "torch": ...}
"""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Literal, TypeAlias

import torch
from torch import Tensor

from scorekit import __version__
from scorekit.base import ScoreModel
from scorekit.checkpoint import manifest, tensors
from scorekit.checkpoint.errors import CheckpointError
from scorekit.checkpoint.store import CheckpointStore, Contents
from scorekit.config import Config, Json, from_config, to_config

Weights: TypeAlias = Literal["ema", "raw"]

RAW, EMA, CONFIG, TRAINING = "model.safetensors", "ema.safetensors", "config.json", "training.json"
_FILES: dict[Weights, str] = {"ema": EMA, "raw": RAW}


def save(folder: str | Path, model: ScoreModel) -> Path:
    """Save a model: safetensors and JSON, nothing pickled.

    Args:
        folder: where to; it gets `latest.json` and a folder `step-N`, N counting the saves from 0. The save before is
            kept too, in case the new one gets damaged.
        model: a model made of registered components, so that its configuration rebuilds it.

    Returns:
        The folder with the model's files.

    Raises:
        TypeError: if no configuration describes the model, with the path to the part at fault.
        CheckpointError: if `folder` holds the checkpoints of a training run, which this would push out.
    """
    store = CheckpointStore(folder)
    before = store.entries()
    if any(TRAINING in entry.files for entry in before):
        raise CheckpointError(f"save({str(folder)!r}): it holds the checkpoints of a training run; save elsewhere")
    files = {RAW: tensors.encode(model.state_dict()), CONFIG: config_file(to_config(model))}
    return store.write(before[0].step + 1 if before else 0, files)


def load(
    folder: str | Path,
    *,
    weights: Weights | None = None,
    step: int | None = None,
    device: torch.device | str = "cpu",
    into: ScoreModel | None = None,
) -> ScoreModel:
    """The model in a checkpoint, once every file has been verified.

    Args:
        folder: what `save` or training wrote: the folder with `latest.json`, or one of its `step-N` folders.
        weights: "ema" for the moving average, "raw" for the weights as trained, None for the average if the
            checkpoint has one.
        step: which checkpoint; None for the newest. If the newest is damaged the one before is used, with a warning.
        device: where to put the model.
        into: a model to fill, for checkpoints of models that no configuration describes.

    Raises:
        CheckpointError: if there is no good checkpoint, or it is foreign, of a newer format, without the weights asked
            for, or not one of this model.
    """
    if weights is not None and weights not in _FILES:
        raise ValueError(f"load(weights={weights!r}): expected 'ema', 'raw' or None")
    contents = _read(Path(folder), step)
    model = _rebuilt(contents) if into is None else into
    fill(model, _weights(contents, weights), contents.path)
    return model.to(device)


def config_file(model: Config | None, reason: str | None = None) -> bytes:
    """The content of `config.json`; without a configuration, the reason why there is none."""
    document: dict[str, Json] = {"format": manifest.FORMAT, "version": manifest.VERSION, "model": model}
    if reason is not None:
        document["reason"] = reason
    document |= {"scorekit": __version__, "torch": str(torch.__version__)}
    return json.dumps(document, indent=1, allow_nan=False).encode() + b"\n"


def fill(model: ScoreModel, state: Mapping[str, Tensor], path: Path) -> None:
    """Give a model the weights `state`, in the types that they were saved in.

    Raises:
        CheckpointError: if names or shapes are not the model's.
    """
    for name, tensor in (*model.named_parameters(), *model.named_buffers()):
        if name in state:
            tensor.data = tensor.data.to(state[name].dtype)
    try:
        model.load_state_dict(dict(state))
    except RuntimeError as error:
        raise CheckpointError(f"{path}: expected the weights of this {type(model).__name__}; {error}") from error


def _read(folder: Path, step: int | None) -> Contents:
    store = CheckpointStore(folder)
    wanted = {RAW, EMA, CONFIG}
    if not (folder / manifest.NAME).exists() and (folder.parent / manifest.NAME).exists():
        store = CheckpointStore(folder.parent)
        chosen = [entry.step for entry in store.entries() if entry.folder == folder.name]
        if not chosen or step not in (None, chosen[0]):
            raise CheckpointError(
                f"{folder}: expected one of the checkpoints that {folder.parent / manifest.NAME} names"
            )
        step = chosen[0]
    return store.read(step, wanted=wanted)


def _weights(contents: Contents, weights: Weights | None) -> dict[str, Tensor]:
    if weights is None:
        weights = "ema" if EMA in contents.files else "raw"
    name = _FILES[weights]
    if name not in contents.files:
        raise CheckpointError(f"{contents.path}: expected {name} for weights={weights!r}; the checkpoint has none")
    return tensors.decode(contents.path / name, contents.files[name])


def _rebuilt(contents: Contents) -> ScoreModel:
    path = contents.path / CONFIG
    if CONFIG not in contents.files:
        raise CheckpointError(f"{path}: expected the model's configuration; the checkpoint has none")
    document = manifest.parse_json(path, contents.files[CONFIG])
    manifest.check_version(path, document)
    config = document.get("model")
    if type(config) is not dict:
        raise CheckpointError(
            f"{path}: no configuration rebuilds this model ({document.get('reason')}); make it and "
            "load(..., into=model)"
        )
    with torch.random.fork_rng(devices=[]):  # the first weights are drawn and thrown away
        model = from_config(config)
    if not isinstance(model, ScoreModel):
        raise CheckpointError(
            f"{path}: expected the configuration of a score model; found that of {type(model).__name__}"
        )
    return model
