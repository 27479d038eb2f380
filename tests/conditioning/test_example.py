"""The inpainting example, with a tiny preset: what is known is known, and the picture has its places."""

import json
from pathlib import Path

import pytest
import torch
from PIL import Image

from tests.scripts import load

INPAINTING = Path(__file__).resolve().parents[2] / "examples" / "inpainting.py"
example = load(INPAINTING)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("inpainting")
    example.main(out=out, smoke=True)
    return out


def test_it_draws_what_is_known_completions_and_the_original(folder):
    with Image.open(folder / "inpainting.png") as picture:
        assert picture.size == (2 + 66 + 8 + 2 + 3 * 66 + 8 + 2 + 66, 2 + 2 * 66)
        grey = picture.convert("L")
        row = 2 + 32
        hidden = 2 + 48  # in the right half of the first image
        assert grey.getpixel((hidden, row)) == 128
        # the left half is the same in all of them: the occluded one, three completions, the original
        starts = [2, *(78 + 66 * k for k in range(3)), 286]
        known = {grey.getpixel((start + 10, row)) for start in starts}
        assert len(known) == 1
        assert len({grey.getpixel((78 + 66 * k + 48, row)) for k in range(3)}) > 1
    facts = json.loads((folder / "inpainting.json").read_text())
    assert facts["evaluations"] == 10 * 2 + 1
    assert (facts["mask"], facts["refresh"], facts["num_images"], facts["completions"]) == ("right", "level", 2, 3)
    assert facts["rms_spread_of_hidden_pixels"] > 0


@pytest.mark.parametrize(
    "options",
    [{"kernel": "mala", "mask": "center", "refresh": "step"}, {"sampler": "heun", "mask": "random"}],
    ids=["kernel", "sampler"],
)
def test_another_kernel_or_sampler_takes_the_model_that_is_there(folder, tmp_path, options):
    checkpoint = folder / "digits" / "checkpoint"
    example.main(out=tmp_path, checkpoint=checkpoint, data="embedded", num_images=2, completions=2, **options)
    assert not (tmp_path / "digits").exists()
    facts = json.loads((tmp_path / "inpainting.json").read_text())
    assert facts["mask"] == options["mask"]
    assert facts["evaluations"] == (10 * 2 * 3 if "kernel" in options else 2 * 9 + 1)  # fresh noise: 3 a MALA step
    sampler = json.dumps(facts["sampler"])
    assert ("metropolis-adjusted" in sampler) == ("kernel" in options)
    assert ("heun" in sampler) == ("sampler" in options)


def test_the_masks_hide_what_their_names_say():
    hidden = {name: ~example.known_pixels(name, (3, 8, 8)) for name in ("left", "right", "bottom", "center")}
    assert all(each.shape == (3, 8, 8) and torch.equal(each[0], each[2]) for each in hidden.values())
    assert {name: each.double().mean().item() for name, each in hidden.items()} == {
        "left": 0.5, "right": 0.5, "bottom": 0.5, "center": 0.25,
    }  # fmt: skip
    assert hidden["left"][0, 0, 0]
    assert hidden["right"][0, 0, 7]
    assert hidden["bottom"][0, 7, 0]
    assert hidden["center"][0, 2:6, 2:6].all()
    share = (~example.known_pixels("random", (1, 100, 100))).double().mean().item()
    assert share == pytest.approx(0.75, abs=4.9 * (0.75 * 0.25 / 1e4) ** 0.5)


def test_what_is_missing_is_said(tmp_path):
    with pytest.raises(ValueError, match="--checkpoint: give the --data"):
        example.main(out=tmp_path, checkpoint=Path("nowhere"))
    with pytest.raises(ValueError, match="nowhere"):
        example.main(out=tmp_path, checkpoint=Path("nowhere"), data="embedded")
