"""Models in checkpoints: `save`, `load`, and the files that both they and training use; and networks that are no score
models, a classifier say: `save_network`, `load_network`.

model.safetensors   the weights as trained        ema.safetensors   their moving average, if one was kept
config.json         {"format", "version", "model": to_config(model), "scorekit": ..., "torch": ...}

A network's files are the same, with its own configuration under "model".
"""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Literal, TypeAlias

import torch
from torch import Tensor, nn

from scorekit import __version__
from scorekit._kinds import brief, require_kind
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
        TypeError: if no configuration describes the model, with the path to the part at fault; or if it is no score
            model.
        CheckpointError: if `folder` holds the checkpoints of a training run, which this would push out.
    """
    require_kind("save", ScoreModel, "save_network saves a network by itself", model=model)
    return _save("save", Path(folder), model)


def save_network(folder: str | Path, net: nn.Module) -> Path:
    """Save a network that is no score model, as `save` does a model.

    Args:
        folder: where to; it gets `latest.json` and a folder `step-N`, N counting the saves from 0. The save before is
            kept too.
        net: a registered network, whose parts are registered as well, so that its configuration rebuilds it.

    Returns:
        The folder with the network's files.

    Raises:
        TypeError: if no configuration describes the network, with the path to the part at fault; or if it is a score
            model.
        CheckpointError: if `folder` holds the checkpoints of a training run, which this would push out.
    """
    require_kind("save_network", nn.Module, "ConvClassifier(...), say", net=net)
    if isinstance(net, ScoreModel):
        raise TypeError(f"save_network(net={brief(net)}): it is a score model, not a network by itself; use save")
    return _save("save_network", Path(folder), net)


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
    model = _rebuilt_model(contents) if into is None else into
    fill(model, _weights(contents, weights), contents.path)
    return model.to(device)


def load_network(folder: str | Path, *, step: int | None = None, device: torch.device | str = "cpu") -> nn.Module:
    """The network that `save_network` saved, once every file has been verified.

    Args:
        folder: the folder with `latest.json`, or one of its `step-N` folders.
        step: which save; None for the newest. If the newest is damaged the one before is used, with a warning.
        device: where to put the network.

    Raises:
        CheckpointError: if there is no good checkpoint, it is foreign or of a newer format, or it holds a score model.
    """
    contents = _read(Path(folder), step)
    net = _rebuilt_network(contents)
    fill(net, _weights(contents, "raw"), contents.path)
    return net.to(device)


def config_file(model: Config | None, reason: str | None = None) -> bytes:
    """The content of `config.json`; without a configuration, the reason why there is none."""
    document: dict[str, Json] = {"format": manifest.FORMAT, "version": manifest.VERSION, "model": model}
    if reason is not None:
        document["reason"] = reason
    document |= {"scorekit": __version__, "torch": str(torch.__version__)}
    return json.dumps(document, indent=1, allow_nan=False).encode() + b"\n"


def fill(model: nn.Module, state: Mapping[str, Tensor], path: Path) -> None:
    """Give a model or a network the weights `state`, in the types that they were saved in.

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


def _save(title: str, folder: Path, module: nn.Module) -> Path:
    store = CheckpointStore(folder)
    before = store.entries()
    if any(TRAINING in entry.files for entry in before):
        raise CheckpointError(f"{title}({str(folder)!r}): it holds the checkpoints of a training run; save elsewhere")
    files = {RAW: tensors.encode(module.state_dict()), CONFIG: config_file(to_config(module))}
    return store.write(before[0].step + 1 if before else 0, files)


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


def _rebuilt_model(contents: Contents) -> ScoreModel:
    found = _rebuilt(contents)
    if not isinstance(found, ScoreModel):
        hint = ": this holds a network, not a score model; use load_network" if isinstance(found, nn.Module) else ""
        raise _mismatch(contents, "a score model", found, hint)
    return found


def _rebuilt_network(contents: Contents) -> nn.Module:
    found = _rebuilt(contents)
    if isinstance(found, ScoreModel):
        raise _mismatch(contents, "a network", found, ": this holds a score model, not a network by itself; use load")
    if not isinstance(found, nn.Module):
        raise _mismatch(contents, "a network", found)
    return found


def _mismatch(contents: Contents, expected: str, found: object, hint: str = "") -> CheckpointError:
    kind = type(found).__name__
    return CheckpointError(
        f"{contents.path / CONFIG}: expected the configuration of {expected}; found that of {kind}{hint}"
    )


def _rebuilt(contents: Contents) -> object:
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
        return from_config(config)
