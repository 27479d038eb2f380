"""What `scorekit evaluate` does: samples of a checkpoint, of every step of a run, or on disk, against real pictures."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, final

import torch

from scorekit.base import Sampler
from scorekit.checkpoint.manifest import NAME
from scorekit.checkpoint.model import Weights
from scorekit.cli.checkpoints import find_checkpoint
from scorekit.cli.errors import UsageError, require_writable
from scorekit.cli.extraction import Extraction
from scorekit.cli.samplers import Request, choose
from scorekit.evaluation import (
    Report,
    Selection,
    evaluate,
    evaluate_checkpoint,
    evaluate_checkpoints,
    open_checkpoint,
)
from scorekit.evaluation.origin import checkpoint_home
from scorekit.runs import run_config

SELECTION_SAMPLES, SAMPLES = 1000, 50_000
"""How many samples are drawn unless --num-samples says so: of each step, and of one checkpoint."""


@final
@dataclass(frozen=True)
class Drawing:
    """How samples are drawn; see `scorekit evaluate --help`."""

    request: Request
    num_samples: int | None
    final_samples: int
    seed: int
    denoise: Literal["yes", "no", "both"] | None
    weights: Weights | None
    keep: Path | None
    progress: bool
    label: int | Literal["data"] | None = None

    @property
    def ending(self) -> bool | Literal["both"] | None:
        """`denoise` as the library takes it."""
        return self.denoise if self.denoise is None or self.denoise == "both" else self.denoise == "yes"

    def require_none(self, samples: Path) -> None:
        """Refuse options of drawing where samples are on disk.

        Raises:
            UsageError: naming the first.
        """
        given = {
            "--num-samples": self.num_samples,
            "--sampler": self.request.name,
            "--denoise": self.denoise,
            "--weights": self.weights,
            "--keep": self.keep,
            "--label": self.label,
        }
        for option, value in given.items():
            if value is not None:
                raise UsageError(f"{option} {value}: {samples} is no checkpoint but samples, which are there already")


@final
@dataclass(frozen=True)
class Judge:
    """What is measured, and by what; see `scorekit evaluate --help`."""

    metrics: Sequence[str]
    extraction: Extraction
    data: str | None
    split: str
    cache: Path | None
    batch_size: int
    device: torch.device

    def one(self, path: Path, drawing: Drawing) -> Report:
        """Of one checkpoint, or of samples on disk."""
        self.extraction.require_for(self.metrics)
        if not is_checkpoint(path):
            drawing.require_none(path)
            real = self._real_pictures(None)
            return evaluate(
                path,
                real,
                metrics=self.metrics,
                extractor=self.extraction.open(self.device),
                split=self.split,
                cache=self.cache,
                batch_size=self.batch_size,
            )
        real = self._real_pictures(path)
        return evaluate_checkpoint(
            path,
            real,
            sampler=self._sampler(path, drawing),
            num_samples=drawing.num_samples or SAMPLES,
            seed=drawing.seed,
            batch_size=self.batch_size,
            denoise=drawing.ending,
            weights=drawing.weights,
            device=self.device,
            out=drawing.keep,
            metrics=self.metrics,
            extractor=self.extraction.open(self.device),
            split=self.split,
            size=self._size(path),
            cache=self.cache,
            condition="labels" if drawing.label == "data" else drawing.label,
            progress=drawing.progress,
        )

    def every_step(self, path: Path, drawing: Drawing) -> Selection:
        """Of every step of a run, then of the best one."""
        self.extraction.require_for(("fid", *self.metrics))
        if drawing.label is not None:
            raise UsageError(f"--label {drawing.label}: with --all-checkpoints models are told nothing")
        if drawing.keep is None:
            raise UsageError("--all-checkpoints: give a folder for the results, --keep FOLDER")
        ending = drawing.ending
        if ending == "both":
            raise UsageError("--denoise both: with --all-checkpoints the selection goes by one set of samples")
        folder, real = find_checkpoint(path), self._real_pictures(path)
        extractor = self.extraction.open(self.device)
        if extractor is None:
            raise UsageError("--all-checkpoints goes by the Frechet distance: give --extractor and its weights")
        return evaluate_checkpoints(
            folder,
            real,
            out=drawing.keep,
            extractor=extractor,
            sampler=self._sampler(path, drawing),
            num_samples=drawing.num_samples or SELECTION_SAMPLES,
            final_samples=drawing.final_samples or None,
            metrics=self.metrics,
            seed=drawing.seed,
            batch_size=self.batch_size,
            denoise=ending,
            weights=drawing.weights,
            device=self.device,
            split=self.split,
            size=self._size(path),
            cache=self.cache,
            progress=drawing.progress,
        )

    def _sampler(self, path: Path, drawing: Drawing) -> Sampler:
        model, _ = open_checkpoint(path, weights=drawing.weights)
        sampler, ready = choose(drawing.request, model, find_checkpoint(path))
        if ready is not model:
            raise UsageError(
                f"--sampler {drawing.request.name}: more levels than the {type(model).__name__} was trained on; "
                "expected at most those"
            )
        return sampler

    def _real_pictures(self, checkpoint: Path | None) -> str:
        """The data named, else those of the checkpoint's run."""
        found = self.data if self.data is not None or checkpoint is None else run_config(checkpoint).get("data")
        if found is None:
            raise UsageError("there is nothing to compare with: give the real pictures, --data NAME or PATH")
        return str(found)

    def _size(self, checkpoint: Path) -> int | None:
        """To which the run scaled its pictures; None for other data, which may have one size."""
        config = run_config(checkpoint)
        return config.get("size") if self.data in (None, config.get("data")) else None


def is_checkpoint(path: Path) -> bool:
    """Whether it is a checkpoint, which is to be sampled, rather than samples.

    Raises:
        ValueError: if it is not there.
    """
    if not path.exists():
        raise ValueError(f"{path}: expected a checkpoint's folder, a folder of pictures or FILE.npy; found nothing")
    return (checkpoint_home(path) / NAME).exists() or (path.parent / NAME).exists()


def check_report(out: Path | None) -> None:
    """Refuse a report's file that cannot be written, before anything is computed."""
    if out is None:
        return
    if out.suffix != ".json":
        raise UsageError(f"--out {out}: expected FILE.json")
    require_writable(out)


def write_report(found: Report | Selection, out: Path | None) -> None:
    """The numbers as JSON, if there is a file for them."""
    if out is not None:
        out.write_text(json.dumps(found.to_json(), indent=1, allow_nan=False) + "\n")
