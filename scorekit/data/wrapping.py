"""Whatever holds examples, as a source for training."""

from collections.abc import Mapping
from typing import Literal, TypeAlias

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import DataLoader

from scorekit.data.arrays import as_tensor
from scorekit.data.images import Images
from scorekit.data.sources import Examples, Indexed, Mapped, Source
from scorekit.data.stream import Stream
from scorekit.data.transforms import Compose, Dequantize, Transform

Data = Source | Images | Tensor | np.ndarray | Examples | DataLoader
Condition: TypeAlias = Tensor | np.ndarray | Literal["labels"] | None


def as_source(data: Data, transform: Transform | None = None, *, condition: Condition = None) -> Source:
    """Whatever holds examples, as a source for training.

    - `Images`: transformed by `Dequantize` of their levels unless a transform is given; continuous ones are taken as
      they are.
    - a tensor or array (N, *E), a map-style data set, a DataLoader: as they are, unless a transform is given. Other
      iterables of batches are wrapped by `Stream` explicitly.
    - a `Source`: itself.

    Args:
        data: one of those.
        transform: what each batch passes through.
        condition: what each example is conditioned on, a row for each in their order: labels (N,) int64 numbered from
            0, or floating-point vectors (N, D); "labels" for those that `Images` come with; None for unconditional
            data. It needs random access: a DataLoader has none.

    Raises:
        TypeError: for other data, for a transform or a condition on top of a `Source`, for conditions of a DataLoader
            or of another type, or if batches would not be floating point.
        ValueError: for empty or non-finite data or conditions, if there is not one condition for each example, or if
            the transform does not fit the pictures' grey levels.
    """
    if isinstance(data, Source):
        if transform is not None:
            raise TypeError(
                f"as_source: this {type(data).__name__} has a transform already, {data.transform}; got {transform} too"
            )
        if condition is not None:
            raise TypeError(
                f"as_source: this {type(data).__name__} is a source already, with {data.condition_kind}; got a "
                "condition too: give it where the source is made"
            )
        return data
    if isinstance(data, Images):
        return _image_source(data, transform, _table(data, condition))
    given = Compose() if transform is None else transform
    if isinstance(data, Tensor | np.ndarray):
        return _tensor_source(as_tensor(data), given, _table(data, condition))
    if isinstance(data, DataLoader):
        if condition is not None:
            raise TypeError(
                "as_source: a condition belongs to an example by its number, and a DataLoader's examples only come in "
                "order; give the data set itself with its conditions, for random access"
            )
        return Stream(data, given)
    if isinstance(data, Examples) and not isinstance(data, str | bytes | tuple | Mapping):
        if len(data) == 0:
            raise ValueError(f"as_source: {data!r} is empty; expected at least one example")
        return Mapped(data, given, _table(data, condition))
    raise TypeError(
        "as_source: expected Images, a tensor or array (N, *E), a data set with __getitem__ and __len__, a DataLoader "
        f"or a Source; got {type(data).__name__}. Stream(iterable) takes any iterable of batches"
    )


def _table(data: object, condition: Condition) -> Tensor | None:
    """The conditions that were given or named, as a tensor; their form is checked where they meet the examples."""
    if condition is None:
        return None
    if isinstance(condition, str):
        if condition != "labels" or not isinstance(data, Images):
            raise TypeError(
                f"as_source(condition={condition!r}) of {type(data).__name__}: expected labels (N,) int64, vectors (N, "
                "D), or 'labels' with Images"
            )
        if data.labels is None:
            raise ValueError(f"as_source(condition='labels'): {data} come without labels")
        return data.labels
    try:
        return as_tensor(condition)
    except TypeError as error:
        raise TypeError(f"as_source(condition=...): {error}") from error


def _image_source(images: Images, transform: Transform | None, condition: Tensor | None) -> Source:
    if transform is None:
        transform = Compose() if images.levels is None else Dequantize(images.levels)
    source = Indexed(images.pixels, transform, condition)
    _check_black_and_white(images, transform)
    return source


def _check_black_and_white(images: Images, transform: Transform) -> None:
    """Black must come back black and white white, to one grey level: Dequantize(256) makes grey of 17 levels' white."""
    levels = images.levels or 256
    top = 1 if images.levels is None else levels - 1
    black = torch.zeros_like(images.pixels[:1])
    generator = torch.Generator(black.device).manual_seed(0)
    pair = Indexed(torch.cat([black, black + top]), transform)
    back = transform.inverse(pair.batch(torch.arange(2, device=black.device), generator=generator))
    low, high = float(back[0].min()), float(back[1].max())
    tolerance = 1 / levels + 1e-3
    if not (abs(low) <= tolerance and abs(high - 1) <= tolerance):
        raise ValueError(
            f"{transform} does not fit {images}: there and back, black becomes {low:.3g} and white {high:.3g}, "
            "not 0 and 1"
        )


def _tensor_source(examples: Tensor, transform: Transform, condition: Tensor | None) -> Source:
    if examples.ndim < 2 or examples.numel() == 0:
        raise ValueError(
            f"as_source: expected at least one example of at least one number, (N, *E); got {tuple(examples.shape)}"
        )
    if examples.is_floating_point() and not examples.isfinite().all():
        row = int((~examples.isfinite()).flatten(1).any(1).nonzero()[0])
        raise ValueError(
            f"as_source: expected finite numbers; example {row} of {len(examples)} holds a NaN or an infinity"
        )
    source = Indexed(examples, transform, condition)
    first = torch.zeros(1, dtype=torch.int64, device=examples.device)
    source.batch(first, generator=torch.Generator(examples.device).manual_seed(0))
    return source
