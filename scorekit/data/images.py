"""Images: pictures in memory, as every reader of this package returns them."""

from dataclasses import dataclass, replace
from typing import final

import torch
from torch import Tensor

from scorekit.random import uniform


@final
@dataclass(frozen=True, eq=False, repr=False)
class Images:
    """N pictures of one size, with what is known about them.

    Args:
        pixels: (N, C, H, W), uint8 grey levels 0..levels-1, or floating point in [0, 1] where the data are continuous.
        levels: the number of grey levels, 2..256; None for continuous pixels.
        labels: (N,) int64, or None.
        classes: the name of each label, or () where labels have no names.
        name: what the data are called.
        source: where they come from, and what to cite.
        license: the terms they come with.

    Raises:
        TypeError: if `pixels` is neither uint8 nor floating point, or `labels` is not int64.
        ValueError: if a shape or a value breaks the rules above.
    """

    pixels: Tensor
    levels: int | None = 256
    labels: Tensor | None = None
    classes: tuple[str, ...] = ()
    name: str = "images"
    source: str = ""
    license: str = ""

    def __post_init__(self):
        _check_pixels(self.pixels, self.levels)
        if self.labels is not None:
            _check_labels(self.labels, len(self.pixels), len(self.classes))

    def __len__(self) -> int:
        """N."""
        return len(self.pixels)

    def __getitem__(self, indices: Tensor) -> Tensor:
        """The pixels at `indices` (B,) int64: (B, C, H, W), still in their own dtype."""
        return self.pixels[indices]

    def __repr__(self) -> str:
        shape = "x".join(map(str, self.pixels.shape[1:]))
        depth = "continuous" if self.levels is None else f"{self.levels} levels"
        return f"<Images {self.name!r}: {len(self)} of {shape}, {depth}>"

    def select(self, indices: Tensor) -> "Images":
        """The pictures at `indices` (M,) int64, with their labels."""
        labels = None if self.labels is None else self.labels[indices]
        return replace(self, pixels=self.pixels[indices], labels=labels)


def split(images: Images, held_out: int | float, seed: int = 0) -> tuple[Images, Images]:
    """Set pictures aside for validation: (train, held out), disjoint, together everything, each in the original order.

    Which ones depends on `seed`, the number of pictures and `held_out` alone.

    Args:
        images: what to split.
        held_out: how many to hold out (an int), or which fraction (a float in (0, 1), rounded to a whole number of
            pictures).
        seed: another seed, another choice.

    Raises:
        TypeError: if `held_out` is neither int nor float.
        ValueError: unless both parts have at least one picture.
    """
    count = _count(held_out, len(images))
    generator = torch.Generator().manual_seed(seed)
    order = uniform(torch.empty(len(images), dtype=torch.float64), generator=generator).argsort(stable=True)
    return images.select(order[count:].sort().values), images.select(order[:count].sort().values)


def _count(held_out: int | float, total: int) -> int:
    if isinstance(held_out, bool) or not isinstance(held_out, int | float):
        raise TypeError(
            f"split(held_out={held_out!r}): expected a number of pictures or a fraction, got {type(held_out).__name__}"
        )
    if isinstance(held_out, float) and not 0 < held_out < 1:
        raise ValueError(f"split(held_out={held_out}): a fraction lies in (0, 1); for a number of pictures give an int")
    count = held_out if isinstance(held_out, int) else round(held_out * total)
    if not 1 <= count < total:
        raise ValueError(
            f"split(held_out={held_out}): that holds out {count} of {total} pictures; both parts need at least one"
        )
    return count


def _check_pixels(pixels: Tensor, levels: int | None) -> None:
    if pixels.ndim != 4 or pixels.numel() == 0:
        raise ValueError(f"Images: pixels have the shape (N, C, H, W), none of them 0; got {tuple(pixels.shape)}")
    low, high = (value.item() for value in pixels.aminmax())
    if pixels.dtype == torch.uint8:
        if levels is None or not 2 <= levels <= 256:
            raise ValueError(f"Images(levels={levels}): uint8 pixels need a number of grey levels in 2..256")
        if high >= levels:
            raise ValueError(f"Images(levels={levels}): pixels lie in 0..{levels - 1}; the largest is {high}")
    elif pixels.is_floating_point():
        if levels is not None:
            raise ValueError(
                f"Images(levels={levels}): floating point pixels are continuous, levels=None; from_array counts levels"
            )
        if not (low >= 0 and high <= 1):  # NaN fails it too: aminmax propagates it
            raise ValueError(f"Images: continuous pixels lie in [0, 1]; got values from {low} to {high}")
    else:
        raise TypeError(f"Images: pixels are uint8 or floating point; got {pixels.dtype}")


def _check_labels(labels: Tensor, count: int, num_classes: int) -> None:
    if labels.dtype != torch.int64:
        raise TypeError(f"Images: labels are int64; got {labels.dtype}")
    if labels.shape != (count,):
        raise ValueError(f"Images: {count} pictures need labels of shape ({count},); got {tuple(labels.shape)}")
    low, high = int(labels.min()), int(labels.max())
    if low < 0 or (num_classes and high >= num_classes):
        raise ValueError(
            f"Images: labels lie in 0..{num_classes - 1 if num_classes else '...'}; got values from {low} to {high}"
        )
