import numpy as np
import pytest
import torch
from PIL import Image

from scorekit import pictures


def read(path) -> np.ndarray:
    return np.asarray(Image.open(path).convert("RGB"))


def test_grid_places_images_row_by_row(tmp_path):
    images = torch.tensor([0.0, 0.2, 0.4, 0.6, 0.8]).reshape(5, 1, 1, 1).expand(5, 1, 4, 6)
    pictures.save_grid(tmp_path / "grid.png", images, columns=3, scale=2)
    sheet = read(tmp_path / "grid.png")
    gap = 2
    assert sheet.shape == (2 * (8 + gap) + gap, 3 * (12 + gap) + gap, 3)
    centres = sheet[gap + 4 :: 8 + gap, gap + 6 :: 12 + gap, 0]
    assert centres.tolist() == [[0, 51, 102], [153, 204, 255]]  # the sixth place is blank: white


def test_grid_keeps_colours_and_clips(tmp_path):
    image = torch.stack([torch.full((4, 4), -1.0), torch.full((4, 4), 0.5), torch.full((4, 4), 2.0)])
    pictures.save_grid(tmp_path / "grid.png", image[None], scale=1)
    assert read(tmp_path / "grid.png")[3, 3].tolist() == [0, 128, 255]


def test_grid_puts_the_reference_above(tmp_path):
    pictures.save_grid(tmp_path / "grid.png", torch.zeros(4, 1, 4, 4), scale=1, reference=torch.ones(9, 1, 4, 4) * 0.6)
    sheet = read(tmp_path / "grid.png")
    assert sheet[4, 4, 0] == 153
    assert sheet[-5, 4, 0] == 0


def test_trajectory_has_a_row_per_chain_and_time_from_left_to_right(tmp_path):
    states = (torch.arange(3)[:, None] * 0.4 + torch.arange(2)[None] * 0.1).reshape(3, 2, 1, 1, 1).expand(3, 2, 1, 4, 4)
    pictures.save_trajectory(tmp_path / "t.png", states, scale=1)
    assert read(tmp_path / "t.png")[4::6, 4::6, 0].tolist() == [[0, 102, 204], [26, 128, 230]]


def test_comparison_has_a_row_per_image_what_is_known_on_the_left_and_the_original_on_the_right(tmp_path):
    level = torch.tensor([[0.0, 0.2, 0.4, 0.6], [0.1, 0.3, 0.5, 0.7]])
    images = level.reshape(2, 4, 1, 1, 1).expand(2, 4, 1, 4, 4)
    pictures.save_comparison(tmp_path / "c.png", images[:, 0], images[:, 1:3], images[:, 3], scale=1)
    sheet = read(tmp_path / "c.png")[..., 0]
    assert sheet.shape == (2 + 2 * 6, (2 + 6) + 8 + (2 + 2 * 6) + 8 + (2 + 6))
    assert sheet[4::6, [4, 20, 26, 42]].tolist() == [[0, 51, 102, 153], [26, 76, 128, 178]]
    assert (sheet[:, 8:16] == 255).all()
    with pytest.raises(ValueError, match=r"\(1, 1, 4, 4\) beside completions of shape \(2, 2, 1, 4, 4\)"):
        pictures.save_comparison(tmp_path / "c.png", images[:1, 0], images[:, 1:3], images[:, 3])
    with pytest.raises(ValueError, match=r"r, k, c, h, w"):
        pictures.save_comparison(tmp_path / "c.png", images[:, 0], images[:, 1], images[:, 3])


def test_gif_has_a_frame_per_time_and_holds_the_last(tmp_path):
    states = torch.linspace(0, 1, 5).reshape(5, 1, 1, 1, 1).expand(5, 4, 1, 4, 4)
    pictures.save_gif(tmp_path / "a.gif", states, scale=1, milliseconds=50, hold=900)
    with Image.open(tmp_path / "a.gif") as gif:
        assert gif.n_frames == 5
        shown = []
        for frame in range(5):
            gif.seek(frame)
            shown.append((gif.info["duration"], gif.convert("L").getpixel((4, 4))))
    assert [duration for duration, _ in shown] == [50, 50, 50, 50, 900]
    assert [grey for _, grey in shown] == pytest.approx([0, 64, 128, 191, 255], abs=2)


def test_bad_images_are_refused():
    with pytest.raises(ValueError, match=r"\(2, 4, 4\).*b, c, h, w"):
        pictures.save_grid("x.png", torch.zeros(2, 4, 4))
    with pytest.raises(ValueError, match="c = 1 or 3"):
        pictures.save_grid("x.png", torch.zeros(2, 2, 4, 4))
    with pytest.raises(ValueError, match="1 of 32 pixels are NaN"):
        pictures.save_grid("x.png", torch.zeros(2, 1, 4, 4).index_put((torch.tensor(0),) * 4, torch.tensor(torch.nan)))
    with pytest.raises(ValueError, match=r"t, b, c, h, w"):
        pictures.save_gif("x.gif", torch.zeros(2, 1, 4, 4))
    with pytest.raises(ValueError, match="floating point"):
        pictures.save_grid("x.png", torch.zeros(2, 1, 4, 4, dtype=torch.uint8))
    for bad in ({"scale": 0}, {"columns": 0}, {"scale": 1.5}, {"columns": -1}):
        with pytest.raises(ValueError, match="whole numbers >= 1"):
            pictures.save_grid("x.png", torch.zeros(2, 1, 4, 4), **bad)
