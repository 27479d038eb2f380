"""Where a model comes from: what a manifest and a report say of it."""

import hashlib
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple, final

import torch

from scorekit.base import ScoreModel, TargetFamily
from scorekit.checkpoint import CheckpointError, CheckpointStore, load, tensors
from scorekit.checkpoint import manifest as latest
from scorekit.checkpoint.files import FileRecord
from scorekit.checkpoint.manifest import Entry
from scorekit.checkpoint.model import EMA, RAW, Weights


@final
@dataclass(frozen=True)
class Origin:
    """The weights of a model.

    Args:
        sha256: of the file of the weights; of a model in memory, of the file that `scorekit.save` would write.
        checkpoint: the folder; None for a model in memory.
        step: the step of training; None if unknown.
        weights: "ema" for the moving average, "raw" for the weights as trained; None if unknown.
    """

    sha256: str
    checkpoint: str | None = None
    step: int | None = None
    weights: Weights | None = None

    def __str__(self) -> str:
        if self.checkpoint is None:
            return f"a model in memory, weights {self.sha256[:8]}"
        return f"{self.checkpoint}, step {self.step}, {self.weights} weights {self.sha256[:8]}"


class Opened(NamedTuple):
    """A model from a checkpoint, and where it comes from."""

    model: ScoreModel
    origin: Origin


def open_checkpoint(
    folder: str | Path,
    *,
    weights: Weights | None = None,
    step: int | None = None,
    device: torch.device | str = "cpu",
) -> Opened:
    """`scorekit.load`, and what a report says of the model.

    Args:
        folder: as for `scorekit.load`, or the folder of a run, which holds it under "checkpoint".
        weights, step, device: as for `scorekit.load`. None for the newest step, whose files must then be good.

    Raises:
        CheckpointError: as `scorekit.load` does.
    """
    home = checkpoint_home(folder)
    entry = _entry(home, step)
    chosen: Weights = weights or ("ema" if EMA in entry.files else "raw")
    model = load(home, weights=chosen, step=entry.step, device=device)
    return Opened(model, origin_of(home, entry, chosen))


def checkpoint_home(folder: str | Path) -> Path:
    """The folder itself, or "checkpoint" below it, where a run keeps it."""
    home, below = Path(folder), Path(folder) / "checkpoint"
    return below if not (home / latest.NAME).exists() and (below / latest.NAME).exists() else home


def origin_of(home: Path, entry: Entry, weights: Weights) -> Origin:
    """The origin of the weights of one checkpoint."""
    name = EMA if weights == "ema" else RAW
    if name not in entry.files:
        raise CheckpointError(
            f"{home / entry.folder}: expected {name} for weights={weights!r}; the checkpoint has none"
        )
    return Origin(entry.files[name].sha256, str(home), entry.step, weights)


def weights_record(folder: str | Path) -> FileRecord:
    """Size and hash of the weights of the newest checkpoint in a folder."""
    return _entry(Path(folder), None).files[RAW]


def origin_in_memory(model: TargetFamily) -> Origin:
    """The origin of a model that is in memory.

    Raises:
        TypeError: if it is no score model, whose weights could be hashed.
    """
    if not isinstance(model, ScoreModel):
        raise TypeError(
            f"{model.title}: expected a ScoreModel, or origin=Origin(...), which says where these samples come from"
        )
    return Origin(hashlib.sha256(tensors.encode(model.state_dict())).hexdigest())


def _entry(home: Path, step: int | None) -> Entry:
    parent = home.parent
    if not (home / latest.NAME).exists() and (parent / latest.NAME).exists():  # OUT/checkpoint/step-N
        chosen = [entry for entry in CheckpointStore(parent).entries() if entry.folder == home.name]
    else:
        chosen = [entry for entry in CheckpointStore(home).entries() if step in (None, entry.step)]
    if not chosen:
        wanted = "a checkpoint" if step is None else f"a checkpoint of step {step}"
        raise CheckpointError(f"{home}: expected {wanted}; found none")
    return chosen[0]
