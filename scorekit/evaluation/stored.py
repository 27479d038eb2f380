"""Samples that are on disk already, ours or someone else's."""

from collections.abc import Sequence
from pathlib import Path

from scorekit.data import read_image_folder
from scorekit.evaluation import manifest
from scorekit.evaluation.manifest import ManifestError
from scorekit.evaluation.samples import GivenSamples, Provenance
from scorekit.evaluation.stores import array_path, map_array, read_stored

SETS = ("raw", "denoised")
"""The folders of two sets: without, and with the last move to sigma = 0."""


def open_samples(path: str | Path, *, batch_size: int = 100) -> GivenSamples:
    """Samples on disk.

    Args:
        path: a folder that `generate` filled; any folder of PNG, JPEG, ... files; or an array file (.npy) of shape
            (N, C, H, W), uint8 or floating point in [0, 1].
        batch_size: how many are judged at once.

    Returns:
        The samples, with all that a manifest says of them; without one, with their place alone.

    Raises:
        ManifestError: if `generate` was interrupted, or there is nothing.
        DataError: if the pictures differ in size, or one is damaged.
        ValueError: if the array is none of pictures.
    """
    root = Path(path)
    if not root.exists():
        raise ManifestError(f"{root}: expected a folder of samples or an array file; it does not exist")
    if root.is_file():
        return GivenSamples((map_array(root),), (Provenance(str(root)),), batch_size=batch_size)
    folders = set_folders(root)
    if not folders:
        return GivenSamples((read_image_folder(root).pixels,), (Provenance(str(root)),), batch_size=batch_size)
    return _generated(folders, batch_size)


def set_folders(root: Path) -> tuple[Path, ...]:
    """The folders with manifests: `root`, or those of two sets below it; () if there is none."""
    if (root / manifest.NAME).is_file():
        return (root,)
    below = tuple(root / name for name in SETS)
    return below if all((folder / manifest.NAME).is_file() for folder in below) else ()


def _generated(folders: Sequence[Path], batch_size: int) -> GivenSamples:
    documents = [manifest.read(folder) for folder in folders]
    for folder, document in zip(folders, documents, strict=True):
        _require_complete(folder, document)
    images = tuple(read_stored(folder, document["kind"]) for folder, document in zip(folders, documents, strict=True))
    for folder, document, each in zip(folders, documents, images, strict=True):
        if len(each) != document["num_samples"]:
            raise ManifestError(f"{folder}: expected {document['num_samples']} samples; found {len(each)} pictures")
    known = tuple(manifest.provenance(*pair) for pair in zip(folders, documents, strict=True))
    return GivenSamples(images, known, batch_size=batch_size)


def _require_complete(folder: Path, document: dict) -> None:
    total = document["num_samples"]
    if document["kind"] == "png":
        found = sum((folder / f"{index:06d}.png").is_file() for index in range(total))
        complete = found == total
    else:
        found = len(list(folder.glob("part-*.npy"))) * document["batch_size"]
        complete = array_path(folder).is_file()
    if not complete:
        raise ManifestError(
            f"{folder}: expected {total} samples; about {min(found, total)} are there: `generate` was interrupted, and "
            "the same call goes on"
        )
