import torch

from scorekit.data import Images
from scorekit.evaluation.pixels import as_bytes, as_unit, unit_pixels


def test_every_grey_level_comes_back():
    levels = torch.arange(256, dtype=torch.uint8)
    assert torch.equal(as_bytes(as_unit(levels)), levels)


def test_rounding_is_to_the_nearest_level_after_clipping():
    x = torch.tensor([-0.5, 0.4 / 255, 0.6 / 255, 254.4 / 255, 254.6 / 255, 1.5])
    assert as_bytes(x).tolist() == [0, 0, 1, 254, 255, 255]
    assert (255 * x.clamp(0, 1)).to(torch.uint8).tolist() != as_bytes(x).tolist()  # the mutant: truncation


def test_real_pictures_of_few_levels_are_spread_from_black_to_white():
    images = Images(torch.tensor([0, 8, 16], dtype=torch.uint8).reshape(3, 1, 1, 1), levels=17)
    assert (255 * unit_pixels(images, 0, 3)).flatten().tolist() == [0, 128, 255]
    assert (255 * unit_pixels(images, 1, 1)).flatten().tolist() == [128]
