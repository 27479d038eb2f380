"""`scorekit sample`."""

from pathlib import Path
from typing import Annotated, Literal

from cyclopts import Parameter
from cyclopts.types import NonNegativeInt, PositiveInt


def sample(
    checkpoint: Path,
    /,
    *,
    out: Path = Path("samples.png"),
    sampler: str | None = None,
    param: Annotated[tuple[str, ...], Parameter(negative="", show_default=False)] = (),
    num_levels: PositiveInt | None = None,
    evaluations: PositiveInt | None = None,
    num_samples: PositiveInt = 64,
    batch_size: PositiveInt = 32,
    seed: NonNegativeInt = 0,
    weights: Literal["ema", "raw"] | None = None,
    label: NonNegativeInt | None = None,
    device: str | None = None,
    progress: bool = True,
) -> None:
    """Draw samples from a checkpoint, with any sampler.

    Args:
        checkpoint: the folder of a run, of its checkpoints, or of one of them.
        out: FILE.png for a picture of all of them, FILE.npy for an array (N, *E), or a folder for one picture each;
            the same command goes on with a folder where it was interrupted.
        sampler: a name (`scorekit list samplers`), or a JSON file with a sampler's configuration; the run's own if not
            given.
        param: KEY=VALUE, a parameter of a named sampler: a number, the name of a component, or JSON. May be repeated.
        num_levels: visit so many of the run's noise levels.
        evaluations: visit as many as take at most so many evaluations of the score for each sample.
        num_samples: how many to draw.
        batch_size: how many at once.
        seed: of the draws. Sample i depends on the seed and i alone.
        weights: the moving average of the weights, or the weights as trained; the average if the checkpoint has one.
        label: the class to draw, of a model that was trained with labels.
        device: cpu, cuda, ...; a GPU if there is one and none is named.
        progress: show a bar, on a terminal.
    """
    from scorekit.cli.checkpoints import conditioned, find_checkpoint, open_model
    from scorekit.cli.drawing import Draws, check_out
    from scorekit.cli.samplers import Request, choose

    request = Request(sampler, param, num_levels, evaluations)
    draws = Draws(num_samples, batch_size, seed, label, progress)
    home = find_checkpoint(checkpoint)
    check_out(out)
    opened = open_model(checkpoint, weights, device)
    chosen, model = choose(request, opened.model, home)
    print(draws.write(out, chosen, conditioned(model, label), opened))
