"""Miniature files in the official layouts, as bytes and on disk."""

import gzip
import io
import struct
import tarfile
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from scorekit.data.cifar import FILES


def tree(root: Path) -> dict[str, bytes]:
    """Every file below `root` with its contents: what a reader must leave as it is."""
    return {str(p.relative_to(root)): p.read_bytes() for p in sorted(root.rglob("*")) if p.is_file()}


def random_bytes(shape: tuple[int, ...], generator: torch.Generator, high: int = 256) -> Tensor:
    return torch.randint(high, shape, generator=generator, dtype=torch.uint8)


def cifar_files(records: int, generator: torch.Generator) -> dict[str, bytes]:
    """The six files with `records` records each: labels 0..9 in turn, then random planes."""
    contents = {}
    for name in (*FILES["train"], *FILES["test"]):
        labels = torch.arange(records, dtype=torch.uint8).remainder(10).unsqueeze(1)
        contents[name] = torch.cat([labels, random_bytes((records, 3072), generator)], 1).numpy().tobytes()
    return contents


def write_files(folder: Path, contents: dict[str, bytes]) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    for name, content in contents.items():
        (folder / name).write_bytes(content)
    return folder


def tar_bytes(members: list[tuple[tarfile.TarInfo, bytes]], compress: bool = True) -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w:gz" if compress else "w") as archive:
        for info, content in members:
            archive.addfile(info, io.BytesIO(content))
    return buffer.getvalue()


def member(name: str, content: bytes = b"", **fields: object) -> tuple[tarfile.TarInfo, bytes]:
    info = tarfile.TarInfo(name)
    info.size = len(content)
    for field, value in fields.items():
        setattr(info, field, value)
    return info, content


def cifar_members(contents: dict[str, bytes]) -> list[tuple[tarfile.TarInfo, bytes]]:
    folder = member("cifar-10-batches-bin", type=tarfile.DIRTYPE)
    return [folder, *(member(f"cifar-10-batches-bin/{name}", content) for name, content in contents.items())]


def idx_bytes(array: Tensor, kind: int = 8) -> bytes:
    header = bytes((0, 0, kind, array.ndim)) + struct.pack(f">{array.ndim}I", *array.shape)
    return header + array.numpy().tobytes()


def mnist_files(generator: torch.Generator, train: int = 7, test: int = 3, compress: bool = True) -> dict[str, bytes]:
    contents = {}
    for prefix, count in (("train", train), ("t10k", test)):
        contents[f"{prefix}-images-idx3-ubyte"] = idx_bytes(random_bytes((count, 28, 28), generator))
        contents[f"{prefix}-labels-idx1-ubyte"] = idx_bytes(random_bytes((count,), generator, high=10))
    if compress:
        return {f"{name}.gz": gzip.compress(content) for name, content in contents.items()}
    return contents


def write_picture(path: Path, pixels: np.ndarray, **options: object) -> Path:
    """(H, W) or (H, W, C) bytes, in the format of the suffix."""
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(pixels).save(path, **options)
    return path


def random_picture(generator: torch.Generator, *shape: int) -> np.ndarray:
    return random_bytes(shape, generator).numpy()
