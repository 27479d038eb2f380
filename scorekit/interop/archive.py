"""Files that `torch.save` wrote: the one place where the library reads and writes them.

They are pickles, and a pickle can run code when it is read. `weights_only=True` is torch's reader that makes tensors,
numbers, strings and plain containers and refuses everything else.
"""

import re
import zipfile
from pathlib import Path
from typing import NamedTuple

import torch

from scorekit.checkpoint import CheckpointError

_REFUSED = re.compile(r"GLOBAL ([\w.]+)")  # how torch's message names what it would not make


class Archive(NamedTuple):
    """What a file holds, on the CPU, and whether in the format from before torch 1.6, which is no zip."""

    document: object
    legacy: bool


def read_archive(path: Path) -> Archive:
    """The content of a file that `torch.save` wrote.

    Raises:
        OSError: if there is no such file.
        CheckpointError: if it is not a whole one, or it holds anything but tensors, numbers, strings and containers.
    """
    with path.open("rb") as file:
        try:
            document = torch.load(file, map_location="cpu", weights_only=True)
        except Exception as error:  # of any kind: damaged bytes are taken for instructions
            raise CheckpointError(f"{path}: {_fault(error)}") from error
    return Archive(document, legacy=not zipfile.is_zipfile(path))


def write_archive(path: Path, archive: Archive) -> None:
    """Write a new file; the format from before torch 1.6 is the only one that torch of that age reads.

    Raises:
        FileExistsError: if there is a file of that name: it may be the original.
    """
    with path.open("xb") as file:
        try:
            torch.save(archive.document, file, _use_new_zipfile_serialization=not archive.legacy)
        except BaseException:
            path.unlink()
            raise


def _fault(error: Exception) -> str:
    refused = _REFUSED.search(str(error))
    if refused is not None:
        return (
            "expected tensors, numbers, strings and containers only, which is all that can be read without running "
            f"code from the file; found {refused[1]}"
        )
    reason = str(error).partition("\n")[0] if type(error) is RuntimeError else type(error).__name__
    return f"expected a whole file written by torch.save; it cannot be read ({reason})"
