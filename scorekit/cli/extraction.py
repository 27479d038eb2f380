"""What the metrics of `scorekit evaluate` go by: their names, and the extractor of features."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import final

import torch

from scorekit.cli.errors import UsageError
from scorekit.component import suggest
from scorekit.evaluation import METRICS, ClassifierExtractor, Extractor, InceptionExtractor
from scorekit.evaluation.measures import MEASURES


@final
@dataclass(frozen=True)
class Extraction:
    """The extractor that is asked for.

    Args:
        kind: "inception" or "classifier"; None for none.
        weights: its file or folder.
        sha256: how the hash of other weights of Inception's begins.

    Raises:
        UsageError: if one is given without the other.
    """

    kind: str | None
    weights: Path | None
    sha256: str | None = None

    def __post_init__(self):
        if self.kind is not None and self.weights is None:
            what = "the folder of a classifier" if self.kind == "classifier" else "the file of its weights"
            raise UsageError(f"--extractor {self.kind}: give {what} too, --extractor-weights PATH")
        if self.kind is None and self.weights is not None:
            raise UsageError(f"--extractor-weights {self.weights}: say of what, --extractor inception or classifier")
        if self.kind != "inception" and self.sha256 is not None:
            raise UsageError("--extractor-sha256 is for --extractor inception")

    def require_for(self, metrics: Sequence[str]) -> None:
        """Refuse metrics of features where there is no extractor.

        Raises:
            UsageError: with the first of them.
        """
        needing = [name for name in metrics if name in MEASURES and MEASURES[name].needs_extractor]
        if needing and self.kind is None:
            raise UsageError(
                f"--metrics {needing[0]} goes by features: give --extractor inception or classifier, and "
                "--extractor-weights PATH"
            )

    def open(self, device: torch.device) -> Extractor | None:
        """The extractor, on a device."""
        if self.kind is None or self.weights is None:
            return None
        if self.kind == "classifier":
            return ClassifierExtractor(self.weights, device=device)
        return InceptionExtractor(self.weights, sha256=self.sha256, device=device)


def to_metrics(text: str) -> tuple[str, ...]:
    """The metrics of a list with commas.

    Raises:
        UsageError: for one that there is not.
    """
    names = tuple(dict.fromkeys(name.strip() for name in text.split(",")))
    for name in names:
        if name not in METRICS:
            raise UsageError(f"--metrics {name}: no such metric{suggest(name, METRICS)}; they are {', '.join(METRICS)}")
    return names
