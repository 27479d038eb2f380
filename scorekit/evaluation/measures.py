"""What samples are measured by, beside the reference: each a stream of batches to a few numbers.

    fid          Frechet distance of features to the reference's mean and covariance
    kid          kernel distance of features to the reference's, mean and standard error over blocks
    is           Inception score of logits, mean and standard deviation over ten consecutive parts
    neighbours   distance to the nearest real picture, pixel by pixel: median and least over the first samples

`loss`, the held-out loss of a model, is measured without samples: see `held_out_loss`.
"""

import math
from abc import ABC, abstractmethod
from dataclasses import dataclass, field
from typing import ClassVar, NamedTuple, TypeVar, final

import torch
from torch import Tensor

from scorekit.config import Json
from scorekit.evaluation.extractors import Extracted
from scorekit.evaluation.neighbours import nearest_neighbours
from scorekit.evaluation.reference import Reference
from scorekit.evaluation.report import PUBLISHED_COUNT
from scorekit.evaluation.statistics import ReferenceFeatures
from scorekit.metrics import FeatureStatistics, InceptionScore, KernelInceptionDistance, frechet_distance

T = TypeVar("T")


@final
@dataclass(frozen=True)
class Number:
    """One number, before its circumstances are added.

    Args:
        metric: its name.
        value: the number.
        error: its uncertainty, or None.
        settings: what it depends on besides.
        warnings: what forbids which comparison.
        num_samples: how many samples went in.
    """

    metric: str
    value: float
    error: float | None
    num_samples: int
    settings: dict[str, Json] = field(default_factory=dict)
    warnings: tuple[str, ...] = ()


class Given(NamedTuple):
    """What measuring starts with."""

    num_samples: int
    reference: Reference
    features: ReferenceFeatures | None  # None where there is no extractor


class Tally(ABC):
    """One measure of one set of samples, under way."""

    @abstractmethod
    def update(self, images: Tensor, extracted: Extracted | None) -> None:
        """Take in samples (B, C, H, W), and their features if there is an extractor."""

    @abstractmethod
    def numbers(self) -> tuple[Number, ...]:
        """What was measured, when all samples were taken in."""


class Measure(ABC):
    """A measure, before it starts: its settings."""

    needs_extractor: ClassVar[bool] = True
    """Whether it goes by features or logits."""

    uses_reference: ClassVar[bool] = True
    """Whether its numbers depend on the real pictures."""

    @abstractmethod
    def start(self, given: Given) -> Tally:
        """A tally for one set of samples."""


# ------------------------------------------------------------------------------------------------- Frechet distance


@final
@dataclass(frozen=True)
class Frechet(Measure):
    """The Frechet distance of Gaussians fitted to features; of Inception's, the FID (Heusel et al., 2017)."""

    def start(self, given: Given) -> Tally:
        """Mean and covariance of the samples' features, to be compared at the end."""
        return _FrechetTally(given)


@final
class _FrechetTally(Tally):
    def __init__(self, given: Given):
        self._given = given
        self._statistics: FeatureStatistics | None = None

    def update(self, images: Tensor, extracted: Extracted | None) -> None:
        features = _required(extracted).features
        if self._statistics is None:
            self._statistics = FeatureStatistics(features.shape[1])
        self._statistics.update(features)

    def numbers(self) -> tuple[Number, ...]:
        here, there = _required(self._statistics), _required(self._given.features).statistics
        value = frechet_distance(here.mean, here.cov, there.mean, there.cov)
        warnings = [*few_samples("FID", here.count)]
        if here.count <= here.num_features:
            warnings.append(
                f"FID of {here.count:,} samples by {here.num_features:,} features: the samples' covariance is singular"
            )
        return (Number("fid", value, None, here.count, warnings=tuple(warnings)),)


def few_samples(title: str, count: int) -> tuple[str, ...]:
    """The warning of a number that depends on how many samples there are, if there are fewer than published ones
    take.
    """
    if count >= PUBLISHED_COUNT:
        return ()
    bias = {"FID": "biased upward", "Inception score": "biased downward"}[title]
    return (f"{title} of {count:,} samples: {bias}; not comparable with published ones at {PUBLISHED_COUNT:,}",)


# --------------------------------------------------------------------------------------------------- kernel distance


@final
@dataclass(frozen=True)
class Kernel(Measure):
    """The kernel distance of features (Binkowski et al., 2018), over consecutive blocks.

    Args:
        block_size: rows in a block; None for 1,000, or as many as there are samples or real pictures if that is fewer.
    """

    block_size: int | None = None

    def start(self, given: Given) -> Tally:
        """Blocks of samples against blocks of the reference, in order."""
        most = min(1000, given.num_samples, given.reference.record.count)
        return _KernelTally(given, most if self.block_size is None else self.block_size)


@final
class _KernelTally(Tally):
    def __init__(self, given: Given, block_size: int):
        self._given, self._block_size = given, block_size
        self._distance: KernelInceptionDistance | None = None

    def update(self, images: Tensor, extracted: Extracted | None) -> None:
        features = _required(extracted).features
        if self._distance is None:
            batches = _required(self._given.features).batches()
            self._distance = KernelInceptionDistance(features.shape[1], batches, block_size=self._block_size)
        self._distance.update(features)

    def numbers(self) -> tuple[Number, ...]:
        found = _required(self._distance).result()
        used, there = found.num_blocks * found.block_size, self._given.reference.record.count
        warnings = []
        if used > there:
            warnings.append(
                f"KID of {used:,} samples against {there:,} real pictures, which were repeated: its standard error is "
                "too small"
            )
        error = None if math.isnan(found.standard_error) else found.standard_error
        settings: dict[str, Json] = {"block_size": found.block_size, "error": "standard error"}
        return (Number("kid", found.mean, error, used, settings, tuple(warnings)),)


# --------------------------------------------------------------------------------------------------- Inception score


@final
@dataclass(frozen=True)
class Inception(Measure):
    """The Inception score (Salimans et al., 2016), over consecutive parts as published.

    Args:
        splits: how many parts.
    """

    uses_reference: ClassVar[bool] = False

    splits: int = 10

    def start(self, given: Given) -> Tally:
        """Sums over each part."""
        return _InceptionTally(given.num_samples, self.splits)


@final
class _InceptionTally(Tally):
    def __init__(self, total: int, splits: int):
        self._total, self._splits = total, splits
        self._score: InceptionScore | None = None

    def update(self, images: Tensor, extracted: Extracted | None) -> None:
        logits = _required(extracted).logits
        if logits is None:
            raise ValueError("metric 'is': expected an extractor with logits; this one has features only")
        if self._score is None:
            self._score = InceptionScore(logits.shape[1], splits=self._splits, total=self._total)
        self._score.update(logits)

    def numbers(self) -> tuple[Number, ...]:
        found = _required(self._score).result()
        settings: dict[str, Json] = {"splits": found.splits, "error": "deviation"}
        return (
            Number("is", found.mean, found.std, found.count, settings, few_samples("Inception score", found.count)),
        )


# -------------------------------------------------------------------------------------------------------- neighbours


@final
@dataclass(frozen=True)
class Nearest(Measure):
    """Distances of samples to the nearest real picture, mirrored ones included, by the Euclidean norm over pixels.

    Args:
        num_samples: of how many samples, the first ones: the search takes their number times the real pictures'.
    """

    needs_extractor: ClassVar[bool] = False

    num_samples: int = 100

    def start(self, given: Given) -> Tally:
        """The first samples, for a search at the end."""
        return _NearestTally(given.reference, self.num_samples)


@final
class _NearestTally(Tally):
    def __init__(self, reference: Reference, num_samples: int):
        self._reference, self._most = reference, num_samples
        self._kept: list[Tensor] = []

    def update(self, images: Tensor, extracted: Extracted | None) -> None:
        missing = self._most - sum(map(len, self._kept))
        if missing > 0:
            self._kept.append(images[:missing])

    def numbers(self) -> tuple[Number, ...]:
        samples, total = torch.cat(self._kept), self._reference.record.count
        batches = (self._reference.pictures(first, 1000) for first in range(0, total, 1000))
        nearest = nearest_neighbours(samples, batches, k=1).distances[:, 0]
        return tuple(
            Number("neighbours", value.item(), None, len(samples), {"of the nearest distances": name})
            for name, value in (("median", nearest.median()), ("least", nearest.min()))
        )


def _required(value: T | None) -> T:
    """What the flow of the evaluation guarantees to be there."""
    if value is None:
        raise RuntimeError("a measure was asked before it was given samples and an extractor")
    return value


MEASURES: dict[str, Measure] = {"fid": Frechet(), "kid": Kernel(), "is": Inception(), "neighbours": Nearest()}
"""The measures by name."""
