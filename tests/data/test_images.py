"""The record, the split, pictures from arrays, and the embedded digits."""

import numpy as np
import pytest
import torch

from scorekit.data import Images, digits, from_array, split

from .makers import random_bytes


@pytest.fixture
def images(generator):
    return Images(random_bytes((40, 3, 4, 5), generator), labels=torch.arange(40) % 7, name="made")


def test_a_record(images):
    assert len(images) == 40
    assert torch.equal(images[torch.tensor([3, 1])], images.pixels[[3, 1]])
    assert repr(images) == "<Images 'made': 40 of 3x4x5, 256 levels>"
    some = images.select(torch.tensor([5, 2]))
    assert some.labels.tolist() == [5, 2]
    assert torch.equal(some.pixels, images.pixels[[5, 2]])


@pytest.mark.parametrize(
    ("pixels", "fields", "error", "message"),
    [
        (torch.zeros(2, 3, 4, dtype=torch.uint8), {}, ValueError, r"\(N, C, H, W\).*got \(2, 3, 4\)"),
        (torch.zeros(0, 1, 2, 2, dtype=torch.uint8), {}, ValueError, r"got \(0, 1, 2, 2\)"),
        (torch.zeros(1, 1, 2, 2, dtype=torch.int64), {}, TypeError, "uint8 or floating point; got torch.int64"),
        (torch.full((1, 1, 2, 2), 17, dtype=torch.uint8), {"levels": 17}, ValueError, r"0\.\.16; the largest is 17"),
        (torch.zeros(1, 1, 2, 2, dtype=torch.uint8), {"levels": None}, ValueError, "levels=None"),
        (torch.zeros(1, 1, 2, 2, dtype=torch.uint8), {"levels": 257}, ValueError, "levels=257"),
        (torch.zeros(1, 1, 2, 2), {}, ValueError, "continuous, levels=None"),
        (torch.full((1, 1, 2, 2), 1.01), {"levels": None}, ValueError, r"\[0, 1\]; got values from 1\.0"),
        (torch.full((1, 1, 2, 2), -0.01), {"levels": None}, ValueError, r"\[0, 1\]"),
        (torch.full((1, 1, 2, 2), torch.nan), {"levels": None}, ValueError, "nan"),
        (
            torch.zeros(2, 1, 2, 2, dtype=torch.uint8),
            {"labels": torch.zeros(3, dtype=torch.int64)},
            ValueError,
            r"\(3,\)",
        ),
        (torch.zeros(2, 1, 2, 2, dtype=torch.uint8), {"labels": torch.zeros(2)}, TypeError, "int64; got torch.float32"),
        (
            torch.zeros(2, 1, 2, 2, dtype=torch.uint8),
            {"labels": torch.tensor([0, 2]), "classes": ("a", "b")},
            ValueError,
            r"0\.\.1; got values from 0 to 2",
        ),
    ],
)
def test_bad_records(pixels, fields, error, message):
    with pytest.raises(error, match=message):
        Images(pixels, **fields)


@pytest.mark.parametrize(("held_out", "count"), [(7, 7), (0.25, 10), (0.01 + 1 / 40, 1), (39, 39)])
def test_split_parts_are_disjoint_and_complete(images, held_out, count):
    train, held = split(images, held_out)
    assert (len(train), len(held)) == (40 - count, count)
    rows = [row.tobytes() for row in images.pixels.numpy()]
    train_rows, held_rows = ([row.tobytes() for row in part.pixels.numpy()] for part in (train, held))
    assert set(train_rows) | set(held_rows) == set(rows)
    assert not set(train_rows) & set(held_rows)
    for part, part_rows in ((train, train_rows), (held, held_rows)):
        numbers = [rows.index(row) for row in part_rows]
        assert numbers == sorted(numbers)
        assert part.labels.tolist() == [number % 7 for number in numbers]


def test_split_depends_on_the_seed_alone(images):
    before = torch.get_rng_state()
    first, again, other = (split(images, 20, seed)[1].pixels for seed in (0, 0, 1))
    assert torch.equal(first, again)
    assert not torch.equal(first, other)
    assert not torch.equal(
        first, images.pixels[:20]
    )  # the mutant that holds out a block, of one class where files are sorted
    assert not torch.equal(first, images.pixels[20:])
    assert torch.equal(torch.get_rng_state(), before)


def test_split_holds_out_every_picture_equally_often(images):
    """2,000 seeds, 10 of 40 held out: each picture's count is binomial(2000, 1/4), with standard deviation 19.4."""
    counts = torch.zeros(40)
    numbers = Images(torch.arange(40, dtype=torch.uint8).reshape(40, 1, 1, 1))
    for seed in range(2_000):
        counts[split(numbers, 10, seed)[1].pixels.flatten().long()] += 1
    assert (counts - 500).abs().max() < 4.9 * 19.4


@pytest.mark.parametrize("held_out", [0, 40, -1, 0.0, 1.0, 1.5, 0.001, float("nan")])
def test_a_split_without_two_parts(images, held_out):
    with pytest.raises(ValueError, match=r"split\(held_out="):
        split(images, held_out)


@pytest.mark.parametrize("held_out", ["10", True, None])
def test_a_split_of_another_type(images, held_out):
    with pytest.raises(TypeError, match=r"split\(held_out="):
        split(images, held_out)


def test_integers_become_levels(generator):
    pixels = random_bytes((5, 2, 3, 4), generator)
    for array in (
        pixels,
        pixels.long(),
        pixels.numpy(),
        pixels.numpy().astype(np.uint16),
        pixels.numpy().astype(">i4"),
    ):
        images = from_array(array)
        assert images.levels == 256
        assert torch.equal(images.pixels, pixels)
    assert from_array(pixels[:, 0]).pixels.shape == (5, 1, 3, 4)
    assert from_array(pixels[:, 0].numpy()[:, ::-1], labels=np.arange(5)).labels.tolist() == [0, 1, 2, 3, 4]


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.float16])
def test_floats_on_the_grid_become_levels(dtype):
    levels = torch.arange(256, dtype=torch.uint8).reshape(1, 1, 16, 16)
    if dtype == torch.float16:
        levels = levels[..., :8] % 17  # half precision resolves 17 levels to .01, not 256
        images = from_array((levels.double() / 16).to(dtype), levels=17)
    else:
        images = from_array((levels.double() / 255).to(dtype), levels=256)
    assert torch.equal(images.pixels, levels)


def test_floats_stay_continuous_without_levels(generator):
    pixels = torch.rand(3, 1, 4, 4, generator=generator)
    images = from_array(pixels)
    assert images.levels is None
    assert images.pixels is pixels


def test_a_read_only_array_is_copied():
    array = np.zeros((2, 1, 3, 3), np.uint8)
    array.flags.writeable = False
    images = from_array(array)
    images.pixels.fill_(1)
    assert array.max() == 0


@pytest.mark.parametrize(
    ("array", "levels", "error", "message"),
    [
        (
            torch.full((1, 1, 2, 2), 0.3),
            256,
            ValueError,
            r"multiples of 1/255; the farthest value is 0\.5 grey levels off",
        ),
        (torch.full((1, 1, 2, 2), torch.nan), 256, ValueError, "multiples of 1/255"),
        (torch.full((1, 1, 2, 2), 2.0), 256, ValueError, r"0\.\.255; got 510"),
        (torch.full((1, 1, 2, 2), 256), None, ValueError, r"0\.\.255; got 256"),
        (torch.full((1, 1, 2, 2), -1), None, ValueError, r"0\.\.255; got -1"),
        (torch.zeros(1, 1, 2, 2), 1, ValueError, "levels=1"),
        (torch.zeros(9, 32, 32, 3, dtype=torch.uint8), None, ValueError, r"looks like \(N, H, W, C\).*permute"),
        (torch.zeros(1, 1, 2, 2, dtype=torch.bool), None, TypeError, "got torch.bool"),
        (torch.zeros(1, 1, 2, 2, dtype=torch.complex64), None, TypeError, "got torch.complex64"),
        (np.array([["a"]]), None, TypeError, "ndarray of <U1"),
        (np.array([object()]), None, TypeError, "ndarray of object"),
        ([[0.0]], None, TypeError, "got list"),
        (torch.zeros(4, 4), None, ValueError, r"got \(4, 4\)"),
    ],
)
def test_bad_arrays(array, levels, error, message):
    with pytest.raises(error, match=message):
        from_array(array, levels)


def test_the_embedded_digits():
    images = digits()
    assert images.pixels.shape == (1797, 1, 8, 8)
    assert images.levels == 17
    assert int(images.pixels.max()) == 16
    assert images.license == "CC BY 4.0"
    assert torch.bincount(images.labels).tolist() == [178, 182, 177, 183, 181, 182, 181, 179, 174, 180]
    ink = images.pixels.double().sum(2)  # a one is narrow, a zero has a hole: columns and rows are not exchanged
    one, zero = (ink[images.labels == digit].mean(0)[0] for digit in (1, 0))
    assert one[3:5].sum() > 0.4 * one.sum()
    assert zero[3:5].sum() < 0.4 * zero.sum()


def test_the_digits_split():
    train, test = digits("train"), digits("test")
    assert (len(train), len(test)) == (1500, 297)
    assert (train.name, test.name) == ("digits-train", "digits-test")
    assert torch.bincount(test.labels).min() >= 15
    with pytest.raises(ValueError, match="split='valid': the set of digits has the splits train, test"):
        digits("valid")
