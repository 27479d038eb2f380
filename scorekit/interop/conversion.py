"""The authors' checkpoints as checkpoints of this library, and back.

model.safetensors, ema.safetensors, config.json    as in every checkpoint, so that `scorekit.load` reads them
origin.json          {"format", "version", "architecture", "sampler", "legacy", "document"}: the authors' sampler, and
                     all else that the file held (`tree.py`): its layout, its names in their order, numbers
origin.safetensors   its tensors that are no weights: the optimiser's, NCSNv2's levels
"""

import json
from collections.abc import Mapping
from pathlib import Path

from torch import Tensor

from scorekit import __version__
from scorekit.base import NoiseSchedule, Sampler
from scorekit.checkpoint import CheckpointError, CheckpointStore, manifest, tensors
from scorekit.checkpoint.files import read_file
from scorekit.checkpoint.manifest import Entry
from scorekit.checkpoint.model import CONFIG, EMA, RAW, config_file
from scorekit.config import Config, Json, from_config, to_config
from scorekit.interop.architectures import SIGMAS
from scorekit.interop.archive import Archive, write_archive
from scorekit.interop.layout import PREFIX
from scorekit.interop.ncsn import NET, NCSNCheckpoint, read_ncsn, sampler_of
from scorekit.interop.tree import Place, Reference, from_tree, to_tree

ORIGIN, OTHERS = "origin.json", "origin.safetensors"


def convert(
    path: str | Path,
    out: str | Path,
    *,
    noise: NoiseSchedule | None = None,
    image_size: int | tuple[int, int] | None = None,
    centered: bool = True,
) -> Path:
    """Make a checkpoint of this library of one of the authors': `scorekit.load(out)` loads it, with weights="ema" or
    "raw".

    Args:
        path: the authors' file.
        out: a folder without checkpoints; it gets `latest.json` and a folder `step-N`, N the training step as far as
            the file says it, else 0.
        noise, image_size, centered: see `read_ncsn`.

    Returns:
        The folder `step-N`.

    Raises:
        OSError, CheckpointError, TypeError, ValueError: from `read_ncsn`.
        CheckpointError: if `out` holds checkpoints, or the file something that JSON and safetensors cannot hold.
    """
    store = CheckpointStore(out)
    if store.entries():
        raise CheckpointError(f"convert(out={str(out)!r}): it holds checkpoints already; convert into another folder")
    checkpoint = read_ncsn(path, noise=noise, image_size=image_size, centered=centered)
    return store.write(checkpoint.step or 0, _files(checkpoint))


def export(folder: str | Path, path: str | Path, *, step: int | None = None) -> Path:
    """Write a converted checkpoint as the authors' code reads it: the inverse of `convert`, bit for bit.

    Args:
        folder: what `convert` wrote: the folder with `latest.json`, or its `step-N` folder.
        path: a new file.
        step: which checkpoint; None for the newest.

    Returns:
        The file.

    Raises:
        CheckpointError: if it is damaged, or was not converted.
        FileExistsError: if there is a file of that name.
    """
    home, entry = _find(Path(folder), step)
    if ORIGIN not in entry.files:
        raise CheckpointError(f"{home}: expected {ORIGIN}, which `convert` writes; it has {', '.join(entry.files)}")
    content = {name: read_file(home / name, record) for name, record in entry.files.items()}
    kept = {name: tensors.decode(home / name, content[name]) for name in (RAW, EMA, OTHERS) if name in content}
    write_archive(Path(path), _archive(home / ORIGIN, content[ORIGIN], kept))
    return Path(path)


def stored_sampler(folder: str | Path, *, step: int | None = None) -> Sampler | None:
    """The authors' sampler for a converted checkpoint; None if it was not converted, or they have none for its levels.

    Args:
        folder, step: see `export`.

    Raises:
        CheckpointError: if there is no checkpoint, or it is damaged.
    """
    home, entry = _find(Path(folder), step)
    if ORIGIN not in entry.files:
        return None
    document = _read_origin(home / ORIGIN, read_file(home / ORIGIN, entry.files[ORIGIN]))
    config = document.get("sampler")
    return from_config(config) if isinstance(config, dict) else None


def _files(checkpoint: NCSNCheckpoint) -> dict[str, bytes]:
    raw = checkpoint.model("raw")
    files = {RAW: tensors.encode(raw.state_dict()), CONFIG: config_file(to_config(raw))}
    if checkpoint.parts.ema is not None:
        files[EMA] = tensors.encode(checkpoint.model("ema").state_dict())
    others: dict[str, Tensor] = {}
    document = {
        "format": manifest.FORMAT,
        "version": manifest.VERSION,
        "architecture": checkpoint.architecture.name,
        "sampler": _sampler(checkpoint),
        "legacy": checkpoint.archive.legacy,
        "document": _document(checkpoint, others),
        "scorekit": __version__,
    }
    files[ORIGIN] = json.dumps(document, allow_nan=False).encode() + b"\n"
    return files | {OTHERS: tensors.encode(others)}


def _sampler(checkpoint: NCSNCheckpoint) -> Config | None:
    try:
        return to_config(sampler_of(checkpoint))
    except ValueError:  # levels for which the authors' step size is not defined
        return None


def _document(checkpoint: NCSNCheckpoint, others: dict[str, Tensor]) -> Json:
    """The file's content as JSON; `others` takes the tensors that are no weights of the model."""
    homes: dict[Place | None, str] = {checkpoint.parts.state_place: RAW, checkpoint.parts.ema_place: EMA}

    def keep(place: Place, tensor: Tensor) -> Reference:
        file, name = homes.get(place[:-1]), str(place[-1]).removeprefix(PREFIX)
        if file is not None and name != SIGMAS:
            return file, NET + name
        others[str(len(others))] = tensor
        return OTHERS, str(len(others) - 1)

    try:
        return to_tree(checkpoint.archive.document, keep)
    except (TypeError, ValueError) as error:
        raise CheckpointError(f"{checkpoint.path}: {error}") from error


def _archive(path: Path, content: bytes, kept: Mapping[str, Mapping[str, Tensor]]) -> Archive:
    origin = _read_origin(path, content)
    try:
        document = from_tree(origin["document"], lambda file, name: kept[file][name])
        return Archive(document, legacy=bool(origin["legacy"]))
    except (KeyError, TypeError, ValueError) as error:
        raise CheckpointError(f"{path}: expected what `convert` writes; {error!r}") from error


def _read_origin(path: Path, content: bytes) -> dict[str, Json]:
    document = manifest.parse_json(path, content)
    manifest.check_version(path, document)
    return document


def _find(folder: Path, step: int | None) -> tuple[Path, Entry]:
    """The folder and the record of one checkpoint: of `folder`, or `folder` itself."""
    single = not (folder / manifest.NAME).exists() and (folder.parent / manifest.NAME).exists()
    home = folder.parent if single else folder
    for entry in CheckpointStore(home).entries():
        if entry.folder == folder.name if single else step in (None, entry.step):
            return home / entry.folder, entry
    raise CheckpointError(f"{folder}: expected a checkpoint{'' if step is None else f' of step {step}'}; found none")
