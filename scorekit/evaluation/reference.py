"""Real pictures that samples are compared with."""

import hashlib
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import final

from torch import Tensor

from scorekit.data import Images, open_images
from scorekit.evaluation.pixels import unit_pixels


@final
@dataclass(frozen=True)
class ReferenceRecord:
    """What a report says of them.

    Args:
        name: of the data.
        split: "train", "test", ...
        count: how many pictures.
    """

    name: str
    split: str
    count: int

    def __str__(self) -> str:
        return f"{self.name} {self.split}, {self.count:,}"


@final
class Reference:
    """Real pictures, in chunks.

    Args:
        images: the pictures.
        split: which part of the data they are.
        name: of the data; None for the pictures' own.
    """

    def __init__(self, images: Images, split: str, *, name: str | None = None):
        self.images = images
        own = images.name.removesuffix(f"-{split}")
        self.record = ReferenceRecord(own if name is None else name, split, len(images))

    @property
    def image_shape(self) -> tuple[int, int, int]:
        """(C, H, W)."""
        channels, height, width = self.images.pixels.shape[1:]
        return channels, height, width

    def pictures(self, first: int, count: int) -> Tensor:
        """Pictures number first, ...: (count, C, H, W), float32 in [0, 1], rounded to 256 levels as samples are."""
        return unit_pixels(self.images, first, count)

    @cached_property
    def pixels_hash(self) -> str:
        """The SHA-256 of the stored pixels: two data sets of one name are told apart by it."""
        return hashlib.sha256(self.images.pixels.contiguous().numpy().tobytes()).hexdigest()


def open_reference(
    spec: str | Path | Images | Reference, split: str = "train", *, size: int | None = None
) -> Reference:
    """Real pictures by name or path.

    Args:
        spec: as `scorekit.data.open_images` takes it; or pictures.
        split: "train", as published FIDs of CIFAR-10 have it, or "test"; of pictures, what the report calls them.
        size: height and width, for CelebA and folders of pictures.

    Raises:
        DataError, ValueError: as `open_images` does.
    """
    if isinstance(spec, Reference):
        return spec
    if isinstance(spec, Images):
        return Reference(spec, split)
    return Reference(open_images(spec, split, size=size), split)
