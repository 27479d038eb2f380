r"""Has a model learnt its examples by heart? The training images nearest to each sample, as in the NCSN paper's Figs. 9
and 10.

    d(s, t) = min(|f(s) - f(t)|, |f(s) - f(flip t)|)        f the pixels themselves, or features; flip left to right

The search is exact: distances are taken from differences, in double precision, so that a copy is at distance 0, and
every training image is compared. Images stream by; only the best k so far are kept.
"""

from collections.abc import Callable, Iterable
from pathlib import Path
from typing import NamedTuple

import torch
from torch import Tensor

from scorekit.pictures import save_grid

Features = Callable[[Tensor], Tensor]


class Neighbours(NamedTuple):
    """The k training images nearest to each of N samples, the nearest first; of equally near ones the first in the
    data."""

    indices: Tensor  # (N, k) int64: the images' numbers, in the order of the batches
    distances: Tensor  # (N, k) double precision, in units of pixels or of features
    flipped: Tensor  # (N, k) bool: the image's mirror image is the nearer one


def nearest_neighbours(
    samples: Tensor, images: Iterable[Tensor], *, k: int = 9, flips: bool = True, features: Features | None = None
) -> Neighbours:
    """The training images that are nearest to each sample.

    Time is that of N distances for each image, and of another N for its mirror image; memory does not grow with the
    data.

    Args:
        samples: pictures (N, C, H, W), floating point; distances are taken on their device, which has to have double
            precision (Apple's MPS has not: move them to the CPU).
        images: batches (B, C, H, W) of training images, floating point in the samples' units; on any device.
        k: how many.
        flips: compare each image's mirror image, too; the image counts once.
        features: pictures (B, C, H, W) -> what distances are taken between, (B, *F); None takes the pixels.

    Raises:
        ValueError: unless samples and images are finite floating-point pictures of one shape, features give one shape,
            and there are k images at least.
    """
    if not isinstance(k, int) or k < 1:
        raise ValueError(f"nearest_neighbours(k={k}): expected a whole number >= 1")
    places = _rows(_checked(samples, samples, "samples"), features)
    best = Neighbours(*(places.new_empty(len(places), 0, dtype=dtype) for dtype in (torch.int64, None, torch.bool)))
    seen = 0
    for batch in images:
        batch = _checked(batch, samples, "images").to(samples.device)
        best = _better(best, _found(places, batch, seen, flips, features), k)
        seen += len(batch)
    if seen < k:
        raise ValueError(f"nearest_neighbours(k={k}): there are {seen} images, expected k at least")
    return best


def _checked(images: Tensor, samples: Tensor, name: str) -> Tensor:
    if (
        images.ndim != 4
        or not images.is_floating_point()
        or not images.numel()
        or images.shape[1:] != samples.shape[1:]
    ):
        raise ValueError(
            f"{name} of shape {tuple(images.shape)} and type {images.dtype}: expected floating-point pictures "
            f"(B, C, H, W), one at least{'' if images is samples else f', like the samples {tuple(samples.shape)}'}"
        )
    if not images.isfinite().all():
        raise ValueError(f"{(~images.isfinite()).sum().item()} values of {name} are NaN or infinite: expected none")
    return images


def _rows(images: Tensor, features: Features | None) -> Tensor:
    """What distances are taken between, (B, F) in double precision."""
    with torch.no_grad():
        rows = (images if features is None else features(images)).flatten(1).double()
    if len(rows) != len(images) or not rows.isfinite().all():
        raise ValueError(
            f"features of {len(images)} images: {len(rows)} rows, {(~rows.isfinite()).sum().item()} numbers NaN or "
            "infinite; expected a row for each image, all finite"
        )
    return rows


def _found(places: Tensor, batch: Tensor, seen: int, flips: bool, features: Features | None) -> Neighbours:
    """Every image of a batch as a neighbour of every sample: (N, B)."""
    distances = _distances(places, _rows(batch, features))
    flipped = torch.zeros_like(distances, dtype=torch.bool)
    if flips:
        mirrored = _distances(places, _rows(batch.flip(-1), features))
        flipped = mirrored < distances
        distances = torch.where(flipped, mirrored, distances)
    numbers = torch.arange(seen, seen + len(batch), device=places.device)
    return Neighbours(numbers.expand(distances.shape), distances, flipped)


def _distances(places: Tensor, rows: Tensor) -> Tensor:
    """|a - b| from differences, (N, B): by |a|^2 + |b|^2 - 2 a.b a copy would be at 1e-6."""
    return torch.cdist(places, rows, compute_mode="donot_use_mm_for_euclid_dist")


def _better(one: Neighbours, other: Neighbours, k: int) -> Neighbours:
    """The k nearest of both; of equally near ones those of `one`, then in order."""
    both = Neighbours(*(torch.cat(pair, dim=1) for pair in zip(one, other, strict=True)))
    order = both.distances.argsort(dim=1, stable=True)[:, :k]
    return Neighbours(*(field.gather(1, order) for field in both))


def save_neighbours(
    path: str | Path, samples: Tensor, neighbours: Neighbours, images: Tensor, *, scale: int | None = None
) -> None:
    """Write a picture with a row for each sample: the sample, a gap, its nearest training images, as a PNG.

    Args:
        path: the file to write.
        samples: (N, C, H, W) in [0, 1].
        neighbours: theirs.
        images: the training images `neighbours.indices` (N, k, C, H, W), as they are in the data; those whose mirror
            image is nearer are shown mirrored.
        scale: how many times to enlarge; None makes an image about 64 pixels wide.

    Raises:
        ValueError: unless the images are k for each sample, in its shape; from `save_grid`.
    """
    expected = (*neighbours.indices.shape, *samples.shape[1:])
    if images.shape != expected or len(samples) != len(neighbours.indices):
        raise ValueError(
            f"images of shape {tuple(images.shape)} for samples {tuple(samples.shape)} with neighbours "
            f"{tuple(neighbours.indices.shape)}: expected (N, C, H, W), (N, k) and (N, k, C, H, W)"
        )
    mirrored = neighbours.flipped.to(images.device).reshape(*neighbours.flipped.shape, 1, 1, 1)
    shown = torch.where(mirrored, images.flip(-1), images).to(samples)
    own = samples.unsqueeze(1)
    rows = torch.cat((own, torch.ones_like(own), shown), dim=1)  # a white picture is the gap
    save_grid(path, rows.flatten(0, 1), columns=rows.shape[1], scale=scale)
