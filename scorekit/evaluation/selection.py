"""What is remembered of the checkpoints that were judged: one line of JSON for each, so that none is judged twice.

{"judged": {"step": 5000, "origin": {...}, "result": {...}, "fault": null}, "settings": {...}}
"""

import json
import math
import os
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, final

import torch

from scorekit.config import Json
from scorekit.evaluation.origin import Origin
from scorekit.evaluation.report import Result
from scorekit.training.runtime import Runtime


@final
@dataclass(frozen=True)
class Judged:
    """One checkpoint of the selection.

    Args:
        step: its step.
        origin: its weights.
        result: the Frechet distance; None if its chains were not finite.
        fault: what was wrong with them; None if nothing was.
    """

    step: int
    origin: Origin
    result: Result | None
    fault: str | None = None

    @property
    def value(self) -> float:
        """The distance; infinity for a fault."""
        return math.inf if self.result is None else self.result.value


@final
class SelectionLog:
    """The JSON lines of steps that were judged. A line that a kill cut short is dropped, and its step judged again.

    Args:
        path: the file; it is made with the first line.
        settings: what a line's must be for it to count.
        runtime: whose main process writes; all of them read the same at the start.
    """

    def __init__(self, path: Path, settings: dict[str, Json], runtime: Runtime):
        self._path, self._settings, self._main = path, settings, runtime.rank == 0
        lines = path.read_bytes().split(b"\n") if path.exists() else [b""]
        runtime.gather(torch.zeros(1))  # all read before one writes
        self._rows: list[dict[str, Any]] = [row for row in map(_parsed, lines) if row is not None]
        if lines[-1] and self._main:
            self._rewrite()

    def find(self, origin: Origin) -> Judged | None:
        """What was found of these weights under these settings."""
        for row in reversed(self._rows):
            judged = decode(row["judged"])
            moved = replace(judged.origin, checkpoint=origin.checkpoint)  # a run may be moved
            if moved == origin and row["settings"] == self._settings:
                return judged
        return None

    def add(self, judged: Judged) -> None:
        """Append a line, and flush it."""
        row = {"judged": encode(judged), "settings": self._settings}
        self._rows.append(row)
        if self._main:
            with open(self._path, "a") as file:
                file.write(json.dumps(row, allow_nan=False) + "\n")
                file.flush()
                os.fsync(file.fileno())

    def _rewrite(self) -> None:
        scratch = self._path.with_name(f"{self._path.name}.tmp")
        scratch.write_text("".join(json.dumps(row, allow_nan=False) + "\n" for row in self._rows))
        os.replace(scratch, self._path)


def _parsed(line: bytes) -> dict[str, Any] | None:
    try:
        row = json.loads(line)
    except ValueError:
        return None
    return row if isinstance(row, dict) and row.keys() == {"judged", "settings"} else None


def encode(judged: Judged) -> dict[str, Json]:
    """As JSON values."""
    origin: dict[str, Json] = {**asdict(judged.origin)}
    return {
        "step": judged.step,
        "origin": origin,
        "result": None if judged.result is None else judged.result.to_json(),
        "fault": judged.fault,
    }


def decode(document: dict[str, Any]) -> Judged:
    """The inverse of `encode`."""
    result = document["result"]
    return Judged(
        document["step"],
        Origin(**document["origin"]),
        None if result is None else Result.from_json(result),
        document["fault"],
    )
