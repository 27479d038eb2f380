"""Pictures from a tensor or an array that is already in memory."""

import numpy as np
import torch
from torch import Tensor

from scorekit.data.images import Images

_ON_GRID = 0.01  # of one grey level: float16 holds 255 k / 255 to .06 of a level, float32 to 1e-5


def as_tensor(array: Tensor | np.ndarray) -> Tensor:
    """`array` as a tensor, sharing its memory where numpy's layout allows it.

    Raises:
        TypeError: if `array` is neither a Tensor nor an ndarray, or holds something other than numbers.
    """
    if isinstance(array, Tensor):
        return array
    if not isinstance(array, np.ndarray) or array.dtype.kind not in "uif":
        found = f"ndarray of {array.dtype}" if isinstance(array, np.ndarray) else type(array).__name__
        raise TypeError(f"expected a Tensor or an ndarray of integers or floats, got {found}")
    native = np.ascontiguousarray(array, dtype=array.dtype.newbyteorder("="))
    return torch.from_numpy(native if native.flags.writeable else native.copy())


def from_array(
    array: Tensor | np.ndarray,
    levels: int | None = None,
    *,
    labels: Tensor | np.ndarray | None = None,
    name: str = "array",
) -> Images:
    """Images from (N, C, H, W) or (N, H, W) pixels.

    Args:
        array: integers 0..levels-1; or floats in [0, 1], continuous if `levels` is None, else multiples of 1 / (levels
            - 1) (what dividing grey levels by the largest gives), which are turned back into grey levels.
        levels: the number of grey levels; None means 256 for integers and continuous for floats.
        labels: (N,) integers, or None.
        name: what to call the data.

    Raises:
        TypeError: for another type than those.
        ValueError: for values out of range or off the grid, and for channels in the last axis.
    """
    pixels = as_tensor(array)
    if pixels.dtype == torch.bool or pixels.is_complex():
        raise TypeError(f"from_array: expected integers or floats, got {pixels.dtype}")
    pixels = _with_channel(pixels)
    if pixels.is_floating_point():
        pixels = pixels if levels is None else _to_levels(pixels, levels)
    else:
        levels = 256 if levels is None else levels
        pixels = _to_bytes(pixels if pixels.dtype == torch.uint8 else pixels.long(), levels)
    return Images(pixels, levels, labels=None if labels is None else as_tensor(labels).long(), name=name)


def _with_channel(pixels: Tensor) -> Tensor:
    if pixels.ndim == 3:
        return pixels.unsqueeze(1)
    if pixels.ndim == 4 and pixels.shape[1] > 4 and pixels.shape[3] in (1, 3, 4):
        raise ValueError(
            f"from_array: expected (N, C, H, W), got {tuple(pixels.shape)}, which looks like (N, H, W, C): "
            "permute(0, 3, 1, 2) moves the channels forward"
        )
    return pixels


def _to_levels(pixels: Tensor, levels: int) -> Tensor:
    if not 2 <= levels <= 256:
        raise ValueError(f"from_array(levels={levels}): the number of grey levels lies in 2..256")
    scaled = pixels.to(torch.float64) * (levels - 1)
    grey = scaled.round()
    off = float((scaled - grey).abs().max()) if scaled.numel() else 0.0
    if not off <= _ON_GRID:
        raise ValueError(
            f"from_array(levels={levels}): expected multiples of 1/{levels - 1}; the farthest value is {off:.3g} grey "
            "levels off. Continuous pixels take levels=None"
        )
    return _to_bytes(grey, levels)


def _to_bytes(pixels: Tensor, levels: int) -> Tensor:
    if pixels.numel():
        low, high = float(pixels.min()), float(pixels.max())
        if low < 0 or high >= levels:
            raise ValueError(
                f"from_array(levels={levels}): grey levels lie in 0..{levels - 1}; got {low:g} to {high:g}"
            )
    return pixels.to(torch.uint8)
