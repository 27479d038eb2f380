"""Opening files: plain or gzip by their first bytes, and one error for whatever is wrong with them."""

import gzip
import tarfile
import zlib
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, cast

from scorekit.data.errors import mismatch

_GZIP_MAGIC = b"\x1f\x8b"


def require_file(path: str | Path) -> Path:
    """`path` as a Path, or a DataError if no file is there."""
    path = Path(path)
    if not path.is_file():
        raise mismatch(path, "a file", "a folder" if path.is_dir() else "nothing there")
    return path


def require_folder(path: str | Path) -> Path:
    """`path` as a Path, or a DataError if no folder is there."""
    path = Path(path)
    if not path.is_dir():
        raise mismatch(path, "a folder", "a file" if path.exists() else "nothing there")
    return path


def require_split(split: str, allowed: tuple[str, ...], what: str) -> None:
    """A ValueError that lists `allowed`, unless `split` is one of them."""
    if split not in allowed:
        raise ValueError(f"split={split!r}: {what} has the splits {', '.join(allowed)}")


def open_plain(path: Path) -> IO[bytes]:
    """`path` for reading, decompressed if its first two bytes say gzip, whatever its name says."""
    with path.open("rb") as file:
        compressed = file.read(2) == _GZIP_MAGIC
    return cast(IO[bytes], gzip.open(path, "rb")) if compressed else path.open("rb")


@contextmanager
def reading(path: Path, what: str) -> Generator[None, None, None]:
    """Turn the many errors of a damaged gzip or tar file into one DataError: the file, and `what` it should be."""
    try:
        yield
    except (EOFError, zlib.error, gzip.BadGzipFile, tarfile.TarError) as error:
        raise mismatch(path, f"{what}, whole and undamaged", f"{type(error).__name__}: {error}") from error
