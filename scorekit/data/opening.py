"""Data by name or path: what `--data` of the command line means.

A path is recognised by what lies there, in the order of `LAYOUTS`.
"""

from collections.abc import Callable
from dataclasses import dataclass
from difflib import get_close_matches
from functools import partial
from pathlib import Path
from typing import final

from scorekit.data import celeba, cifar, mnist
from scorekit.data.embedded import digits
from scorekit.data.errors import DataError, mismatch
from scorekit.data.files import open_plain, reading
from scorekit.data.folder import picture_files, read_image_folder
from scorekit.data.images import Images
from scorekit.data.remote import REMOTES, cached
from scorekit.data.remote import download as fetch_all

NAMES = ("embedded", *REMOTES)


@final
@dataclass(frozen=True)
class Layout:
    """A layout on disk: how it is called, how it is recognised, who reads it.

    Args:
        description: for messages.
        matches: whether a path (which exists) has this layout.
        read: (path, split, size) -> the pictures.
    """

    description: str
    matches: Callable[[Path], bool]
    read: Callable[[Path, str, int | None], Images]


def open_images(
    spec: str | Path,
    split: str = "train",
    *,
    size: int | None = None,
    download: bool = True,
    cache_dir: str | Path | None = None,
    base_url: str | None = None,
    progress: bool = True,
) -> Images:
    """Pictures by name or path.

    Args:
        spec: "embedded" (the digits), "cifar10" or "mnist" (downloaded once); or a path: CIFAR-10's binary folder or
            `.tar.gz`, MNIST's folder of IDX files or one IDX file, CelebA's folder, or any folder of pictures, perhaps
            with `train` and `test` in it. A folder that is called like a name is given as "./cifar10".
        split: "train" or "test" (CelebA has "valid" too); data without splits have only "train", which is all of them.
        size: height and width, for CelebA (32 if None) and folders of pictures (None: as they are); other data have one
            size.
        download: whether a name may be downloaded; False takes an earlier download from the cache.
        cache_dir: where downloads are kept; None for the user's cache folder.
        base_url: a mirror to download from instead of the public ones.
        progress: show a progress bar while downloading.

    Raises:
        DataError: if the path does not exist or nothing is recognised there (with what was looked for), or as the
            readers do.
        ValueError: for a split or a size that the data do not have.
    """
    if spec in NAMES:
        _refuse(size)
    if spec == "embedded":
        return digits(split)
    if spec in REMOTES:
        name = str(spec)
        fetch = partial(fetch_all, base_url=base_url, progress=progress) if download else cached
        folder = fetch(name, cache_dir=cache_dir)
        return mnist.read_mnist(folder, split) if name == "mnist" else cifar.read_cifar10(folder / cifar.ARCHIVE, split)
    path = Path(spec)
    if not path.exists():
        raise _not_found(str(spec))
    for layout in LAYOUTS:
        if layout.matches(path):
            return layout.read(path, split, size)
    looked_for = "; ".join(layout.description for layout in LAYOUTS)
    raise mismatch(path, f"one of: {looked_for}", "none of them")


def _not_found(spec: str) -> DataError:
    close = get_close_matches(spec, NAMES, n=1)
    hint = f" (did you mean {close[0]!r}?)" if close else ""
    return mismatch(repr(spec), f"one of the names {', '.join(NAMES)}, or a path that exists", f"neither{hint}")


def _refuse(size: int | None) -> None:
    if size is not None:
        raise ValueError(f"size={size}: these pictures have one size; size= is for CelebA and for folders of pictures")


def _is_cifar_archive(path: Path) -> bool:
    return path.is_file() and path.name.lower().endswith((".tar.gz", ".tgz", ".tar"))


def _is_cifar_folder(path: Path) -> bool:
    names = (cifar.FOLDER, *cifar.FILES["train"], *cifar.FILES["test"])
    return path.is_dir() and any((path / name).exists() for name in names)


def _is_idx_file(path: Path) -> bool:
    if not path.is_file():
        return False
    with reading(path, "an IDX file"), open_plain(path) as stream:
        return stream.read(3) == mnist.UNSIGNED_BYTES_MAGIC


def _is_mnist_folder(path: Path) -> bool:
    return path.is_dir() and any(path.glob("*-images-idx3-ubyte*"))


def _read_cifar(path: Path, split: str, size: int | None) -> Images:
    _refuse(size)
    return cifar.read_cifar10(path, split)


def _read_mnist(path: Path, split: str, size: int | None) -> Images:
    _refuse(size)
    return mnist.read_mnist(path, split)


def _read_idx(path: Path, split: str, size: int | None) -> Images:
    _refuse(size)
    _require_whole(path, split)
    return mnist.read_idx_images(path)


def _read_celeba(path: Path, split: str, size: int | None) -> Images:
    return celeba.read_celeba(path, split, size=32 if size is None else size)


def _read_folder(path: Path, split: str, size: int | None) -> Images:
    if (path / split).is_dir():
        return read_image_folder(path / split, size)
    _require_whole(path, split)
    return read_image_folder(path, size)


def _require_whole(path: Path, split: str) -> None:
    if split != "train":
        raise ValueError(f"split={split!r}: {path} has only 'train', all of it; scorekit.data.split sets some aside")


LAYOUTS = (
    Layout("CIFAR-10's cifar-10-binary.tar.gz", _is_cifar_archive, _read_cifar),
    Layout(f"CIFAR-10's data_batch_*.bin or a folder {cifar.FOLDER}", _is_cifar_folder, _read_cifar),
    Layout("an IDX file of pictures, gzip or not", _is_idx_file, _read_idx),
    Layout("MNIST's train-images-idx3-ubyte or t10k-images-idx3-ubyte, or .gz", _is_mnist_folder, _read_mnist),
    Layout(f"CelebA's {celeba.SPLIT_FILE}", lambda path: (path / celeba.SPLIT_FILE).is_file(), _read_celeba),
    Layout("a folder of PNG, JPEG, BMP or WebP files", lambda path: bool(picture_files(path)), _read_folder),
)
