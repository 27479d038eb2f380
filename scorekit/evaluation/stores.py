"""Where generated samples lie: a folder of PNG files, or one array file.

A chunk is written whole or not at all: each file gets its name, atomically, when it is complete. So what is there under
a good name is good, and generating goes on after a kill with the chunks that are missing.
"""

import os
from abc import ABC, abstractmethod
from collections.abc import Callable
from pathlib import Path
from typing import BinaryIO, Literal, TypeAlias, final

import numpy as np
import torch
from einops import rearrange
from torch import Tensor

from scorekit.data import read_image_folder
from scorekit.evaluation.pixels import as_bytes
from scorekit.evaluation.samples import Samples

Format: TypeAlias = Literal["png", "npy", "npy-uint8"]


class Store(ABC):
    """The chunks of one set of samples, in one folder.

    Args:
        folder: the folder.
        samples: how many there are, in which chunks.
    """

    def __init__(self, folder: Path, samples: Samples):
        self.folder, self.samples = folder, samples

    @abstractmethod
    def has(self, number: int) -> bool:
        """Whether chunk `number` is there, whole."""

    @abstractmethod
    def write(self, number: int, images: Tensor) -> None:
        """Write chunk `number`: (B, C, H, W), floating point in [0, 1]."""

    @abstractmethod
    def finish(self) -> None:
        """Called once, when every chunk is there."""


@final
class PngFolder(Store):
    """000000.png, 000001.png, ...: 8 bits, `round(255 x)`; grey pictures have one channel."""

    def has(self, number: int) -> bool:
        """Whether each of its files is there; an empty one is what a power cut can leave."""
        return all(path.is_file() and path.stat().st_size > 0 for path in self._paths(number))

    def write(self, number: int, images: Tensor) -> None:
        """One file after the other."""
        from PIL import Image

        for path, pixels in zip(self._paths(number), as_bytes(images), strict=True):
            array = rearrange(pixels, "c h w -> h w c").numpy()
            picture = Image.fromarray(array[..., 0] if array.shape[-1] == 1 else array)
            _replace(path, lambda file, picture=picture: picture.save(file, format="PNG"))

    def finish(self) -> None:
        """Nothing to do."""

    def _paths(self, number: int) -> list[Path]:
        first, count = self.samples.bounds(number)
        return [self.folder / f"{index:06d}.png" for index in range(first, first + count)]


@final
class ArrayFile(Store):
    """samples.npy (N, C, H, W); until every chunk is there, part-000000.npy, part-000001.npy, ...

    Args:
        folder: the folder.
        samples: how many there are, in which chunks.
        dtype: uint8 for `round(255 x)`, float32 for x itself.
    """

    def __init__(self, folder: Path, samples: Samples, dtype: torch.dtype):
        super().__init__(folder, samples)
        self._dtype = dtype

    def has(self, number: int) -> bool:
        """Whether its part, or the whole, is there."""
        return self._part(number).is_file() or array_path(self.folder).is_file()

    def write(self, number: int, images: Tensor) -> None:
        """Its part."""
        stored = as_bytes(images) if self._dtype == torch.uint8 else images.to(self._dtype)
        _replace(self._part(number), lambda file: np.save(file, stored.numpy()))

    def finish(self) -> None:
        """Put the parts together, through memory of one part."""
        if not array_path(self.folder).is_file():
            self._join()
        for number in range(self.samples.num_chunks):
            self._part(number).unlink(missing_ok=True)

    def _join(self) -> None:
        scratch = self.folder / f"{array_path(self.folder).name}.tmp"
        shape = (self.samples.num_samples, *self.samples.image_shape)
        dtype = np.uint8 if self._dtype == torch.uint8 else np.float32
        whole = np.lib.format.open_memmap(scratch, mode="w+", dtype=dtype, shape=shape)
        for number in range(self.samples.num_chunks):
            first, count = self.samples.bounds(number)
            whole[first : first + count] = np.load(self._part(number))
        whole.flush()
        del whole
        os.replace(scratch, array_path(self.folder))

    def _part(self, number: int) -> Path:
        return self.folder / f"part-{number:06d}.npy"


def array_path(folder: Path) -> Path:
    """Where a folder keeps its array."""
    return folder / "samples.npy"


def open_store(folder: Path, samples: Samples, format: Format) -> Store:
    """The store of a format.

    Raises:
        ValueError: for an unknown one.
    """
    if format == "png":
        return PngFolder(folder, samples)
    if format in ("npy", "npy-uint8"):
        return ArrayFile(folder, samples, torch.float32 if format == "npy" else torch.uint8)
    raise ValueError(f"format = {format!r}: expected 'png', 'npy' (float32) or 'npy-uint8'")


def read_stored(folder: Path, format: str) -> Tensor:
    """The pictures of a finished store (N, C, H, W), uint8 or float32; an array is mapped, not read."""
    return read_image_folder(folder).pixels if format == "png" else map_array(array_path(folder))


def map_array(path: Path) -> Tensor:
    """An array file as a tensor, mapped into memory.

    Raises:
        ValueError: if it is no array file, or one of objects, whose pickle is not run.
    """
    try:
        array = np.load(path, mmap_mode="c", allow_pickle=False)  # copy on write: torch takes no read-only memory
    except (OSError, ValueError) as error:
        raise ValueError(f"{path}: expected an array of pictures (.npy); {error}") from error
    return torch.from_numpy(array)


def _replace(path: Path, write: Callable[[BinaryIO], object]) -> None:
    scratch = path.with_name(f"{path.name}.tmp")  # no reader of pictures or arrays takes it for one
    with open(scratch, "wb") as file:
        write(file)
        file.flush()
    os.replace(scratch, path)
