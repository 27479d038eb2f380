"""CIFAR-10 in its official binary layout.

Each file holds 10,000 records of 3073 bytes: one label byte 0..9, then 1024 red, 1024 green and 1024 blue bytes, each
plane 32 x 32 in row-major order. `data_batch_1.bin` .. `data_batch_5.bin` are the training set, `test_batch.bin` is the
test set.
"""

from pathlib import Path

import torch
from torch import Tensor

from scorekit.data.archive import read_members
from scorekit.data.errors import mismatch
from scorekit.data.files import require_split
from scorekit.data.images import Images

CLASSES = ("airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck")
ARCHIVE = "cifar-10-binary.tar.gz"
FOLDER = "cifar-10-batches-bin"
FILES = {"train": tuple(f"data_batch_{i}.bin" for i in range(1, 6)), "test": ("test_batch.bin",)}
_RECORDS = 10_000
_RECORD_BYTES = 1 + 3 * 32 * 32


def read_cifar10(path: str | Path, split: str = "train") -> Images:
    """CIFAR-10 from its official binary files.

    Args:
        path: the folder that holds the `.bin` files, the folder above it, or `cifar-10-binary.tar.gz` itself (read,
            never unpacked).
        split: "train" (50,000) or "test" (10,000).

    Raises:
        DataError: if a file is missing, has another size than 30,730,000 bytes, or holds a label above 9; or if the
            archive is unsafe.
        ValueError: for another split.
    """
    return _read(path, split, _RECORDS)


def _read(path: str | Path, split: str, records: int) -> Images:
    require_split(split, tuple(FILES), "CIFAR-10")
    size = records * _RECORD_BYTES
    path = Path(path)
    if path.is_file():
        contents = read_members(path, dict.fromkeys(FILES[split], size))
    else:
        contents = {name: _content(_folder(path) / name, size) for name in FILES[split]}
    parts = [_records(f"{path}, {name}", contents[name]) for name in FILES[split]]
    return Images(
        torch.cat([pixels for pixels, _ in parts]),
        labels=torch.cat([labels for _, labels in parts]),
        classes=CLASSES,
        name=f"cifar10-{split}",
        source="CIFAR-10, A. Krizhevsky, Learning multiple layers of features from tiny images, 2009",
        license="none stated by its authors",
    )


def _folder(path: Path) -> Path:
    """The folder with the `.bin` files: `path` or its `cifar-10-batches-bin`."""
    if (path / FOLDER).is_dir():
        return path / FOLDER
    if not path.is_dir():
        raise mismatch(path, "a folder with CIFAR-10's .bin files, or cifar-10-binary.tar.gz", "nothing there")
    return path


def _content(path: Path, size: int) -> bytes:
    if not path.is_file():
        raise mismatch(path, f"a file of CIFAR-10's binary version ({size} bytes)", "nothing there")
    if path.stat().st_size != size:
        raise mismatch(
            path, f"{size} bytes, {size // _RECORD_BYTES} records of {_RECORD_BYTES}", f"{path.stat().st_size} bytes"
        )
    return path.read_bytes()


def _records(where: str, content: bytes) -> tuple[Tensor, Tensor]:
    records = torch.frombuffer(bytearray(content), dtype=torch.uint8).reshape(-1, _RECORD_BYTES)
    labels = records[:, 0].long()
    if int(labels.max()) >= len(CLASSES):
        record = int((labels >= len(CLASSES)).nonzero()[0])
        raise mismatch(f"{where}, record {record}", f"a label in 0..{len(CLASSES) - 1}", str(int(labels[record])))
    return records[:, 1:].reshape(-1, 3, 32, 32), labels
