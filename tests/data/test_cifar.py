import numpy as np
import pytest
import torch

from scorekit.data import cifar, read_cifar10
from scorekit.data.errors import DataError

from .makers import cifar_files, cifar_members, tar_bytes, tree, write_files

RECORDS = 20  # the official files have 10,000; the rule is the same


@pytest.fixture
def contents(generator):
    return cifar_files(RECORDS, generator)


def expected(contents, split):
    """The pixels by the layout's definition, byte by byte: 1 label, then red, green, blue planes in row-major order."""
    raw = np.concatenate([np.frombuffer(contents[name], np.uint8).reshape(-1, 3073) for name in cifar.FILES[split]])
    pixels = np.empty((len(raw), 3, 32, 32), np.uint8)
    for channel in range(3):
        for row in range(32):
            start = 1 + 1024 * channel + 32 * row
            pixels[:, channel, row] = raw[:, start : start + 32]
    return torch.from_numpy(pixels), torch.from_numpy(raw[:, 0].astype(np.int64))


def write_archive(folder, contents):
    path = folder / "cifar-10-binary.tar.gz"
    path.write_bytes(tar_bytes(cifar_members(contents)))
    return path


@pytest.mark.parametrize("split", ["train", "test"])
@pytest.mark.parametrize("form", ["folder", "above", "archive"])
def test_every_form_is_read(tmp_path, contents, split, form):
    path = write_files(tmp_path / "cifar-10-batches-bin", contents)
    path = {"folder": path, "above": tmp_path, "archive": write_archive(tmp_path, contents)}[form]
    before = tree(tmp_path)
    images = cifar._read(path, split, RECORDS)
    pixels, labels = expected(contents, split)
    assert torch.equal(images.pixels, pixels)
    assert torch.equal(images.labels, labels)
    assert len(images) == RECORDS * len(cifar.FILES[split])
    assert images.classes[0] == "airplane"
    assert images.levels == 256
    assert tree(tmp_path) == before


@pytest.mark.parametrize("mutant", ["channels last", "columns first"])
def test_the_layout_test_has_power(tmp_path, contents, mutant):
    path = write_files(tmp_path, contents)
    pixels = cifar._read(path, "train", RECORDS).pixels
    wrong = pixels.reshape(-1, 32, 32, 3).permute(0, 3, 1, 2) if mutant == "channels last" else pixels.mT
    assert not torch.equal(wrong, expected(contents, "train")[0])


@pytest.mark.parametrize("change", [-1, +1, -3073, -10_000])
@pytest.mark.parametrize("form", ["folder", "archive"])
def test_a_file_of_another_size(tmp_path, contents, form, change):
    name, size = "data_batch_3.bin", RECORDS * 3073
    contents[name] = (contents[name] + b"\0" * 10)[: size + change]
    path = write_files(tmp_path, contents) if form == "folder" else write_archive(tmp_path, contents)
    with pytest.raises(DataError, match=rf"{name}.*expected {size} bytes.*found {size + change} bytes"):
        cifar._read(path, "train", RECORDS)
    assert len(cifar._read(path, "test", RECORDS)) == RECORDS  # the other split is whole


@pytest.mark.parametrize("form", ["folder", "archive"])
def test_a_label_out_of_range(tmp_path, contents, form):
    damaged = bytearray(contents["test_batch.bin"])
    damaged[4 * 3073] = 10
    contents["test_batch.bin"] = bytes(damaged)
    path = write_files(tmp_path, contents) if form == "folder" else write_archive(tmp_path, contents)
    with pytest.raises(DataError, match=r"test_batch\.bin, record 4: expected a label in 0\.\.9; found 10"):
        cifar._read(path, "test", RECORDS)


def test_a_missing_file(tmp_path, contents):
    del contents["data_batch_5.bin"]
    path = write_files(tmp_path, contents)
    with pytest.raises(DataError, match=r"data_batch_5\.bin: expected a file of CIFAR-10's binary version"):
        cifar._read(path, "train", RECORDS)


def test_a_missing_folder(tmp_path):
    with pytest.raises(DataError, match=r"nowhere: expected a folder with CIFAR-10's \.bin files"):
        read_cifar10(tmp_path / "nowhere")


def test_the_official_size_is_ten_thousand_records(tmp_path, contents):
    path = write_files(tmp_path, contents)
    with pytest.raises(DataError, match="expected 30730000 bytes, 10000 records of 3073; found 61460 bytes"):
        read_cifar10(path)


def test_an_official_file(tmp_path):
    """One file of full size: label r mod 10, pixels of record r all r mod 256."""
    numbers = np.arange(10_000)
    records = np.repeat((numbers % 256).astype(np.uint8)[:, None], 3073, axis=1)
    records[:, 0] = numbers % 10
    (tmp_path / "test_batch.bin").write_bytes(records.tobytes())
    images = read_cifar10(tmp_path, "test")
    assert images.pixels.shape == (10_000, 3, 32, 32)
    assert torch.equal(images.pixels[:, 2, 31, 31].long(), torch.arange(10_000) % 256)
    assert torch.equal(images.labels, torch.arange(10_000) % 10)


def test_another_split(tmp_path):
    with pytest.raises(ValueError, match="split='valid': CIFAR-10 has the splits train, test"):
        read_cifar10(tmp_path, "valid")
