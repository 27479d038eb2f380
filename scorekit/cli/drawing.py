"""Samples of a checkpoint into a picture, an array, or a folder of pictures."""

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import final

import numpy as np
from torch import Tensor

from scorekit.base import PerChain, Sampler, TargetFamily
from scorekit.cli.checkpoints import event_shape
from scorekit.cli.errors import UsageError, require_writable
from scorekit.evaluation import Opened, evaluations_per_sample, generate
from scorekit.evaluation.drawn import require_finite
from scorekit.pictures import save_grid
from scorekit.samplers import sample


@final
@dataclass(frozen=True)
class Draws:
    """How many samples, and how they are drawn.

    Args:
        num_samples: how many.
        batch_size: how many at once.
        seed: of their streams, the same as those of a run's own samples.
        label: the class that is drawn, if one was asked for.
        progress: show a bar, on a terminal.
    """

    num_samples: int
    batch_size: int
    seed: int
    label: int | None
    progress: bool

    def write(self, out: Path, sampler: Sampler, family: TargetFamily, opened: Opened) -> str:
        """Draw, write, and say what was done.

        Args:
            out: where to.
            sampler: the sampler.
            family: what it samples.
            opened: the model underneath, and where it comes from.
        """
        start, event = time.perf_counter(), event_shape(opened.model)
        write = self._file if _is_file(out) else self._folder
        write(out, sampler, family, opened, event)
        cost, seconds = evaluations_per_sample(sampler, family, event), time.perf_counter() - start
        return f"{out}: {self.num_samples} samples, {cost} evaluations of the score for each, {seconds:.1f} s"

    def _file(self, out: Path, sampler: Sampler, family: TargetFamily, opened: Opened, event: tuple[int, ...]) -> None:
        if out.suffix == ".png" and (len(event) != 3 or event[0] not in (1, 3)):
            raise ValueError(f"{out}: samples of shape {event} make no picture; --out FILE.npy takes any")
        x = sample(
            sampler,
            family,
            (self.num_samples, *event),
            generator=PerChain(self.seed).fork("samples"),
            batch_size=self.batch_size,
            progress=self.progress,
        )
        require_finite(x)
        FILES[out.suffix](out, x)

    def _folder(
        self, out: Path, sampler: Sampler, family: TargetFamily, opened: Opened, event: tuple[int, ...]
    ) -> None:
        generate(
            family,
            sampler,
            self.num_samples,
            out,
            seed=self.seed,
            batch_size=self.batch_size,
            origin=opened.origin,
            condition=None if self.label is None else f"label {self.label}",
            progress=self.progress,
        )


def _array(path: Path, x: Tensor) -> None:
    np.save(path, x.cpu().numpy())


FILES: Mapping[str, Callable[[Path, Tensor], None]] = {".png": save_grid, ".npy": _array}
"""Who writes a file, by its suffix."""


def check_out(out: Path) -> None:
    """Refuse what cannot be written, before anything is computed.

    Raises:
        UsageError: if a suffix says neither a picture nor an array.
        OSError: if it cannot be written.
    """
    if not _is_file(out):
        if out.suffix and not out.is_dir():
            raise UsageError(f"--out {out}: expected FILE.png, FILE.npy or a folder")
        out.mkdir(parents=True, exist_ok=True)
        return
    require_writable(out)


def _is_file(out: Path) -> bool:
    return out.suffix in FILES and not out.is_dir()
