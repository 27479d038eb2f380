import gzip
import hashlib
import os
import random
import zlib
from pathlib import Path

import pytest
import torch

from scorekit.data import as_source, moments, read_idx_images, read_mnist
from scorekit.data.errors import DataError
from scorekit.data.files import open_plain
from scorekit.data.mnist import find_idx, read_idx

from .makers import idx_bytes, mnist_files, random_bytes, tree, write_files


@pytest.mark.parametrize("compress", [True, False])
@pytest.mark.parametrize(("split", "count"), [("train", 7), ("test", 3)])
def test_a_folder_is_read(tmp_path, generator, compress, split, count):
    contents = mnist_files(generator, compress=compress)
    before = tree(write_files(tmp_path, contents))
    images = read_mnist(tmp_path, split)
    name = f"{'train' if split == 'train' else 't10k'}-images-idx3-ubyte" + (".gz" if compress else "")
    raw = gzip.decompress(contents[name]) if compress else contents[name]
    assert images.pixels.shape == (count, 1, 28, 28)
    assert images.pixels.numpy().tobytes() == raw[16:]
    assert images.labels.shape == (count,)
    assert images.labels.dtype == torch.int64
    assert tree(tmp_path) == before


def test_rows_are_not_columns(tmp_path):
    """A 2 x 3 picture written by hand; its transpose is the mutant."""
    (tmp_path / "x").write_bytes(bytes((0, 0, 8, 3, 0, 0, 0, 1, 0, 0, 0, 2, 0, 0, 0, 3, 1, 2, 3, 4, 5, 6)))
    images = read_idx_images(tmp_path / "x")
    assert images.pixels.tolist() == [[[[1, 2, 3], [4, 5, 6]]]]
    assert images.pixels.mT.tolist() != [[[[1, 2, 3], [4, 5, 6]]]]
    assert images.labels is None


@pytest.mark.parametrize("name", ["x", "x.gz"])
@pytest.mark.parametrize("compress", [True, False])
def test_compression_is_seen_in_the_bytes_not_the_name(tmp_path, generator, name, compress):
    pixels = random_bytes((4, 5, 6), generator)
    content = idx_bytes(pixels)
    (tmp_path / name).write_bytes(gzip.compress(content) if compress else content)
    assert torch.equal(read_idx(tmp_path / name, 3), pixels)


@pytest.mark.parametrize("compress", [True, False])
def test_every_truncation_is_refused(tmp_path, generator, compress):
    content = idx_bytes(random_bytes((4, 5, 6), generator))
    whole = gzip.compress(content) if compress else content
    path = tmp_path / "x-images"
    for cut in [0, 1, 3, 4, 15, 16, len(whole) - 1, *random.Random(zlib.crc32(b"cut")).sample(range(len(whole)), 30)]:
        path.write_bytes(whole[:cut])
        with pytest.raises(DataError, match="x-images: expected"):
            read_idx(path, 3)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"\x89PNG and so on", "expected the magic number 00000803 of an IDX file of pictures; found 89504e47"),
        (idx_bytes(torch.zeros(5, dtype=torch.uint8)), "magic number 00000803.*found 00000801"),
        (idx_bytes(torch.zeros(1, 2, 2, dtype=torch.uint8), kind=13), "magic number 00000803.*found 00000d03"),
        (b"", "found an empty file"),
        (
            idx_bytes(torch.zeros(2, 3, 4, dtype=torch.uint8)) + b"x",
            r"24 bytes of data.*\(2, 3, 4\) declares; found more",
        ),
        (bytes((0, 0, 8, 3)) + b"\xff" * 12, "a header that declares"),
        (bytes((0, 0, 8, 3)) + bytes(12), "a header that declares"),
    ],
    ids=["other format", "labels", "floats", "empty", "too long", "absurd header", "no pictures"],
)
def test_what_is_wrong_is_said(tmp_path, content, message):
    path = tmp_path / "pictures"
    path.write_bytes(content)
    with pytest.raises(DataError, match=message) as caught:
        read_idx(path, 3)
    assert str(path) in str(caught.value)


def test_a_damaged_gzip_stream_is_refused(tmp_path, generator):
    """The checksum stands behind the last byte of data, which must be read up to."""
    content = bytearray(gzip.compress(idx_bytes(random_bytes((4, 5, 6), generator))))
    content[-6] ^= 1
    (tmp_path / "x").write_bytes(content)
    with pytest.raises(DataError, match="CRC"):
        read_idx(tmp_path / "x", 3)


def test_labels_must_match_the_pictures(tmp_path, generator):
    contents = mnist_files(generator, train=7, compress=False)
    contents["train-labels-idx1-ubyte"] = idx_bytes(torch.zeros(6, dtype=torch.uint8))
    write_files(tmp_path, contents)
    with pytest.raises(DataError, match=r"train-labels-idx1-ubyte: expected 7 labels.*found 6"):
        read_mnist(tmp_path)


def test_a_missing_file_and_folder(tmp_path, generator):
    contents = mnist_files(generator)
    del contents["t10k-labels-idx1-ubyte.gz"]
    write_files(tmp_path, contents)
    with pytest.raises(
        DataError, match=r"expected t10k-labels-idx1-ubyte or t10k-labels-idx1-ubyte\.gz; found neither"
    ):
        read_mnist(tmp_path, "test")
    with pytest.raises(DataError, match="nowhere: expected a folder"):
        read_mnist(tmp_path / "nowhere")
    with pytest.raises(ValueError, match="split='valid'"):
        read_mnist(tmp_path, "valid")


RAW_MD5 = {
    ("train", "images-idx3-ubyte"): "6bbc9ace898e44ae57da46a324031adb",
    ("train", "labels-idx1-ubyte"): "a25bea736e30d166cdddb491f175f624",
    ("test", "images-idx3-ubyte"): "2646ac647ad5339dbf082846283269ea",
    ("test", "labels-idx1-ubyte"): "27ae3e4e09519cfbb04c329615203637",
}


@pytest.fixture
def real_mnist():
    # Data sets are not in the repository and tests fetch nothing: these run where somebody has the files, and .ci/run
    # looks for them. The format itself is tested above, on files that are made up.
    root = os.environ.get("SCOREKIT_DATA")
    if root is None or not Path(root, "mnist").is_dir():
        pytest.skip("the real MNIST files are wanted: set SCOREKIT_DATA to a folder that has them in mnist/")
    return Path(root, "mnist")


@pytest.mark.parametrize(("split", "what"), RAW_MD5)
def test_the_real_files_are_the_published_ones(real_mnist, split, what):
    with open_plain(find_idx(real_mnist, split, what)) as stream:
        assert hashlib.md5(stream.read()).hexdigest() == RAW_MD5[split, what]


def test_the_real_files(real_mnist):
    """The well-known mean .1307 and standard deviation .3081 are those of k / 255 over all training pixels."""
    train, test = read_mnist(real_mnist), read_mnist(real_mnist, "test")
    assert (len(train), len(test)) == (60_000, 10_000)
    unit = train.pixels.double() / 255
    assert round(float(unit.mean()), 4) == 0.1307
    assert round(float(unit.std()), 4) == 0.3081
    assert train.labels[:10].tolist() == [5, 0, 4, 1, 9, 2, 1, 3, 1, 4]
    assert test.labels[:5].tolist() == [7, 2, 1, 0, 4]
    mean, std = moments(as_source(train))
    assert torch.allclose(mean, (train.pixels.double().mean(0) + 0.5) / 256)
    variance = (train.pixels.double().var(0, correction=0) + 1 / 12) / 256**2
    assert torch.allclose(std, variance.sqrt())
