"""MNIST and its relatives in the IDX layout.

An IDX file is: two zero bytes, a type byte (8 = unsigned bytes), the number of axes; each axis' length as a big-endian
32-bit integer; then the bytes in row-major order. Pictures have three axes (N, H, W), labels one. Files may be
gzip-compressed, whatever their name.
"""

import math
import struct
from pathlib import Path

import torch
from torch import Tensor

from scorekit.data.errors import mismatch
from scorekit.data.files import open_plain, reading, require_file, require_folder, require_split
from scorekit.data.images import Images

PREFIXES = {"train": "train", "test": "t10k"}
UNSIGNED_BYTES_MAGIC = bytes((0, 0, 8))  # the fourth byte is the number of axes
_MAX_BYTES = 2**30  # MNIST's training pictures are 47 MB, EMNIST's largest set 550 MB
_KINDS = {1: "labels", 3: "pictures"}


def read_idx(path: str | Path, num_axes: int) -> Tensor:
    """One IDX file of unsigned bytes, gzip or not: uint8, with `num_axes` axes.

    Raises:
        DataError: if the file is missing, is no such IDX file, or has fewer or more bytes than its header declares.
    """
    path = require_file(path)
    magic = UNSIGNED_BYTES_MAGIC + bytes((num_axes,))
    with reading(path, "an IDX file"), open_plain(path) as stream:
        header = stream.read(4 + 4 * num_axes)
        if header[:4] != magic:
            kind = _KINDS.get(num_axes, f"{num_axes} axes")
            raise mismatch(
                path, f"the magic number {magic.hex()} of an IDX file of {kind}", header[:4].hex() or "an empty file"
            )
        if len(header) < 4 + 4 * num_axes:
            raise mismatch(path, f"a header of {4 + 4 * num_axes} bytes", f"{len(header)} bytes: the file is truncated")
        shape = struct.unpack(f">{num_axes}I", header[4:])
        size = math.prod(shape)
        if not 0 < size <= _MAX_BYTES:
            raise mismatch(path, f"1 to {_MAX_BYTES} bytes of data", f"a header that declares {shape}")
        data = stream.read(size + 1)
    if len(data) != size:
        found = f"{len(data)} bytes: the file is truncated" if len(data) < size else "more"
        raise mismatch(path, f"{size} bytes of data, as its header {shape} declares", found)
    return torch.frombuffer(bytearray(data), dtype=torch.uint8).reshape(shape)


def read_idx_images(path: str | Path) -> Images:
    """The pictures of a single IDX file, without labels.

    Raises:
        DataError: as `read_idx`.
    """
    return Images(read_idx(path, 3).unsqueeze(1), name=Path(path).name, source="an IDX file")


def read_mnist(path: str | Path, split: str = "train") -> Images:
    """MNIST from a folder of IDX files.

    A data set in its layout (Fashion-MNIST, KMNIST) is read alike; `dataclasses.replace` gives it its own name.

    Args:
        path: the folder with `train-images-idx3-ubyte`, `train-labels-idx1-ubyte` and the same with `t10k`, each with
            or without `.gz`.
        split: "train" or "test".

    Raises:
        DataError: if a file is missing or damaged, or pictures and labels differ in number.
        ValueError: for another split.
    """
    require_split(split, tuple(PREFIXES), "MNIST")
    folder = require_folder(path)
    image_file, label_file = (find_idx(folder, split, what) for what in ("images-idx3-ubyte", "labels-idx1-ubyte"))
    pixels, labels = read_idx(image_file, 3), read_idx(label_file, 1)
    if len(pixels) != len(labels):
        raise mismatch(label_file, f"{len(pixels)} labels, one for each picture of {image_file.name}", f"{len(labels)}")
    return Images(
        pixels.unsqueeze(1),
        labels=labels.long(),
        name=f"mnist-{split}",
        source="MNIST, Y. LeCun, C. Cortes, C. J. C. Burges",
        license="CC BY-SA 3.0, as given by its distributors",
    )


def find_idx(folder: Path, split: str, what: str) -> Path:
    """The file `PREFIX-what` of `split`, with or without `.gz`, or a DataError that names both."""
    name = f"{PREFIXES[split]}-{what}"
    for candidate in (folder / name, folder / f"{name}.gz"):
        if candidate.is_file():
            return candidate
    raise mismatch(folder, f"{name} or {name}.gz", "neither")
