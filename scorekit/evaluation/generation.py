"""Samples to disk, in chunks, so that a run of hours can be killed and gone on with.

    OUT/manifest.json, 000000.png, 000001.png, ...      format "png"
    OUT/manifest.json, samples.npy                      format "npy" (float32) or "npy-uint8"
    OUT/raw/..., OUT/denoised/...                       both sets, with denoise="both"

What is resumed equals what was never interrupted, bit for bit on the same device: a chunk is a function of model,
sampler, seed and batch size alone (see `DrawnSamples`).
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import torch

from scorekit.base import Sampler, TargetFamily
from scorekit.evaluation import manifest
from scorekit.evaluation.drawn import Denoising, DrawnSamples
from scorekit.evaluation.manifest import ManifestError
from scorekit.evaluation.origin import Origin
from scorekit.evaluation.samples import GivenSamples, Samples
from scorekit.evaluation.stored import SETS, open_samples
from scorekit.evaluation.stores import Format, Store, open_store
from scorekit.training.runtime import PlainRuntime, Runtime


def generate(
    model: TargetFamily,
    sampler: Sampler,
    num_samples: int,
    out: str | Path,
    *,
    seed: int = 0,
    batch_size: int = 100,
    format: Format = "png",
    resume: bool = True,
    denoise: Denoising = None,
    origin: Origin | None = None,
    condition: str | None = None,
    runtime: Runtime | None = None,
    progress: bool = False,
) -> GivenSamples:
    """Draw samples into a folder; go on where an earlier call was interrupted.

    Args:
        model, sampler, num_samples, seed, batch_size, denoise, origin, condition: see `DrawnSamples`; model and origin
            of a checkpoint by `open_checkpoint`.
        out: the folder; it is made if it is not there.
        format: "png" for files of 8 bits, "npy" for one float32 array, "npy-uint8" for one of bytes.
        resume: go on with the same samples in `out`; if False, samples there are an error.
        runtime: whose processes share the chunks, chunk k going to process k mod P; the samples do not depend on P.
            None for this process alone.
        progress: show the main process's progress.

    Returns:
        The samples, for `evaluate`.

    Raises:
        ManifestError: if `out` holds other samples, naming what differs, or pictures that no manifest explains.
        NonFiniteSamplesError: for chains that are not finite.
        TypeError, ValueError: as `DrawnSamples`; for an unknown format.
    """
    samples = DrawnSamples(
        model,
        sampler,
        num_samples,
        seed=seed,
        batch_size=batch_size,
        denoise=denoise,
        origin=origin,
        condition=condition,
    )
    return store(samples, out, format=format, resume=resume, runtime=runtime, progress=progress)


def store(
    samples: Samples,
    out: str | Path,
    *,
    format: Format = "png",
    resume: bool = True,
    runtime: Runtime | None = None,
    progress: bool = False,
) -> GivenSamples:
    """The same for samples of any kind; see `generate`."""
    where = PlainRuntime("cpu") if runtime is None else runtime
    root = Path(out)
    folders = (root,) if len(samples.sets) == 1 else tuple(root / name for name in SETS)
    stores = [open_store(folder, samples, format) for folder in folders]
    documents = [manifest.describe(samples, place, format) for place in range(len(folders))]
    if where.rank == 0:
        _require_alone(root, folders)
        for folder, document in zip(folders, documents, strict=True):
            _begin(folder, document, resume)
    _wait(where)
    numbers = range(where.rank, samples.num_chunks, where.num_processes)
    missing = [number for number in numbers if not all(each.has(number) for each in stores)]
    with _bar(len(numbers), len(numbers) - len(missing), progress and where.rank == 0) as advance:
        for number in missing:
            _write(stores, number, samples)
            advance()
    _wait(where)
    if where.rank == 0:
        for each in stores:
            each.finish()
    _wait(where)
    return open_samples(root, batch_size=samples.batch_size)


def _require_alone(root: Path, folders: tuple[Path, ...]) -> None:
    others = [each for each in (root, *(root / name for name in SETS)) if each not in folders]
    for folder in others:
        if (folder / manifest.NAME).is_file():
            raise ManifestError(f"{folder}: it holds other samples, of another denoise=; generate into another folder")


def _write(stores: list[Store], number: int, samples: Samples) -> None:
    for each, images in zip(stores, samples.chunk(number), strict=True):
        each.write(number, images)


def _begin(folder: Path, document: dict, resume: bool) -> None:
    if (folder / manifest.NAME).is_file():
        if not resume:
            raise ManifestError(f"{folder}: it holds samples already; resume=True goes on with the same ones")
        manifest.require_same(folder, manifest.read(folder), document)
        return
    folder.mkdir(parents=True, exist_ok=True)
    strays = sorted(path.name for pattern in ("*.png", "*.npy") for path in folder.glob(pattern))
    if strays:
        raise ManifestError(
            f"{folder}: it holds {len(strays)} files such as {strays[0]} and no {manifest.NAME}: nothing says which "
            "samples they are; generate into another folder"
        )
    manifest.write(folder, document)


def _wait(runtime: Runtime) -> None:
    """Until every process is here."""
    runtime.gather(torch.zeros(1))


@contextmanager
def _bar(total: int, done: int, shown: bool) -> Iterator[Callable[[], object]]:
    if not shown:
        yield lambda: None
        return
    from tqdm.auto import tqdm

    with tqdm(total=total, initial=done, desc="generating", unit="chunk", disable=None) as bar:
        yield bar.update
