"""A run: train by a recipe, then sample; everything in one folder.

OUT/config.json      the run, as `read_recipe` reads it
OUT/checkpoint/      what `scorekit.load` reads
OUT/metrics.jsonl    the log of the training; then a line for each noise level that was sampled
OUT/samples.png ...  see `draw`
OUT/summary.json     steps, times, held-out losses, evaluations a sample, versions
"""

import json
import os
import platform
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, final

import torch

from scorekit import __version__
from scorekit.base import PerChain
from scorekit.checkpoint import load
from scorekit.checkpoint.model import Weights
from scorekit.recipes import Recipe
from scorekit.runs.document import CONFIG, describe, read_document
from scorekit.runs.drawing import draw
from scorekit.training import Outcome, TrainStep, train
from scorekit.training.run import CHECKPOINTS

SUMMARY = "summary.json"


def run(
    recipe: Recipe,
    *,
    out: str | Path,
    data: str | Path | None = None,
    name: str | None = None,
    resume: bool = True,
    device: torch.device | str | None = None,
    weights: Weights | None = None,
    progress: bool | None = None,
    callbacks: Sequence[Callable[[TrainStep], None]] = (),
) -> Outcome:
    """Train by a recipe and sample what was trained. A run that is in `out` goes on.

    Args:
        recipe: the recipe.
        out: the run's folder.
        data: a name or a path; the recipe's own if None.
        name: what the recipe is called, for the record.
        resume: go on with the run that is in `out`; if False, a run there is an error.
        device: where to train; None for a GPU if there is one, else the CPU.
        weights: sample with the moving average, or with the weights as trained; None for the average if one is kept.
        progress: show a progress bar; None for one on a terminal.
        callbacks: called with each step, on the main process.

    Returns:
        How the training ended; nothing is sampled if a signal stopped it.

    Raises:
        ValueError: if the data cannot be read or do not fit; from `train` and `draw`.
    """
    where, folder = default_device(device), prepared(out)
    spec = data if data is not None else recipe.data
    if spec is None:
        raise ValueError("this recipe has no data of its own: name some, a path for instance")
    if weights == "ema" and recipe.training.ema_decay is None:
        raise ValueError("weights='ema': this recipe keeps no moving average")
    source, held_out = recipe.open(spec)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(recipe.training.seed)  # the network's initial weights
        experiment = recipe.experiment(source)
    tally = Tally()
    config = describe(recipe, experiment, str(spec), name)

    def remember(step: TrainStep) -> None:  # called on the main process only
        if tally.steps == 0:
            write(folder / CONFIG, config)
        tally.add(step)

    validated = recipe.training.validate_every is not None
    outcome = train(
        experiment.objective(),
        source,
        recipe.training,
        out=folder,
        resume=resume,
        held_out=held_out if validated else None,
        device=where,
        progress=progress,
        callbacks=[remember, *callbacks],
    )
    if not outcome.finished:
        return outcome
    model = (
        outcome.model if weights is None else load(folder / CHECKPOINTS, weights=weights, device=outcome.runtime.device)
    )
    if outcome.is_main:  # before sampling, so that what was trained is on record even if that is interrupted
        write(folder / CONFIG, config)
        update(folder / SUMMARY, {"steps": outcome.step} | tally.summary(recipe.training.batch_size))
    draws = PerChain(recipe.training.seed).fork("reference")
    reference = source.transform.inverse(source.batch(torch.arange(min(16, len(source))), generator=draws))
    drawn = draw(
        model,
        experiment.sampler,
        outcome.runtime,
        folder,
        num_samples=recipe.num_samples,
        seed=recipe.training.seed,
        reference=reference,
        condition=source.condition(torch.arange(recipe.num_samples) % len(source)),
    )
    if outcome.is_main:
        update(folder / SUMMARY, drawn | facts(recipe.training.seed))
    return outcome


def prepared(out: str | Path) -> Path:
    """The folder, made if it is not there.

    Raises:
        ValueError: if it is a file, or cannot be made.
    """
    folder = Path(out)
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except FileExistsError as error:
        raise ValueError(
            f"out = {folder}: it is a file; expected a folder, which is made if it is not there"
        ) from error
    except OSError as error:
        raise ValueError(f"out = {folder}: the folder cannot be made ({error.strerror})") from error
    return folder


def default_device(device: torch.device | str | None) -> torch.device:
    """The device; a GPU if there is one and none is named, else the CPU.

    Raises:
        ValueError: if there is no such device here.
    """
    chosen = device or ("cuda" if torch.cuda.is_available() else "cpu")
    try:
        return torch.empty(0, device=chosen).device
    except (RuntimeError, AssertionError) as error:  # unknown names; devices that this torch or machine lacks
        raise ValueError(f"device {chosen}: {str(error).splitlines()[0]}") from error


@final
class Tally:
    """What the steps of one call add up to."""

    def __init__(self):
        self.steps, self.seconds = 0, 0.0
        self.held_out: dict[float, float] = {}

    def add(self, step: TrainStep) -> None:
        """Count one step."""
        self.steps, self.seconds = self.steps + 1, self.seconds + step.seconds
        self.held_out = step.held_out or self.held_out

    def summary(self, batch_size: int) -> dict[str, Any]:
        """Times, speed, and the last held-out loss of each level; nothing if no step was made."""
        if self.steps == 0:
            return {}
        return {
            "steps_of_last_call": self.steps,
            "training_seconds": round(self.seconds, 1),
            "images_per_second": round(self.steps * batch_size / self.seconds, 1),
            "held_out_losses": {f"{sigma:.6g}": round(loss, 4) for sigma, loss in self.held_out.items()},
        }


def facts(seed: int) -> dict[str, Any]:
    """Where a figure comes from."""
    versions = {"scorekit": __version__, "torch": torch.__version__, "python": platform.python_version()}
    return {"seed": seed, "threads": torch.get_num_threads(), "versions": versions}


def write(path: Path, content: dict[str, Any]) -> None:
    """JSON, whole or not at all."""
    scratch = path.with_name(f"{path.name}.tmp")
    scratch.write_text(json.dumps(content, indent=1) + "\n")
    os.replace(scratch, path)


def update(path: Path, content: dict[str, Any]) -> None:
    """JSON, on top of what is there: a run that goes on keeps the facts of its training."""
    write(path, (read_document(path) if path.exists() else {}) | content)
