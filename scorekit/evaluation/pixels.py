"""The one rounding rule of pictures: x in [0, 1] becomes the nearest of 256 grey levels, `round(255 x)`, halves to
even, values outside clipped first.

Samples are rounded so before they are judged, wherever they lie, so that one set of samples has one FID: in memory, as
PNG files, or in an array. Real pictures of 256 levels come through unchanged.
"""

import torch
from torch import Tensor

from scorekit.data import Images


def as_bytes(images: Tensor) -> Tensor:
    """Pictures in [0, 1] as uint8; values outside are clipped."""
    return (images.clamp(0, 1) * 255).round().to(torch.uint8)


def as_unit(images: Tensor) -> Tensor:
    """uint8 pictures as float32 in [0, 1], k / 255."""
    return images.to(torch.float32) / 255


def unit_pixels(images: Images, first: int, count: int) -> Tensor:
    """Pictures number first, ..., first + count - 1 of a data set: float32 in [0, 1], black 0 and white 1, in 256
    levels.
    """
    pixels = images.pixels[first : first + count]
    scaled = pixels.float() if images.levels is None else pixels.float() / (images.levels - 1)
    return as_unit(as_bytes(scaled))
