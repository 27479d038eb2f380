"""What there is to say of a checkpoint, line by line."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch

from scorekit.base import ScoreModel
from scorekit.checkpoint import CheckpointError, CheckpointStore, load, load_network
from scorekit.checkpoint.manifest import NAME, parse_json
from scorekit.checkpoint.model import CONFIG, EMA, RAW
from scorekit.checkpoint.store import Contents
from scorekit.cli.checkpoints import find_checkpoint
from scorekit.cli.samplers import run_noise
from scorekit.config import Json, to_config
from scorekit.interop import stored_sampler
from scorekit.runs import run_config


def describe(path: Path) -> list[tuple[str, str]]:
    """(what, value) for each line; what goes on from the line above has "" for what."""
    folder = find_checkpoint(path)
    contents, others = _read(folder)
    if CONFIG not in contents.files:
        raise CheckpointError(f"{contents.path / CONFIG}: expected the model's configuration; the checkpoint has none")
    document = parse_json(contents.path / CONFIG, contents.files[CONFIG])
    lines = [("checkpoint", str(contents.path)), ("step", f"{contents.step:,}")]
    if others:
        lines.append(("other steps", ", ".join(f"{step:,}" for step in others)))
    lines += _model(document, contents)
    lines += _run(contents.path)
    lines.append(("written by", f"scorekit {document.get('scorekit')}, torch {document.get('torch')}"))
    sizes = [f"{len(content):>13,} bytes  {name}" for name, content in sorted(contents.files.items())]
    return lines + [("files" if place == 0 else "", size) for place, size in enumerate(sizes)]


def _read(folder: Path) -> tuple[Contents, list[int]]:
    """The checkpoint of a folder of checkpoints, or of one `step-N`; the steps of the others beside it."""
    store, wanted = CheckpointStore(folder), None
    if not (folder / NAME).exists() and (folder.parent / NAME).exists():
        store = CheckpointStore(folder.parent)
        wanted = next((entry.step for entry in store.entries() if entry.folder == folder.name), None)
        if wanted is None:
            raise CheckpointError(f"{folder}: expected one of the checkpoints that {folder.parent / NAME} names")
    contents = store.read(wanted)
    return contents, [entry.step for entry in store.entries() if entry.step != contents.step]


def _model(document: dict[str, Any], contents: Contents) -> Iterator[tuple[str, str]]:
    weights = ", ".join(name for name, file in (("ema", EMA), ("raw", RAW)) if file in contents.files)
    config = document.get("model")
    if not isinstance(config, dict):
        yield "model", f"no configuration: {document.get('reason')}"
        yield "weights", weights
        return
    scored = config.get("kind") == "models"
    module = load(contents.path) if scored else load_network(contents.path)
    yield "model" if scored else "network", sketch(config)
    yield "parameters", f"{sum(weight.numel() for weight in module.parameters()):,}"
    yield "weights", weights
    if isinstance(module, ScoreModel):
        yield "noise levels", _levels(module, contents.path)
        known = module.moments
        yield "data", "unknown moments" if known is None else f"moments of shape {tuple(known[0].shape)}"


def _levels(model: ScoreModel, checkpoint: Path) -> str:
    noise = run_noise(model, checkpoint)
    rule = f"valid at every sigma >= {model.min_sigma:g}" if model.noise_levels is None else "valid at these only"
    return rule if noise is None else f"{_span(noise.levels())} ({sketch(to_config(noise))}), {rule}"


def _span(levels: torch.Tensor) -> str:
    if len(levels) == 1:
        return f"{levels[0]:.4g}"
    return f"{len(levels)} from {levels[0]:.4g} to {levels[-1]:.4g}"


def _run(checkpoint: Path) -> Iterator[tuple[str, str]]:
    """What the run's config.json adds, or the authors' sampler of a converted checkpoint."""
    authors = stored_sampler(checkpoint)
    if authors is not None:
        yield "sampler", f"the authors': {sketch(to_config(authors))}"
        return
    config = run_config(checkpoint)
    for key, what in (("recipe", "recipe"), ("data", "trained on"), ("estimator", "estimator"), ("sampler", "sampler")):
        if config.get(key) is not None:
            yield what, sketch(config[key])


def sketch(config: Json) -> str:
    """A configuration on one line, by the names that the command line takes; what is null is left out."""
    match config:
        case list():
            return f"[{', '.join(map(sketch, config))}]"
        case {"name": name, "params": dict(params)}:
            inner = ", ".join(f"{key}={sketch(value)}" for key, value in params.items() if value is not None)
            return f"{name}({inner})" if inner else str(name)
    return str(config)
