import numpy as np
import pytest
import torch
from PIL import Image

from scorekit.data import read_image_folder
from scorekit.data.errors import DataError

from .makers import random_picture, tree, write_picture


def test_pictures_are_read_in_sorted_order(tmp_path, generator):
    pictures = {name: random_picture(generator, 6, 5, 3) for name in ("b.png", "a.BMP", "c.webp")}
    for name, pixels in pictures.items():
        write_picture(tmp_path / name, pixels, **({"lossless": True} if name.endswith("webp") else {}))
    (tmp_path / "notes.txt").write_text("no picture")
    (tmp_path / ".hidden.png").write_text("no picture")
    before = tree(tmp_path)
    images = read_image_folder(tmp_path)
    expected = np.stack([pictures[name] for name in ("a.BMP", "b.png", "c.webp")]).transpose(0, 3, 1, 2)
    assert torch.equal(images.pixels, torch.from_numpy(expected.copy()))
    assert images.labels is None
    assert images.name == tmp_path.name
    assert tree(tmp_path) == before


def test_jpeg(tmp_path):
    write_picture(tmp_path / "x.jpeg", np.full((16, 16, 3), (200, 30, 90), np.uint8), quality=100, subsampling=0)
    pixels = read_image_folder(tmp_path).pixels.float()
    assert (pixels - torch.tensor([200.0, 30, 90]).reshape(3, 1, 1)).abs().max() <= 2


def test_subfolders_are_classes(tmp_path, generator):
    for name in ("dog/1.png", "cat/deep/2.png", "cat/1.png"):
        write_picture(tmp_path / name, random_picture(generator, 4, 4))
    images = read_image_folder(tmp_path)
    assert images.classes == ("cat", "dog")
    assert images.labels.tolist() == [0, 0, 1]
    assert images.pixels.shape == (3, 1, 4, 4)
    write_picture(tmp_path / "loose.png", random_picture(generator, 4, 4))
    assert read_image_folder(tmp_path).labels is None


def test_grey_among_colours_becomes_three_equal_channels(tmp_path, generator):
    grey = random_picture(generator, 4, 4)
    write_picture(tmp_path / "a.png", grey)
    write_picture(tmp_path / "b.png", random_picture(generator, 4, 4, 3))
    images = read_image_folder(tmp_path)
    assert images.pixels.shape == (2, 3, 4, 4)
    assert torch.equal(images.pixels[0], torch.from_numpy(grey).expand(3, 4, 4))


def test_a_palette_and_an_opaque_alpha_channel(tmp_path, generator):
    colours = random_picture(generator, 4, 4, 3)
    write_picture(tmp_path / "a.png", np.dstack([colours, np.full((4, 4), 255, np.uint8)]))
    palette = Image.new("P", (4, 4), 1)
    palette.putpalette([0, 0, 0, 10, 20, 30])
    palette.save(tmp_path / "b.png")
    pixels = read_image_folder(tmp_path).pixels
    assert torch.equal(pixels[0], torch.from_numpy(colours).permute(2, 0, 1))
    assert pixels[1, :, 0, 0].tolist() == [10, 20, 30]


def test_mixed_sizes_name_the_first_two_that_differ(tmp_path, generator):
    for name, shape in {"a.png": (8, 6, 3), "b.png": (8, 6, 3), "c.png": (6, 8, 3), "d.png": (9, 9, 3)}.items():
        write_picture(tmp_path / name, random_picture(generator, *shape))
    with pytest.raises(DataError, match=r"c\.png: expected 6 x 8 pixels .*, as .*a\.png has; found 8 x 6; give size="):
        read_image_folder(tmp_path)
    assert read_image_folder(tmp_path, size=4).pixels.shape == (4, 3, 4, 4)


def test_size_crops_the_middle_square(tmp_path):
    """Green square, red margins: one column more or less (the mutants) would let red in."""
    pixels = np.zeros((20, 50, 3), np.uint8)
    pixels[..., 0] = 255
    pixels[:, 15:35] = (0, 255, 0)
    write_picture(tmp_path / "a.png", pixels)
    images = read_image_folder(tmp_path, size=10)
    assert images.pixels[0, 1].min() == 255
    assert images.pixels[0, 0].max() == 0
    for shift in (-1, 1):
        write_picture(tmp_path / "a.png", np.roll(pixels, shift, axis=1))
        assert read_image_folder(tmp_path, size=10).pixels[0, 0].max() > 0


def test_a_corrupt_picture_is_named(tmp_path, generator):
    write_picture(tmp_path / "a.png", random_picture(generator, 32, 32, 3))
    write_picture(tmp_path / "b.png", random_picture(generator, 32, 32, 3))
    whole = (tmp_path / "b.png").read_bytes()
    for content in (
        whole[: len(whole) // 2],
        whole[:20],
        b"",
        b"not a picture",
        whole[:60] + b"\0" * (len(whole) - 60),
    ):
        (tmp_path / "b.png").write_bytes(content)
        with pytest.raises(DataError, match=r"b\.png: expected"):
            read_image_folder(tmp_path)


def test_a_truncated_jpeg_is_named(tmp_path, generator):
    path = write_picture(tmp_path / "b.jpg", random_picture(generator, 64, 64, 3))
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    with pytest.raises(DataError, match=r"b\.jpg: expected an undamaged picture; found image file is truncated"):
        read_image_folder(tmp_path)


def test_pictures_that_conversion_would_change_are_refused(tmp_path):
    """Pillow clips 16-bit grey at 255, drops alpha, and takes the first frame, all without a word."""
    cases = {
        "deep.png": (Image.fromarray(np.full((4, 4), 40_000, np.uint16)), {}, "8-bit grey or RGB"),
        "clear.png": (Image.new("RGBA", (4, 4), (1, 2, 3, 254)), {}, "opaque picture; found alpha down to 254"),
        "print.jpg": (Image.new("CMYK", (4, 4)), {}, "mode CMYK"),
        "moving.webp": (
            Image.new("RGB", (4, 4)),
            {"save_all": True, "append_images": [Image.new("RGB", (4, 4), "red")]},
            "one picture; found an animation",
        ),
    }
    for name, (image, options, message) in cases.items():
        image.save(tmp_path / name, **options)
        with pytest.raises(DataError, match=f"{name}: expected.*{message}"):
            read_image_folder(tmp_path)
        (tmp_path / name).unlink()


def test_another_format_under_a_picture_name_is_refused(tmp_path):
    Image.new("RGB", (4, 4)).save(tmp_path / "x.png", format="TIFF")
    with pytest.raises(DataError, match=r"x\.png: expected a picture \(PNG, JPEG, BMP, WEBP\)"):
        read_image_folder(tmp_path)


def test_missing_and_empty_folders(tmp_path):
    with pytest.raises(DataError, match="nowhere: expected a folder; found nothing there"):
        read_image_folder(tmp_path / "nowhere")
    (tmp_path / "file").write_text("x")
    with pytest.raises(DataError, match="file: expected a folder; found a file"):
        read_image_folder(tmp_path / "file")
    with pytest.raises(DataError, match=r"expected at least one picture \(\.png, .*\); found none"):
        read_image_folder(tmp_path)
    with pytest.raises(ValueError, match="size=0"):
        read_image_folder(tmp_path, size=0)
