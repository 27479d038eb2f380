"""Data by name or path: each layout is recognised, and what is not says what was looked for."""

import numpy as np
import pytest
import torch

from scorekit.data import DataError, cifar, open_images

from .makers import (
    cifar_files,
    cifar_members,
    idx_bytes,
    mnist_files,
    random_bytes,
    random_picture,
    tar_bytes,
    write_files,
    write_picture,
)


@pytest.fixture(autouse=True)
def small_cifar(monkeypatch):
    monkeypatch.setattr(cifar, "_RECORDS", 10)


@pytest.mark.parametrize(("split", "count"), [("train", 50), ("test", 10)])
def test_cifar(tmp_path, generator, split, count):
    contents = cifar_files(10, generator)
    write_files(tmp_path / "x" / "cifar-10-batches-bin", contents)
    (tmp_path / "any.tar.gz").write_bytes(tar_bytes(cifar_members(contents)))
    (tmp_path / "plain.tar").write_bytes(tar_bytes(cifar_members(contents), compress=False))
    for path in ("x", "x/cifar-10-batches-bin", "any.tar.gz", "plain.tar"):
        images = open_images(tmp_path / path, split)
        assert images.name == f"cifar10-{split}"
        assert len(images) == count


def test_mnist(tmp_path, generator):
    write_files(tmp_path, mnist_files(generator))
    assert len(open_images(str(tmp_path))) == 7
    assert len(open_images(str(tmp_path), "test")) == 3


@pytest.mark.parametrize("name", ["x", "x.gz", "train-images-idx3-ubyte"])
def test_one_idx_file(tmp_path, generator, name):
    pixels = random_bytes((4, 5, 6), generator)
    (tmp_path / name).write_bytes(idx_bytes(pixels))
    assert torch.equal(open_images(tmp_path / name).pixels, pixels.unsqueeze(1))
    with pytest.raises(ValueError, match=r"split='test'.*has only 'train'"):
        open_images(tmp_path / name, "test")


def test_celeba(tmp_path, generator):
    write_picture(tmp_path / "img_align_celeba" / "1.png", random_picture(generator, 218, 178, 3))
    (tmp_path / "list_eval_partition.txt").write_text("1.png 1\n")
    assert open_images(tmp_path, "valid").pixels.shape == (1, 3, 32, 32)
    assert open_images(tmp_path, "valid", size=16).pixels.shape == (1, 3, 16, 16)


def test_a_folder_of_pictures(tmp_path, generator):
    for name in ("train/cat/1.png", "train/dog/1.png", "test/cat/1.png"):
        write_picture(tmp_path / name, random_picture(generator, 6, 6, 3))
    train, test = open_images(tmp_path), open_images(tmp_path, "test", size=4)
    assert (len(train), train.classes) == (2, ("cat", "dog"))
    assert test.pixels.shape == (1, 3, 4, 4)
    with pytest.raises(ValueError, match=r"split='valid'.*scorekit\.data\.split"):
        open_images(tmp_path, "valid")
    assert len(open_images(tmp_path / "train" / "cat")) == 1


def test_embedded():
    assert len(open_images("embedded")) == 1500
    assert len(open_images("embedded", "test")) == 297


def test_a_name_is_no_path(tmp_path, generator, monkeypatch):
    """A folder called like a data set is meant only when it is written as a path."""
    monkeypatch.chdir(tmp_path)
    write_picture(tmp_path / "embedded" / "1.png", random_picture(generator, 6, 6))
    assert open_images("embedded").name == "digits-train"
    assert open_images("./embedded").name == "embedded"


@pytest.mark.parametrize("spec", ["embedded", "mnist", "cifar10"])
def test_a_size_for_data_that_have_one(spec):
    with pytest.raises(ValueError, match="size=16: these pictures have one size"):
        open_images(spec, size=16)


def test_a_size_for_files_that_have_one(tmp_path, generator):
    write_files(tmp_path / "mnist", mnist_files(generator))
    write_files(tmp_path / "cifar", cifar_files(10, generator))
    (tmp_path / "one").write_bytes(idx_bytes(random_bytes((4, 5, 6), generator)))
    for name in ("mnist", "cifar", "one"):
        with pytest.raises(ValueError, match="size=16: these pictures have one size"):
            open_images(tmp_path / name, size=16)


@pytest.mark.parametrize(
    ("spec", "hint"), [("minst", "did you mean 'mnist'"), ("CIFAR-10", "neither"), ("no/where", "neither")]
)
def test_a_wrong_name(spec, hint):
    with pytest.raises(
        DataError, match=rf"'{spec}': expected one of the names embedded, cifar10, mnist, or a path.*{hint}"
    ):
        open_images(spec)


def test_nothing_that_is_known(tmp_path):
    (tmp_path / "notes.txt").write_text("hello")
    np.save(tmp_path / "x.npy", np.zeros(3))
    for path in (tmp_path, tmp_path / "notes.txt", tmp_path / "x.npy"):
        with pytest.raises(DataError) as caught:
            open_images(path)
        message = str(caught.value)
        assert message.startswith(str(path))
        for wanted in ("cifar-10-binary.tar.gz", "data_batch_", "IDX", "t10k", "list_eval_partition.txt", "PNG"):
            assert wanted in message
