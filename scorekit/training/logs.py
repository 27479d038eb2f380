"""Training logs: one JSON object a line, and TensorBoard.

    {"step": 10, "loss": 31.9, "learning_rate": 0.001, "grad_norm": 4.2, "seconds": 0.05, "examples_per_second": 2560.0,
     "held_out": {"1.0": 21.3, ..., "0.01": 30.1}}

`held_out` stands in the lines of the steps that were validated; its keys are the sigmas, and a
loss that is not finite is null.
"""

import json
import math
import os
from pathlib import Path
from typing import TYPE_CHECKING, final

from scorekit.training.loop import TrainStep

if TYPE_CHECKING:
    from torch.utils.tensorboard import SummaryWriter


@final
class JsonLines:
    """A log that a resumed run continues without a step missing or doubled.

    Args:
        path: the file.
        after: the step to go on from: what is there of later steps, and a line torn by a kill, are dropped. 0 for a new
            log.
    """

    def __init__(self, path: str | Path, *, after: int = 0):
        self.path = Path(path)
        self.path.parent.mkdir(parents=True, exist_ok=True)
        kept = [line for line in _lines(self.path) if _step(line) <= after]
        scratch = self.path.with_name("tmp-" + self.path.name)
        scratch.write_text("".join(line + "\n" for line in kept))
        os.replace(scratch, self.path)
        self._file = open(self.path, "a")  # noqa: SIM115 - it stays open between the lines

    def write(self, step: TrainStep) -> None:
        """Add a line; it is with the operating system when this returns."""
        self._file.write(json.dumps(record(step), allow_nan=False) + "\n")
        self._file.flush()

    def close(self) -> None:
        """Close the file."""
        self._file.close()


@final
class TensorBoardLog:
    """A callback for `train` that draws the same curves in TensorBoard (scorekit[tensorboard]).

    Args:
        folder: where its event files go.
        every: each so many steps; steps with a held-out loss are always drawn.
    """

    def __init__(self, folder: str | Path, *, every: int = 10):
        self.folder, self.every = Path(folder), every
        self._writer: SummaryWriter | None = None

    def __call__(self, step: TrainStep) -> None:
        """Draw one step."""
        if step.step % self.every and step.held_out is None:
            return
        if self._writer is None:
            from torch.utils.tensorboard import SummaryWriter

            self._writer = SummaryWriter(
                str(self.folder), purge_step=step.step
            )  # hides what a run that was cut off drew beyond
        curves = record(step._replace(held_out=None))
        curves |= {f"held_out/{sigma:.6g}": loss for sigma, loss in (step.held_out or {}).items()}
        for name, value in curves.items():
            self._writer.add_scalar(name, value, step.step)
        self._writer.flush()


def record(step: TrainStep) -> dict[str, object]:
    """What a log keeps of a step: numbers only."""
    values: dict[str, object] = {
        "step": step.step,
        "loss": step.loss,
        "learning_rate": step.learning_rate,
        "grad_norm": step.grad_norm,
        "seconds": round(step.seconds, 6),
        "examples_per_second": round(step.examples_per_second, 1),
    }
    if step.held_out is not None:
        finite = {
            sigma: loss if math.isfinite(loss) else None for sigma, loss in step.held_out.items()
        }  # JSON has no NaN
        values["held_out"] = {f"{sigma:.6g}": loss for sigma, loss in finite.items()}
    return values


def _lines(path: Path) -> list[str]:
    return path.read_text().splitlines() if path.exists() else []


def _step(line: str) -> float:
    """The step of a line; infinite for a torn one."""
    try:
        return json.loads(line)["step"]
    except (ValueError, KeyError, TypeError):
        return float("inf")
