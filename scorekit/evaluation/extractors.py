"""Extractors: from pictures to the features that the Frechet distance and KID compare, and to the logits of the
Inception score.

Pictures come as (B, C, H, W), floating point in [0, 1]. A number by one extractor compares with numbers by the same
extractor only; so each has a name, and the SHA-256 of its weights where it has any.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple, TypeAlias, cast, final

import torch
from torch import Tensor

from scorekit._kinds import brief, require_kind
from scorekit.evaluation.origin import weights_record


class Extracted(NamedTuple):
    """What an extractor makes of B pictures."""

    features: Tensor  # (B, D)
    logits: Tensor | None = None  # (B, K): of a classifier


class Extractor(ABC):
    """A map of pictures to features, each picture by itself."""

    @property
    @abstractmethod
    def name(self) -> str:
        """What reports call it."""

    @property
    @abstractmethod
    def weights_hash(self) -> str | None:
        """The SHA-256 of the file of its weights; None if it has none."""

    @property
    def published(self) -> bool:
        """Whether published numbers are by the very same one; False unless it says so."""
        return False

    @abstractmethod
    def extract(self, images: Tensor) -> Extracted:
        """What it makes of pictures (B, C, H, W), floating point in [0, 1], on any device."""

    @final
    def __call__(self, images: Tensor) -> Extracted:
        """Features (B, D), and logits (B, K) or None, on the CPU.

        Args:
            images: (B, C, H, W), floating point in [0, 1].

        Raises:
            TypeError: if the pictures are not floating point: bytes are for `as_unit`.
            ValueError: if they have another shape or leave [0, 1]; if what comes out is not finite, or not one row a
                picture.
        """
        _check_images(images)
        with torch.no_grad():
            features, logits = self.extract(images)
        _check_rows(self.name, "features", features, len(images))
        if logits is not None:
            _check_rows(self.name, "logits", logits, len(images))
        return Extracted(features.cpu(), None if logits is None else logits.cpu())


Extraction: TypeAlias = Callable[[Tensor], Tensor | tuple[Tensor, Tensor]]


@final
class FunctionExtractor(Extractor):
    """The user's own function of pictures.

    Args:
        function: (B, C, H, W) in [0, 1] -> features (B, D), or (features (B, D), logits (B, K)).
        name: what reports call it. Give another name to another function: numbers are told apart by it.
        weights_hash: the SHA-256 of its weights, if it has any.

    Raises:
        TypeError: if `function` cannot be called.
        ValueError: if `name` is empty.
    """

    def __init__(self, function: Extraction, name: str, *, weights_hash: str | None = None):
        if not callable(function):
            raise TypeError(f"FunctionExtractor({brief(function)}): expected a function of pictures (B, C, H, W)")
        if not name:
            raise ValueError("FunctionExtractor(name=''): expected a name, for the reports")
        self._function, self._name, self._hash = function, name, weights_hash

    @property
    def name(self) -> str:
        """The name given."""
        return self._name

    @property
    def weights_hash(self) -> str | None:
        """The hash given."""
        return self._hash

    def extract(self, images: Tensor) -> Extracted:
        """The function's."""
        found = self._function(images)
        return Extracted(found) if isinstance(found, Tensor) else Extracted(*found)


@final
class ClassifierExtractor(Extractor):
    """A classifier of clean pictures trained here: its features before the last layer, and its logits.

    Args:
        folder: what `scorekit.checkpoint.save_network` wrote.
        device: where it runs.

    Raises:
        CheckpointError: if there is no good network in the folder.
        TypeError: if the network is no `ConvClassifier`.
    """

    def __init__(self, folder: str | Path, *, device: torch.device | str = "cpu"):
        from scorekit.checkpoint import load_network
        from scorekit.networks.classifier import ConvClassifier

        net = load_network(folder, device=device)
        require_kind(f"ClassifierExtractor({str(folder)!r})", ConvClassifier, network=net)
        self._net, self._device = cast(ConvClassifier, net).eval(), torch.device(device)
        self._shape = tuple(self._net.image_shape)
        self._hash = weights_record(folder).sha256

    @property
    def name(self) -> str:
        """What it classifies: "classifier 1x28x28, 10 classes"."""
        size = "x".join(map(str, self._shape))
        return f"classifier {size}, {self._net.num_classes} classes"

    @property
    def weights_hash(self) -> str | None:
        """The SHA-256 of its `model.safetensors`."""
        return self._hash

    def extract(self, images: Tensor) -> Extracted:
        """One pass of the network.

        Raises:
            ValueError: for pictures of another shape than it was trained on.
        """
        if tuple(images.shape[1:]) != self._shape:
            raise ValueError(f"{self.name}: expected pictures of shape {self._shape}; got {tuple(images.shape[1:])}")
        features = self._net.features(images.to(self._device, torch.float32))
        return Extracted(features, self._net.head(features))


def _check_images(images: Tensor) -> None:
    if not images.is_floating_point():
        raise TypeError(f"pictures of type {images.dtype}: expected floating point in [0, 1]")
    if images.ndim != 4 or images.shape[1] not in (1, 3) or images.numel() == 0:
        raise ValueError(f"pictures of shape {tuple(images.shape)}: expected (B, C, H, W) with C = 1 or 3, none empty")
    low, high = (value.item() for value in images.aminmax())
    if not (low >= 0 and high <= 1):  # NaN fails it too: aminmax propagates it
        raise ValueError(f"pictures with values from {low} to {high}: expected [0, 1]")


def _check_rows(name: str, what: str, rows: Tensor, count: int) -> None:
    if rows.ndim != 2 or len(rows) != count:
        raise ValueError(
            f"extractor {name!r}: expected {what} ({count}, ...), a row a picture; got {tuple(rows.shape)}"
        )
    if not rows.isfinite().all():
        raise ValueError(f"extractor {name!r}: {(~rows.isfinite()).sum().item()} of its {what} are not finite")
