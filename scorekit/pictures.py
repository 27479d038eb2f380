"""Pictures of image samples: a grid (PNG), completions beside their originals (PNG, the NCSN paper's Fig. 6), chains
from noise to image (PNG, Fig. 4), and an animation (GIF).

Images are (B, C, H, W) with C = 1 or 3 and values in [0, 1]; values outside are clipped, as the paper does for
display. Each image is enlarged by bicubic interpolation before it is placed, so that neighbours do not bleed into
each other.
"""

import math
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch
from einops import rearrange
from torch import Tensor

if TYPE_CHECKING:
    from PIL.Image import Image

_GAP = 2  # pixels between images, white


def save_grid(
    path: str | Path,
    images: Tensor,
    *,
    columns: int | None = None,
    scale: int | None = None,
    reference: Tensor | None = None,
) -> None:
    """Write a grid of images as a PNG, row by row.

    Args:
        path: the file to write.
        images: (B, C, H, W).
        columns: images in a row; None for a square grid.
        scale: how many times to enlarge; None makes an image about 64 pixels wide.
        reference: real images (R, C, H, W) for a row above the samples, set off by a wider gap; the first `columns`
            are shown.
    """
    columns = math.ceil(math.sqrt(len(images))) if columns is None else columns
    rows = [_sheet(images, columns, scale)]
    if reference is not None:
        rows.insert(0, _sheet(reference[:columns], columns, scale))
        rows.insert(1, np.full((4 * _GAP, *rows[0].shape[1:]), 255, dtype=np.uint8))
    _image(np.concatenate(rows)).save(path, format="PNG")


def save_comparison(
    path: str | Path, occluded: Tensor, completions: Tensor, originals: Tensor, *, scale: int | None = None
) -> None:
    """Write one row per image as a PNG: what was known of it, completions, the original, set off by wider gaps (the
    NCSN paper's Fig. 6).

    Args:
        path: the file to write.
        occluded: (R, C, H, W), as it is to be shown.
        completions: (R, K, C, H, W).
        originals: (R, C, H, W).
        scale: how many times to enlarge; None makes an image about 64 pixels wide.

    Raises:
        ValueError: if they are not images of one shape, R of each.
    """
    shape = tuple(_checked(completions, "r k c h w").shape)
    for images in (occluded, originals):
        if tuple(_checked(images, "b c h w").shape) != (shape[0], *shape[2:]):
            raise ValueError(
                f"images of shape {tuple(images.shape)} beside completions of shape {shape}: expected "
                f"{(shape[0], *shape[2:])}, one for each row"
            )
    middle = _sheet(rearrange(completions, "r k c h w -> (r k) c h w"), shape[1], scale)
    gap = np.full((len(middle), 4 * _GAP, 3), 255, dtype=np.uint8)
    sheets = [_sheet(occluded, 1, scale), gap, middle, gap, _sheet(originals, 1, scale)]
    _image(np.concatenate(sheets, axis=1)).save(path, format="PNG")


def save_trajectory(path: str | Path, states: Tensor, *, scale: int | None = None) -> None:
    """Write one row per chain, from noise on the left to image on the right, as a PNG (the NCSN paper's Fig. 4).

    Args:
        path: the file to write.
        states: (T, B, C, H, W), as in `collect(...).x`.
        scale: how many times to enlarge.
    """
    time = len(_checked(states, "t b c h w"))
    _image(_sheet(rearrange(states, "t b c h w -> (b t) c h w"), time, scale)).save(path, format="PNG")


def save_gif(
    path: str | Path,
    states: Tensor,
    *,
    columns: int | None = None,
    scale: int | None = None,
    milliseconds: int = 100,
    hold: int = 1500,
) -> None:
    """Write an animation of a grid of chains as a GIF that repeats.

    Args:
        path: the file to write.
        states: (T, B, C, H, W), one frame per time. About 20 frames under 300 pixels keep the file in bounds.
        columns: images in a row; None for a square grid.
        scale: how many times to enlarge; None makes an image about 64 pixels wide.
        milliseconds: the duration of a frame.
        hold: the duration of the last frame.
    """
    chains = _checked(states, "t b c h w").shape[1]
    columns = math.ceil(math.sqrt(chains)) if columns is None else columns
    frames = [_image(_sheet(frame, columns, scale)) for frame in states]
    durations = [milliseconds] * (len(frames) - 1) + [hold]
    frames[0].save(path, format="GIF", save_all=True, append_images=frames[1:], duration=durations, loop=0)


def _sheet(images: Tensor, columns: int, scale: int | None) -> np.ndarray:
    """Images (B, C, H, W) on a white sheet with gaps, (height, width, 3)."""
    from PIL.Image import Resampling

    height, width = _checked(images, "b c h w").shape[-2:]
    scale = max(1, round(64 / width)) if scale is None else scale
    if not (isinstance(scale, int) and isinstance(columns, int) and scale >= 1 and columns >= 1):
        raise ValueError(f"scale = {scale}, columns = {columns}: expected whole numbers >= 1")
    size = (width * scale, height * scale)
    tiles = [np.asarray(_image(tile).resize(size, Resampling.BICUBIC)) for tile in _pixels(images)]
    blank = np.full_like(tiles[0], 255)
    tiles += [blank] * (-len(tiles) % columns)
    padded = [np.pad(tile, ((0, _GAP), (0, _GAP), (0, 0)), constant_values=255) for tile in tiles]
    sheet = rearrange(np.stack(padded), "(row column) h w c -> (row h) (column w) c", column=columns)
    return np.pad(sheet, ((_GAP, 0), (_GAP, 0), (0, 0)), constant_values=255)


def _pixels(images: Tensor) -> np.ndarray:
    """uint8 RGB (B, H, W, 3)."""
    grey_levels = (images.detach().float().clamp(0, 1) * 255).round().to(torch.uint8).cpu()
    return rearrange(grey_levels.expand(-1, 3, -1, -1), "b c h w -> b h w c").numpy()


def _checked(images: Tensor, axes: str) -> Tensor:
    names = axes.split()
    if not images.is_floating_point():
        raise ValueError(f"images of type {images.dtype}: expected floating point in [0, 1]")
    if images.ndim != len(names) or images.shape[-3] not in (1, 3) or 0 in images.shape:
        raise ValueError(
            f"images of shape {tuple(images.shape)}: expected ({', '.join(names)}) with c = 1 or 3, none of them empty"
        )
    if not images.isfinite().all():
        raise ValueError(
            f"{(~images.isfinite()).sum().item()} of {images.numel()} pixels are NaN or infinite: nothing to show"
        )
    return images


def _image(pixels: np.ndarray) -> "Image":
    from PIL import Image

    return Image.fromarray(pixels)
