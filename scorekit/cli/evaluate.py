"""`scorekit evaluate`."""

from pathlib import Path
from typing import Annotated, Literal

from cyclopts import Parameter
from cyclopts.types import NonNegativeInt, PositiveInt


def evaluate(
    what: Path,
    /,
    *,
    data: str | None = None,
    metrics: str = "fid",
    extractor: Literal["inception", "classifier"] | None = None,
    extractor_weights: Path | None = None,
    extractor_sha256: str | None = None,
    split: Literal["train", "test"] = "train",
    num_samples: PositiveInt | None = None,
    all_checkpoints: Annotated[bool, Parameter(negative="")] = False,
    final_samples: NonNegativeInt = 50_000,
    sampler: str | None = None,
    param: Annotated[tuple[str, ...], Parameter(negative="", show_default=False)] = (),
    num_levels: PositiveInt | None = None,
    evaluations: PositiveInt | None = None,
    label: NonNegativeInt | Literal["data"] | None = None,
    denoise: Literal["yes", "no", "both"] | None = None,
    seed: NonNegativeInt = 0,
    batch_size: PositiveInt = 100,
    weights: Literal["ema", "raw"] | None = None,
    keep: Path | None = None,
    cache: Path | None = None,
    out: Path | None = None,
    device: str | None = None,
    progress: bool = True,
) -> None:
    """Judge a checkpoint's samples, or samples on disk, by real pictures.

    Every number comes with all that it takes to compare it with another: counts, split, extractor and the hash of its
    weights, model, sampler, evaluations of the score, and a warning where it compares with nothing published.

    Args:
        what: a checkpoint (the folder of a run, of its checkpoints, or of one of them), or samples: a folder of
            pictures, FILE.npy.
        data: the real pictures: embedded, cifar10, mnist, or a path; the data of the checkpoint's run if not given.
        metrics: of fid, kid, is, neighbours, loss, with commas between them.
        extractor: what makes features of pictures, for fid, kid and is: Inception-v3, or a classifier trained here.
        extractor_weights: the file of Inception's weights, or the classifier's folder.
        extractor_sha256: how the hash of the file begins, for other weights than the published ones.
        split: of the real pictures.
        num_samples: how many to draw; 50,000 if not given, and 1,000 of each step with --all-checkpoints.
        all_checkpoints: the Frechet distance of every step that is stored, then that of the best with more samples.
        final_samples: how many for the best; 0 for none.
        sampler: a name (`scorekit list samplers`), or a JSON file with a sampler's configuration; the run's own if not
            given.
        param: KEY=VALUE, a parameter of a named sampler. May be repeated.
        num_levels: visit so many of the run's noise levels.
        evaluations: visit as many as take at most so many evaluations of the score for each sample.
        label: of the samples of a model that was trained with labels: one class, or "data" for the labels of the real
            pictures in their order.
        denoise: with a last denoising step, without, or both from the same chains; as the sampler says if not given.
        seed: of the draws.
        batch_size: how many at once.
        weights: the moving average of the weights, or the weights as trained; the average if the checkpoint has one.
        keep: a folder for the samples, and for the result of each step: an interrupted evaluation goes on there.
        cache: a file for the statistics of the real pictures, written if it is not there.
        out: a JSON file for the report.
        device: cpu, cuda, ...; a GPU if there is one and none is named.
        progress: show a bar, on a terminal.
    """
    from scorekit.cli.checkpoints import usable_device
    from scorekit.cli.evaluation import Drawing, Judge, check_report, write_report
    from scorekit.cli.extraction import Extraction, to_metrics
    from scorekit.cli.samplers import Request

    extraction = Extraction(extractor, extractor_weights, extractor_sha256)
    judge = Judge(to_metrics(metrics), extraction, data, split, cache, batch_size, usable_device(device))
    request = Request(sampler, param, num_levels, evaluations)
    drawing = Drawing(request, num_samples, final_samples, seed, denoise, weights, keep, progress, label)
    check_report(out)
    found = judge.every_step(what, drawing) if all_checkpoints else judge.one(what, drawing)
    print(found)
    write_report(found, out)
