"""Decoding one picture file with Pillow: strict about what it is, and never half decoded.

Only PNG, JPEG, BMP and WebP are opened. Grey (1, L) and colour (RGB, P) pictures with 8 bits a channel are taken, an
alpha channel only if it is opaque everywhere; 16-bit grey, CMYK and the like are refused, since converting them changes
the picture (Pillow clips 16 bits at 255). Pixels are taken as stored: an EXIF rotation is not applied.
"""

from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch
from einops import rearrange
from torch import Tensor

from scorekit.data.errors import mismatch

if TYPE_CHECKING:
    from PIL.Image import Image

EXTENSIONS = (".png", ".jpg", ".jpeg", ".bmp", ".webp")
_FORMATS = ("PNG", "JPEG", "BMP", "WEBP")
_GREY = ("1", "L", "LA")
_COLOUR = ("RGB", "RGBA", "P")


@contextmanager
def opened(path: Path) -> Generator["Image", None, None]:
    """The picture at `path`, its header checked; what Pillow raises inside becomes a DataError that names the file."""
    from PIL import Image, UnidentifiedImageError

    try:
        with Image.open(path, formats=_FORMATS) as image:
            if image.mode not in _GREY + _COLOUR:
                raise mismatch(path, "8-bit grey or RGB", f"mode {image.mode}; convert the file first")
            if _is_animation(image):
                raise mismatch(path, "one picture", "an animation")
            yield image
    except UnidentifiedImageError as error:
        raise mismatch(path, f"a picture ({', '.join(_FORMATS)})", "something else, or a damaged header") from error
    except (OSError, SyntaxError, Image.DecompressionBombError) as error:  # what Pillow raises for broken files
        raise mismatch(path, "an undamaged picture", str(error)) from error


def _is_animation(image: "Image") -> bool:
    try:
        image.seek(1)
    except EOFError:
        return False
    return True


def channels(image: "Image") -> int:
    """1 for a grey picture, 3 for a coloured one."""
    return 1 if image.mode in _GREY else 3


def decoded(path: Path, image: "Image", num_channels: int) -> "Image":
    """The picture in mode L (1 channel) or RGB (3); grey becomes three equal channels where 3 are asked for.

    Raises:
        DataError: if the picture is transparent anywhere.
    """
    if image.has_transparency_data:
        low, _ = image.convert("RGBA").getchannel("A").getextrema()
        if low != 255:
            raise mismatch(path, "an opaque picture", f"alpha down to {low}; put it on a background first")
    return image.convert("L" if num_channels == 1 else "RGB")


def to_pixels(image: "Image") -> Tensor:
    """A picture in mode L or RGB as (C, H, W) uint8."""
    pixels = torch.from_numpy(np.array(image))
    return rearrange(pixels, "h w -> 1 h w") if pixels.ndim == 2 else rearrange(pixels, "h w c -> c h w")


def centre_crop(image: "Image", width: int, height: int) -> "Image":
    """The middle `width` x `height`; an odd margin is halved by Python's `round` (to even), as torchvision does."""
    left, top = round((image.width - width) / 2), round((image.height - height) / 2)
    return image.crop((left, top, left + width, top + height))


def resize(image: "Image", size: int) -> "Image":
    """The picture at `size` x `size`, Pillow's bilinear filter (which averages when it shrinks)."""
    from PIL.Image import Resampling

    return image.resize((size, size), Resampling.BILINEAR)
