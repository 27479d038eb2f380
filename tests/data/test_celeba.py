import numpy as np
import pytest
import torch
from PIL import Image

from scorekit.data import read_celeba
from scorekit.data.errors import DataError

from .makers import random_picture, tree, write_picture


def write_celeba(root, pictures, partitions, folder="img_align_celeba"):
    lines = []
    for number, (pixels, partition) in enumerate(zip(pictures, partitions, strict=True), start=1):
        write_picture(root / folder / f"{number:06d}.png", pixels)
        lines.append(f"{number:06d}.png {partition}\n")
    (root / "list_eval_partition.txt").write_text("".join(lines))
    return root


def faces(generator, count=6):
    return [random_picture(generator, 218, 178, 3) for _ in range(count)]


@pytest.mark.parametrize("folder", ["img_align_celeba", "."])
def test_splits(tmp_path, generator, folder):
    write_celeba(tmp_path, faces(generator), [0, 1, 2, 0, 0, 2], folder)
    before = tree(tmp_path)
    counts = {split: len(read_celeba(tmp_path, split)) for split in ("train", "valid", "test")}
    assert counts == {"train": 3, "valid": 1, "test": 2}
    assert tree(tmp_path) == before


def shrink(pixels: np.ndarray, size: int) -> np.ndarray:
    """A triangle filter, one output pixel to either side along both axes, weights normalised: (H, W, C) float64."""
    scale = len(pixels) / size
    centres = (np.arange(size)[:, None] + 0.5) * scale
    distance = np.abs(np.arange(len(pixels)) + 0.5 - centres) / scale
    weights = np.clip(1 - distance, 0, None)
    weights /= weights.sum(1, keepdims=True)
    return np.einsum("iy,jx,yxc->ijc", weights, weights, pixels.astype(np.float64), optimize=True)


def test_crop_and_resize_are_the_papers(tmp_path, generator):
    """The middle 140 x 140 (rows 39..178, columns 19..158) through a triangle filter written out here."""
    (pixels,) = faces(generator, 1)
    write_celeba(tmp_path, [pixels], [0])
    got = read_celeba(tmp_path).pixels[0].permute(1, 2, 0).numpy().astype(np.float64)
    assert got.shape == (32, 32, 3)
    expected = shrink(pixels[39:179, 19:159], 32)
    assert np.abs(got - expected).max() <= 1.01  # Pillow rounds to bytes between the axes
    image = Image.fromarray(pixels)
    middle = image.crop((19, 39, 159, 179))
    mutants = {
        "one row up": image.crop((19, 38, 159, 178)).resize((32, 32), Image.Resampling.BILINEAR),
        "no crop": image.resize((32, 32), Image.Resampling.BILINEAR),
        "nearest": middle.resize((32, 32), Image.Resampling.NEAREST),
        "bicubic": middle.resize((32, 32), Image.Resampling.BICUBIC),
        "box": middle.resize((32, 32), Image.Resampling.BOX),
    }
    for name, mutant in mutants.items():
        assert np.abs(np.asarray(mutant, np.float64) - expected).max() > 5, name


def test_other_sizes(tmp_path, generator):
    write_celeba(tmp_path, faces(generator, 1), [0])
    assert read_celeba(tmp_path, size=64, crop=178).pixels.shape == (1, 3, 64, 64)
    with pytest.raises(DataError, match=r"000001\.png: expected at least 179 x 179 pixels; found 178 x 218"):
        read_celeba(tmp_path, crop=179)
    with pytest.raises(ValueError, match="size=0, crop=140"):
        read_celeba(tmp_path, size=0)


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("000002.png", "line 2: expected a file name and 0, 1 or 2; found '000002.png'"),
        ("000002.png 3", "line 2: expected a file name and 0, 1 or 2"),
        ("../../secret.png 0", "line 2: expected a file name without folders"),
        ("/etc/secret.png 0", "line 2: expected a file name without folders"),
        ("..\\secret.png 0", "line 2: expected a file name without folders"),
        (".. 0", "line 2: expected a file name without folders"),
        ("000009.png 0", r"000009\.png: expected a file; found nothing there"),
    ],
)
def test_bad_lines_of_the_split_file(tmp_path, generator, line, message):
    write_celeba(tmp_path, faces(generator, 1), [0])
    assert len(read_celeba(tmp_path)) == 1
    with (tmp_path / "list_eval_partition.txt").open("a") as file:
        file.write(line + "\n")
    with pytest.raises(DataError, match=message):
        read_celeba(tmp_path)


def test_missing_things(tmp_path, generator):
    with pytest.raises(DataError, match="nowhere: expected a folder"):
        read_celeba(tmp_path / "nowhere")
    with pytest.raises(DataError, match=r"list_eval_partition\.txt: expected a file"):
        read_celeba(tmp_path)
    write_celeba(tmp_path, faces(generator, 1), [0])
    with pytest.raises(DataError, match="at least one picture of the split 'test'"):
        read_celeba(tmp_path, "test")
    with pytest.raises(ValueError, match="split='all': CelebA has the splits train, valid, test"):
        read_celeba(tmp_path, "all")
    (tmp_path / "img_align_celeba" / "000001.png").write_bytes(b"damaged")
    with pytest.raises(DataError, match=r"000001\.png: expected a picture"):
        read_celeba(tmp_path)


def test_grey_faces_become_colour(tmp_path, generator):
    write_celeba(tmp_path, [random_picture(generator, 218, 178)], [0])
    pixels = read_celeba(tmp_path).pixels
    assert torch.equal(pixels[:, 0], pixels[:, 2])
