"""CelebA's folder: aligned faces of 178 x 218 pixels and a split file.

`list_eval_partition.txt` has a line "000001.jpg 0" for each picture, 0 for training (162,770 pictures), 1 for
validation (19,867), 2 for test (19,962). NCSN takes the middle 140 x 140 pixels and shrinks them to 32 x 32 with
Pillow's bilinear filter.
"""

from pathlib import Path

import torch

from scorekit.data.errors import mismatch
from scorekit.data.files import require_file, require_folder, require_split
from scorekit.data.images import Images
from scorekit.data.pillow import centre_crop, decoded, opened, resize, to_pixels

SPLIT_FILE = "list_eval_partition.txt"
FOLDER = "img_align_celeba"
_PARTITIONS = {"train": "0", "valid": "1", "test": "2"}


def read_celeba(path: str | Path, split: str = "train", size: int = 32, crop: int = 140) -> Images:
    """CelebA, cropped and shrunk; the training set at 32 x 32 takes 500 MB.

    Args:
        path: the folder with `list_eval_partition.txt` and `img_align_celeba/` (the pictures may also lie beside the
            split file).
        split: "train", "valid" or "test".
        size: height and width of the result.
        crop: side of the middle square that is kept.

    Raises:
        DataError: if the split file is missing, malformed, names no picture of the split or names a path; or if a
            picture is missing, damaged or smaller than `crop`.
        ValueError: for another split, or `size` or `crop` below 1.
    """
    require_split(split, tuple(_PARTITIONS), "CelebA")
    if size < 1 or crop < 1:
        raise ValueError(f"read_celeba(size={size}, crop={crop}): both are at least 1 pixel")
    root = require_folder(path)
    names = _names(require_file(root / SPLIT_FILE), split)
    folder = root / FOLDER if (root / FOLDER).is_dir() else root
    pixels = torch.empty(len(names), 3, size, size, dtype=torch.uint8)
    for target, name in zip(pixels, names, strict=True):
        target.copy_(_face(require_file(folder / name), size, crop))
    return Images(
        pixels,
        name=f"celeba-{split}",
        source="CelebA, Z. Liu, P. Luo, X. Wang, X. Tang, Deep learning face attributes in the wild, 2015",
        license="non-commercial research only",
    )


def _names(split_file: Path, split: str) -> list[str]:
    names = []
    for number, line in enumerate(split_file.read_text(encoding="utf-8", errors="replace").splitlines(), start=1):
        fields = line.split()
        if len(fields) != 2 or fields[1] not in _PARTITIONS.values():
            raise mismatch(f"{split_file}, line {number}", "a file name and 0, 1 or 2", repr(line))
        if "/" in fields[0] or "\\" in fields[0] or fields[0] == "..":
            raise mismatch(f"{split_file}, line {number}", "a file name without folders", repr(fields[0]))
        if fields[1] == _PARTITIONS[split]:
            names.append(fields[0])
    if not names:
        raise mismatch(split_file, f"at least one picture of the split {split!r}", "none")
    return names


def _face(file: Path, size: int, crop: int) -> torch.Tensor:
    with opened(file) as image:
        if min(image.size) < crop:
            raise mismatch(file, f"at least {crop} x {crop} pixels", f"{image.width} x {image.height}")
        return to_pixels(resize(centre_crop(decoded(file, image, 3), crop, crop), size))
