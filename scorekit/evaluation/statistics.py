"""Features of real pictures: their mean and covariance, kept in a file, and their stream.

The file is a safetensors file with count, mean and scatter (`FeatureStatistics`), and in its header what they are of:
extractor, hash of its weights, data, split, hash of the pixels, and which pictures. Parts made by several runs merge.
"""

import json
import os
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import final

import safetensors
import safetensors.torch
import torch
from torch import Tensor

from scorekit.evaluation.extractors import Extractor
from scorekit.evaluation.reference import Reference
from scorekit.evaluation.rounds import in_order
from scorekit.metrics import FeatureStatistics
from scorekit.training.runtime import PlainRuntime, Runtime

FORMAT = "scorekit-statistics 1"


@final
class StatisticsError(ValueError):
    """Stored statistics that are not those asked for: of other data, of another extractor, of too few pictures."""


@final
@dataclass(frozen=True, eq=False, repr=False)
class StoredStatistics:
    """Mean and covariance of features, and what they are of.

    Args:
        statistics: count, mean and scatter.
        labels: extractor, weights_hash, data, split, total, pixels_hash, image_shape: all that must agree for two to
            merge.
        parts: (first, count) of the pictures that went in, in increasing order.
    """

    statistics: FeatureStatistics
    labels: dict[str, str]
    parts: tuple[tuple[int, int], ...]

    def __repr__(self) -> str:
        return f"<StoredStatistics of {self.statistics.count} pictures, {self.labels}>"

    def merge(self, other: "StoredStatistics") -> "StoredStatistics":
        """Both together; each stays as it is.

        Raises:
            StatisticsError: if they are of different things, naming what differs, or share pictures.
        """
        _require_same_labels("merge", self.labels, other.labels)
        parts = sorted((*self.parts, *other.parts))
        for (first, count), (after, _) in pairwise(parts):
            if first + count > after:
                raise StatisticsError(f"merge: pictures from {after} on are in both ({self.parts} and {other.parts})")
        joined = FeatureStatistics.from_state(self.statistics.state())
        joined.merge(other.statistics)
        return StoredStatistics(joined, self.labels, _joined(parts))

    def save(self, path: str | Path) -> None:
        """Write the file, whole or not at all."""
        header = {"format": FORMAT, **self.labels, "parts": json.dumps(self.parts)}
        scratch = Path(f"{path}.{os.getpid()}.tmp")
        scratch.write_bytes(safetensors.torch.save(self.statistics.state(), header))
        os.replace(scratch, path)

    @classmethod
    def load(cls, path: str | Path) -> "StoredStatistics":
        """Read a file.

        Raises:
            StatisticsError: if it is not there, or no such file.
        """
        try:
            with safetensors.safe_open(path, framework="pt") as file:
                header = dict(file.metadata() or {})
                state = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 (a safetensors file is no mapping)
            if header.pop("format", None) != FORMAT:
                raise ValueError(f"not of the format {FORMAT!r}")
            parts = tuple((int(first), int(count)) for first, count in json.loads(header.pop("parts")))
            return cls(FeatureStatistics.from_state(state), header, parts)
        except (OSError, ValueError, TypeError, KeyError, safetensors.SafetensorError) as error:
            raise StatisticsError(f"{path}: expected statistics of features; {error}") from error


def reference_statistics(
    reference: Reference,
    extractor: Extractor,
    *,
    first: int = 0,
    count: int | None = None,
    batch_size: int = 100,
    runtime: Runtime | None = None,
) -> StoredStatistics:
    """Mean and covariance of the features of real pictures, or of some of them.

    Args:
        reference: the pictures.
        extractor: what makes features of them.
        first, count: which pictures; a part may be computed by a run of its own, and merged. None for all from `first`
            on.
        batch_size: pictures at once.
        runtime: whose processes share the work.

    Raises:
        ValueError: if there are no such pictures.
    """
    total = reference.record.count
    count = total - first if count is None else count
    if not (first >= 0 and count >= 1 and first + count <= total):
        raise ValueError(f"first = {first}, count = {count}: expected some of the {total} pictures")
    stream = features_of(reference, extractor, first=first, count=count, batch_size=batch_size, runtime=runtime)
    rows = next(stream)
    statistics = FeatureStatistics(rows.shape[1])
    statistics.update(rows)
    for rows in stream:
        statistics.update(rows)
    return StoredStatistics(statistics, labels_of(reference, extractor), ((first, count),))


def features_of(
    reference: Reference,
    extractor: Extractor,
    *,
    first: int = 0,
    count: int | None = None,
    batch_size: int = 100,
    runtime: Runtime | None = None,
) -> Iterator[Tensor]:
    """The features (B, D) of real pictures, batch after batch, in order; see `reference_statistics`."""
    end = reference.record.count if count is None else first + count

    def size(number: int) -> int:
        return max(0, min(batch_size, end - first - number * batch_size))

    def compute(number: int) -> tuple[Tensor, ...]:
        return (extractor(reference.pictures(first + number * batch_size, size(number))).features,)

    num_chunks = -(-(end - first) // batch_size)
    for (rows,) in in_order(runtime or PlainRuntime("cpu"), num_chunks, size, compute):
        yield rows


def labels_of(reference: Reference, extractor: Extractor) -> dict[str, str]:
    """What statistics are told apart by."""
    return {
        "extractor": extractor.name,
        "weights_hash": extractor.weights_hash or "",
        "data": reference.record.name,
        "split": reference.record.split,
        "total": str(reference.record.count),
        "image_shape": "x".join(map(str, reference.image_shape)),
        "pixels_hash": reference.pixels_hash,
    }


@final
class ReferenceFeatures:
    """What measures ask of the reference, computed when it is asked for.

    Args:
        reference: the pictures.
        extractor: what makes features of them.
        cache: a file to read the statistics from, or to write them to if it is not there.
        batch_size: pictures at once.
        runtime: whose processes share the work.
    """

    def __init__(
        self, reference: Reference, extractor: Extractor, *, cache: str | Path | None, batch_size: int, runtime: Runtime
    ):
        self.reference, self.extractor = reference, extractor
        self._cache, self._batch_size, self._runtime = cache, batch_size, runtime
        self._statistics: FeatureStatistics | None = None

    @property
    def statistics(self) -> FeatureStatistics:
        """Mean and covariance of all pictures; every process asks for them.

        Raises:
            StatisticsError: if the cache holds those of something else, or of some pictures only.
        """
        if self._statistics is None:
            self._statistics = self._found()
        return self._statistics

    def _found(self) -> FeatureStatistics:
        path = None if self._cache is None else Path(self._cache)
        cached = path is not None and path.exists()
        self._runtime.gather(torch.zeros(1))  # all look before one writes
        if path is not None and cached:
            return _checked(path, StoredStatistics.load(path), self.reference, self.extractor)
        made = reference_statistics(self.reference, self.extractor, batch_size=self._batch_size, runtime=self._runtime)
        if path is not None and self._runtime.rank == 0:
            path.parent.mkdir(parents=True, exist_ok=True)
            made.save(path)
        return made.statistics

    def batches(self) -> Iterator[Tensor]:
        """The features of all pictures, and again from the first one on."""
        while True:
            yield from features_of(self.reference, self.extractor, batch_size=self._batch_size, runtime=self._runtime)


def _checked(path: Path, found: StoredStatistics, reference: Reference, extractor: Extractor) -> FeatureStatistics:
    _require_same_labels(str(path), found.labels, labels_of(reference, extractor))
    if found.parts != ((0, reference.record.count),):
        raise StatisticsError(
            f"{path}: expected statistics of all {reference.record.count} pictures; found the parts {found.parts}"
        )
    return found.statistics


def _require_same_labels(where: str, there: dict[str, str], here: dict[str, str]) -> None:
    for name in sorted(there.keys() | here.keys()):
        if there.get(name) != here.get(name):
            raise StatisticsError(f"{where}: {name} is {there.get(name)!r} there and {here.get(name)!r} here")


def _joined(parts: list[tuple[int, int]]) -> tuple[tuple[int, int], ...]:
    """Parts that touch, as one."""
    found = [parts[0]]
    for first, count in parts[1:]:
        last, size = found[-1]
        if last + size == first:
            found[-1] = last, size + count
        else:
            found.append((first, count))
    return tuple(found)
