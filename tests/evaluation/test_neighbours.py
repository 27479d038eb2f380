"""The search for memorised images: planted copies and mirror images, ties, streams, features, the picture."""

import numpy as np
import pytest
import torch
from torch import Tensor

from scorekit.evaluation import neighbours
from scorekit.evaluation.neighbours import Neighbours, nearest_neighbours, save_neighbours


def pictures(generator: torch.Generator, count: int, channels: int = 1) -> Tensor:
    return torch.rand(count, channels, 6, 6, generator=generator)


def written_out(samples: Tensor, images: Tensor, k: int) -> tuple[list, list]:
    """Indices and distances by sorting all of them, image by image."""
    indices, distances = [], []
    for sample in samples.double():
        both = [
            min((sample - image).norm().item(), (sample - image.flip(-1)).norm().item()) for image in images.double()
        ]
        order = sorted(range(len(both)), key=both.__getitem__)[:k]
        indices.append(order)
        distances.append([both[number] for number in order])
    return indices, distances


@pytest.mark.parametrize("batch", [1, 4, 11, 40])
def test_the_nearest_images_are_those_of_a_full_sort_whatever_the_batches(batch, generator):
    samples, images = pictures(generator, 5, 3), pictures(generator, 40, 3)
    found = nearest_neighbours(samples, images.split(batch), k=7)
    indices, distances = written_out(samples, images, 7)
    assert found.indices.tolist() == indices
    assert torch.allclose(found.distances, torch.tensor(distances, dtype=torch.float64), rtol=1e-12, atol=0)
    assert found.indices.dtype == torch.int64
    assert found.flipped.any()
    assert not found.flipped.all()


def planted(generator: torch.Generator) -> tuple[Tensor, Tensor]:
    """Samples of which the first is a copy of image 23 and the second the mirror image of image 8."""
    samples, images = pictures(generator, 3), pictures(generator, 40)
    images[23], images[8] = samples[0], samples[1].flip(-1)
    return samples, images


def finds_the_plants(found: Neighbours) -> bool:
    first = found.indices[:2, 0].tolist() == [23, 8] and found.flipped[:2, 0].tolist() == [False, True]
    return first and found.distances[:2, 0].tolist() == [0, 0]


def test_a_planted_copy_and_a_planted_mirror_image_are_at_distance_0_and_a_twin_without_flips_misses_one(generator):
    samples, images = planted(generator)
    found = nearest_neighbours(samples, images.split(9), k=3)
    assert finds_the_plants(found)
    assert found.distances[2, 0] > 0.1
    assert not finds_the_plants(nearest_neighbours(samples, images.split(9), k=3, flips=False))


def test_copies_are_at_distance_0_exactly_and_not_so_by_a_twin_that_multiplies_out_squares(generator, monkeypatch):
    images = torch.rand(60, 1, 6, 6, dtype=torch.float64, generator=generator)  # squares of float32 would be exact

    def furthest_copy() -> float:
        found = nearest_neighbours(images[20:50].flip(-1), images.split(30), k=1)
        assert found.indices.flatten().tolist() == list(range(20, 50))
        return found.distances.max().item()

    assert furthest_copy() == 0
    monkeypatch.setattr(neighbours, "_distances", lambda a, b: torch.cdist(a, b, compute_mode="use_mm_for_euclid_dist"))
    assert furthest_copy() > 0


def test_flips_are_left_out_where_they_are_not_wanted(generator):
    samples, images = planted(generator)
    found = nearest_neighbours(samples, [images], k=40, flips=False)
    assert not found.flipped.any()
    assert found.indices.sort(1).values.tolist() == [list(range(40))] * 3
    best = torch.cdist(samples.flatten(1).double(), images.flatten(1).double()).sort(1).values
    assert torch.allclose(found.distances, best, atol=1e-6)


def test_an_image_counts_once_although_its_mirror_image_is_near_too(generator):
    samples, images = pictures(generator, 2), pictures(generator, 12)
    images[5] = samples[0]
    images[5] = (images[5] + images[5].flip(-1)) / 2  # symmetric: both are equally near
    found = nearest_neighbours(samples, images.split(5), k=12)
    assert all(sorted(row) == list(range(12)) for row in found.indices.tolist())
    assert not found.flipped[found.indices == 5].any()


def test_of_equally_near_images_the_first_wins(generator):
    samples = pictures(generator, 1)
    images = samples.expand(9, -1, -1, -1)
    for batch in (2, 9):
        assert nearest_neighbours(samples, images.split(batch), k=4).indices.tolist() == [[0, 1, 2, 3]]


def test_distances_are_between_features_where_they_are_given(generator):
    """The mean of a picture as its feature: the nearest mean wins, however far the pixels are."""
    samples, images = pictures(generator, 3), pictures(generator, 30)
    found = nearest_neighbours(samples, images.split(7), k=2, features=lambda x: x.mean((1, 2, 3)).unsqueeze(1))
    gaps = (samples.mean((1, 2, 3)).unsqueeze(1) - images.mean((1, 2, 3))).abs()
    assert torch.equal(found.indices, gaps.argsort(1)[:, :2])
    assert not torch.equal(found.indices, nearest_neighbours(samples, [images], k=2).indices)


def test_features_see_the_mirror_image(generator):
    """The mean of the left half: that of the mirror image is the right half's."""
    samples, images = planted(generator)
    left = nearest_neighbours(samples, [images], k=1, features=lambda x: x[..., :3])
    assert finds_the_plants(left)


def test_a_stream_is_read_once_and_no_more_than_the_best_are_kept(generator):
    samples, read = pictures(generator, 4), []

    def stream():
        for number in range(50):
            read.append(number)
            yield pictures(generator, 10)

    found = nearest_neighbours(samples, stream(), k=3)
    assert read == list(range(50))
    assert [tuple(field.shape) for field in found] == [(4, 3)] * 3
    assert sum(field.untyped_storage().nbytes() for field in found) == 4 * 3 * (8 + 8 + 1)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda x: nearest_neighbours(x, [x], k=0), "k=0"),
        (lambda x: nearest_neighbours(x, [x], k=9), "k=9.*there are 4 images"),
        (lambda x: nearest_neighbours(x, [], k=1), "there are 0 images"),
        (lambda x: nearest_neighbours(x, [x[:, :, :5]]), r"images of shape \(4, 1, 5, 6\).*like the samples"),
        (lambda x: nearest_neighbours((255 * x).byte(), [x]), "samples .*torch.uint8"),
        (lambda x: nearest_neighbours(x, [(255 * x).byte()]), "images .*torch.uint8"),
        (lambda x: nearest_neighbours(x[0], [x]), r"samples of shape \(1, 6, 6\)"),
        (lambda x: nearest_neighbours(x[:0], [x]), "one at least"),
        (lambda x: nearest_neighbours(x, [x / 0], k=1), "144 values of images are NaN or infinite"),
        (lambda x: nearest_neighbours(x, [x], k=1, features=lambda x: x[:1]), "features of 4 images: 1 rows"),
        (lambda x: nearest_neighbours(x, [x], k=1, features=lambda x: x / 0), "144 numbers NaN"),
        (
            lambda x: save_neighbours("unused.png", x, nearest_neighbours(x, [x], k=2), x),
            r"images of shape \(4, 1, 6, 6\)",
        ),
        (
            lambda x: save_neighbours("unused.png", x[:2], nearest_neighbours(x, [x], k=1), x.unsqueeze(1)),
            r"samples \(2, 1, 6, 6\)",
        ),
    ],
)
def test_bad_input_is_refused_with_its_value(make, message, generator):
    with pytest.raises(ValueError, match=message):
        make(pictures(generator, 4) + 1)


def test_the_picture_has_a_row_for_each_sample_a_gap_and_its_neighbours_as_they_were_found(tmp_path, generator):
    """Black images with one white pixel column on the left; the second sample's only neighbour is mirrored."""
    from PIL import Image

    images = torch.zeros(2, 1, 4, 4)
    images[0, :, :, 0], images[1, :, :, 0] = 1.0, 0.5
    samples = torch.stack((images[0], images[1].flip(-1)))
    found = nearest_neighbours(samples, [images], k=1)
    assert found.flipped.tolist() == [[False], [True]]
    save_neighbours(tmp_path / "rows.png", samples, found, images[found.indices], scale=1)
    picture = np.asarray(Image.open(tmp_path / "rows.png").convert("L"))
    assert picture.shape == (2 + 2 * 6, 2 + 3 * 6)  # gaps of two pixels
    rows = [picture[2 + 6 * row : 6 + 6 * row] for row in range(2)]
    tiles = [[row[:, 2 + 6 * column : 6 + 6 * column] for column in range(3)] for row in rows]
    for sample, gap, neighbour in tiles:
        assert (gap == 255).all()
        assert np.array_equal(sample, neighbour)
    assert tiles[0][2][:, 0].tolist() == [255] * 4
    assert tiles[1][2][:, 3].tolist() == [128] * 4
