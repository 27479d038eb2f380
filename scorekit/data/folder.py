"""Any folder of pictures, read into memory.

Files are taken recursively in sorted order by extension; other files and hidden ones are no pictures and are passed
over. A picture that lies in a subfolder is of the class that its first folder names; there are labels if every picture
lies in one.
"""

import os
from pathlib import Path

import torch
from torch import Tensor

from scorekit.data.errors import mismatch
from scorekit.data.files import require_folder
from scorekit.data.images import Images
from scorekit.data.pillow import EXTENSIONS, centre_crop, channels, decoded, opened, resize, to_pixels


def read_image_folder(path: str | Path, size: int | None = None) -> Images:
    """A folder of PNG, JPEG, BMP or WebP files.

    Grey folders give one channel; where some pictures are coloured, grey ones become three equal channels.

    Args:
        path: the folder; subfolders are classes.
        size: None if all pictures have one size already; else each is cropped to its middle square and resized to
            `size` x `size`.

    Raises:
        DataError: if the folder is missing or holds no picture, if a file is damaged, transparent or not 8-bit, or if
            sizes differ while `size` is None (the first two files that differ are named).
        ValueError: if `size` is below 1.
    """
    if size is not None and size < 1:
        raise ValueError(f"read_image_folder(size={size}): the size is at least 1 pixel")
    root = require_folder(path)
    files = picture_files(root)
    if not files:
        raise mismatch(root, f"at least one picture ({', '.join(EXTENSIONS)})", "none")
    num_channels, (width, height) = _survey(files, size)
    pixels = torch.empty(len(files), num_channels, height, width, dtype=torch.uint8)
    for target, file in zip(pixels, files, strict=True):
        target.copy_(_decode(file, size, num_channels))
    labels, classes = _labels(root, files)
    return Images(pixels, labels=labels, classes=classes, name=root.name, source="a folder of pictures")


def picture_files(root: Path) -> list[Path]:
    """Every picture file below `root`, sorted by path; links to folders are not followed."""
    found = []
    for folder, subfolders, names in os.walk(root):
        subfolders[:] = [name for name in subfolders if not name.startswith(".")]
        found += [
            Path(folder, name) for name in names if not name.startswith(".") and name.lower().endswith(EXTENSIONS)
        ]
    return sorted(found)


def _survey(files: list[Path], size: int | None) -> tuple[int, tuple[int, int]]:
    """Channels and size of all pictures, from their headers: a mixed folder is refused before anything is decoded."""
    num_channels, first = 1, (0, 0)
    for file in files:
        with opened(file) as image:
            num_channels = max(num_channels, channels(image))
            first = image.size if file is files[0] else first
            if size is None and image.size != first:
                raise mismatch(
                    file,
                    f"{first[0]} x {first[1]} pixels (width x height), as {files[0]} has",
                    f"{image.width} x {image.height}; give size= to crop and resize them all",
                )
    return num_channels, first if size is None else (size, size)


def _decode(file: Path, size: int | None, num_channels: int) -> Tensor:
    with opened(file) as image:
        picture = decoded(file, image, num_channels)
        if size is not None:
            side = min(picture.size)
            picture = resize(centre_crop(picture, side, side), size)
        return to_pixels(picture)


def _labels(root: Path, files: list[Path]) -> tuple[Tensor | None, tuple[str, ...]]:
    folders = [file.relative_to(root).parts[:-1] for file in files]
    if not all(folders):
        return None, ()
    classes = sorted({parts[0] for parts in folders})
    return torch.tensor([classes.index(parts[0]) for parts in folders]), tuple(classes)
