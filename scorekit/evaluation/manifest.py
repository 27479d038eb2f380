"""`manifest.json`: what the samples in a folder are, written before the first of them.

    {"format": "scorekit-samples", "version": 1, "kind": "png", "num_samples": 1000, "batch_size": 100,
     "image_shape": [3, 32, 32], "model": {"sha256": ..., "checkpoint": ..., "step": ..., "weights": "ema"},
     "sampler": {"kind": "samplers", ...}, "seed": 0, "evaluations": 1001, "denoised": true,
     "condition": null, "scorekit": ..., "torch": ...}

Two manifests agree if all that decides the samples does: not the path of the checkpoint, since a run may be moved, and
not the versions, which are there to be read.
"""

import json
import os
from dataclasses import asdict
from pathlib import Path
from typing import Any, final

import torch

from scorekit import __version__
from scorekit._kinds import brief
from scorekit.config import Json
from scorekit.evaluation.origin import Origin
from scorekit.evaluation.samples import Provenance, Samples

NAME = "manifest.json"
FORMAT, VERSION = "scorekit-samples", 1
_NOT_COMPARED = ("scorekit", "torch", "model.checkpoint")


@final
class ManifestError(ValueError):
    """A folder of samples that is not what it should be: other samples, unfinished ones, none."""


def describe(samples: Samples, place: int, kind: str) -> dict[str, Json]:
    """The manifest of one set of samples.

    Args:
        samples: the samples.
        place: which of their sets.
        kind: how they are stored.
    """
    known = samples.sets[place]
    document = {
        "format": FORMAT,
        "version": VERSION,
        "kind": kind,
        "num_samples": samples.num_samples,
        "batch_size": samples.batch_size,
        "image_shape": samples.image_shape,
        "model": None if known.model is None else asdict(known.model),
        "sampler": known.sampler,
        "seed": known.seed,
        "evaluations": known.evaluations,
        "denoised": known.denoised,
        "condition": known.condition,
        "scorekit": __version__,
        "torch": str(torch.__version__),
    }
    return json.loads(json.dumps(document, allow_nan=False))  # tuples become lists, as they will be when read


def write(folder: Path, document: dict[str, Json]) -> None:
    """Write it whole or not at all."""
    scratch = folder / f"{NAME}.tmp"
    scratch.write_text(json.dumps(document, indent=1, allow_nan=False) + "\n")
    os.replace(scratch, folder / NAME)


def read(folder: Path) -> dict[str, Any]:
    """The manifest in a folder.

    Raises:
        ManifestError: if it is not there, is no JSON, or that of something else.
    """
    path = folder / NAME
    try:
        document = json.loads(path.read_text())
    except OSError as error:
        raise ManifestError(f"{path}: expected the manifest of generated samples ({error.strerror})") from error
    except ValueError as error:
        raise ManifestError(f"{path}: expected JSON; {error}") from error
    if not isinstance(document, dict) or (document.get("format"), document.get("version")) != (FORMAT, VERSION):
        raise ManifestError(f"{path}: expected a manifest of the format {FORMAT!r}, version {VERSION}")
    return document


def require_same(folder: Path, found: dict[str, Json], wanted: dict[str, Json]) -> None:
    """Refuse a folder with other samples.

    Raises:
        ManifestError: naming what differs, and both values.
    """
    there, here = _flat(found), _flat(wanted)
    for name in sorted(there.keys() | here.keys()):
        if name not in _NOT_COMPARED and there.get(name) != here.get(name):
            raise ManifestError(
                f"{folder}: it holds other samples: there {name} = {brief(there.get(name))}, here "
                f"{brief(here.get(name))}. Generate into another folder, or remove this one"
            )


def provenance(folder: Path, document: dict[str, Any]) -> Provenance:
    """What the manifest in a folder says of where its samples come from."""
    model = document["model"]
    known = {name: document[name] for name in ("sampler", "seed", "evaluations", "denoised", "condition")}
    return Provenance(str(folder), None if model is None else Origin(**model), **known)


def _flat(document: Json, path: str = "") -> dict[str, Json]:
    """{"sampler.params.noise.name": "geometric", ...}"""
    if not isinstance(document, dict) or not document:
        return {path: document}
    return {
        name: value
        for key, each in document.items()
        for name, value in _flat(each, f"{path}.{key}" if path else key).items()
    }
