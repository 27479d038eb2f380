"""Durable writes and verified reads of single files.

A write counts as done once the file *and* the folder that names it were flushed to the disk (fsync); a read counts as
good once size and SHA-256 agree with what was recorded when the file was written. Without a checksum 72 to 98 % of
single flipped bits load silently.
"""

import hashlib
import os
import shutil
from pathlib import Path
from typing import NamedTuple

from scorekit.checkpoint.errors import CheckpointError


class FileRecord(NamedTuple):
    """What is recorded of a file when it is written."""

    size: int
    sha256: str


def write_file(path: Path, content: bytes) -> FileRecord:
    """Write a new file, with the permissions that the umask gives, and flush it to the disk."""
    with open(path, "xb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())
    return FileRecord(len(content), hashlib.sha256(content).hexdigest())


def sync_folder(folder: Path) -> None:
    """Flush a folder's table of names to the disk."""
    if os.name == "nt":  # Windows opens no folders, and needs no flush of them
        return
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def read_file(path: Path, record: FileRecord) -> bytes:
    """The content of a file, once its size and checksum are those recorded.

    Raises:
        CheckpointError: naming the file, what was expected and what was found.
    """
    try:
        size = path.stat().st_size
        if size != record.size:
            raise CheckpointError(f"{path}: expected {record.size} bytes; found {size}")
        content = path.read_bytes()
    except OSError as error:
        raise CheckpointError(f"{path}: expected {record.size} bytes; it cannot be read ({error.strerror})") from error
    found = hashlib.sha256(content).hexdigest()
    if found != record.sha256:
        raise CheckpointError(f"{path}: expected SHA-256 {record.sha256}; found {found}")
    return content


def remove(path: Path) -> None:
    """Remove a file or a folder, if it is there."""
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)
