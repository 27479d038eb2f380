"""`scorekit train`."""

from pathlib import Path
from typing import Literal

from cyclopts.types import NonNegativeInt, PositiveInt


def train(
    recipe: str,
    /,
    *,
    out: Path | None = None,
    data: str | None = None,
    steps: PositiveInt | None = None,
    batch_size: PositiveInt | None = None,
    keep_every: PositiveInt | None = None,
    seed: NonNegativeInt | None = None,
    num_samples: PositiveInt | None = None,
    weights: Literal["ema", "raw"] | None = None,
    device: str | None = None,
    resume: bool = True,
    progress: bool | None = None,
) -> int:
    """Train by a recipe, then sample; everything goes to one folder. The same command goes on with a run that was
    stopped.

    On several processes: torchrun --nproc-per-node N -m scorekit train ...

    Args:
        recipe: a name (`scorekit list recipes`), or a JSON file: a run's config.json, or {"recipe": NAME, "params":
            {...}}.
        out: the folder to write; runs/NAME if not given.
        data: embedded, cifar10 or mnist (downloaded once), or a path; the recipe's own if not given.
        steps: train so many steps. A schedule that ends with the run must keep its length to go on.
        batch_size: of all processes together. No more samples than this are drawn unless --num-samples says so.
        keep_every: keep the checkpoint of each so many steps, beside the last ones.
        seed: of everything.
        num_samples: how many samples to draw.
        weights: sample with the moving average of the weights, or with the weights as trained.
        device: cpu, cuda, ...; a GPU if there is one and none is named.
        resume: go on with the run that is in OUT; with --no-resume a run in OUT is an error.
        progress: show a bar; on a terminal if not given.
    """
    from scorekit.cli.checkpoints import usable_device
    from scorekit.cli.errors import usage
    from scorekit.cli.training import folder_of, report, to_recipe
    from scorekit.runs import run, with_options

    folder, name = folder_of(recipe, out)
    found = to_recipe(recipe)
    with usage(recipe):
        chosen = with_options(
            found, steps=steps, batch_size=batch_size, keep_every=keep_every, seed=seed, num_samples=num_samples
        )
    outcome = run(
        chosen,
        out=folder,
        data=data,
        name=name,
        resume=resume,
        device=None if device is None else usable_device(device),
        weights=weights,
        progress=progress,
    )
    return report(outcome, folder)
