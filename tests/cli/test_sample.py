"""`scorekit sample`: it draws what the library draws, where it was told to, and refuses the rest in one line."""

import json

import numpy as np
import pytest
import torch
from PIL import Image

import scorekit as sk
from tests.cli.conftest import SAMPLER, save_run


def drawn(model, sampler, number: int, seed: int) -> np.ndarray:
    return sk.sample(sampler, model, (number, 1, 8, 8), generator=sk.PerChain(seed).fork("samples")).numpy()


def test_an_array_holds_what_the_library_draws(cli, run_folder, tmp_path):
    """The mutants: another seed, another sampler."""
    model = sk.load(run_folder / "checkpoint")
    for name, sampler in ((None, SAMPLER), ("heun", sk.heun(SAMPLER.noise))):
        options = [] if name is None else ["--sampler", name]
        result = cli("sample", run_folder, "--num-samples", 5, "--seed", 3, "--out", tmp_path / "x.npy", *options)
        assert (result.code, result.err) == (0, "")
        x = np.load(tmp_path / "x.npy")
        assert (x.dtype, x.shape) == (np.float32, (5, 1, 8, 8))
        np.testing.assert_allclose(x, drawn(model, sampler, 5, seed=3), rtol=0, atol=1e-5)
        assert np.abs(x - drawn(model, sampler, 5, seed=4)).max() > 0.1
        assert np.abs(x - drawn(model, sk.ancestral(SAMPLER.noise), 5, seed=3)).max() > 0.1


def test_every_name_of_the_checkpoint_is_the_same(cli, run_folder, tmp_path):
    for number, folder in enumerate((run_folder, run_folder / "checkpoint", run_folder / "checkpoint" / "step-0")):
        assert cli("sample", folder, "--num-samples", 2, "--out", tmp_path / f"{number}.npy").code == 0
    first, *others = (np.load(tmp_path / f"{number}.npy") for number in range(3))
    assert all(np.array_equal(first, other) for other in others)


def test_the_batch_size_changes_nothing_but_rounding(cli, run_folder, tmp_path):
    for size in (7, 2):
        cli("sample", run_folder, "--num-samples", 7, "--batch-size", size, "--out", tmp_path / f"{size}.npy")
    np.testing.assert_allclose(np.load(tmp_path / "7.npy"), np.load(tmp_path / "2.npy"), rtol=0, atol=1e-5)


def test_it_says_what_it_did(cli, run_folder, tmp_path):
    out = tmp_path / "deep" / "x.png"
    result = cli("sample", run_folder, "--num-samples", 9, "--sampler", "heun", "--out", out)
    assert result.out.startswith(f"{out}: 9 samples, 7 evaluations of the score for each, ")  # 2 (4 - 1) + 1
    with Image.open(out) as picture:
        assert picture.size == (2 + 3 * 66, 2 + 3 * 66)


def test_a_folder_gets_one_picture_each_and_goes_on(cli, run_folder, tmp_path):
    command = ("sample", run_folder, "--num-samples", 5, "--batch-size", 2, "--out", tmp_path / "drawn")
    assert cli(*command).code == 0
    pictures = sorted((tmp_path / "drawn").glob("*.png"))
    assert [path.name for path in pictures] == [f"{number:06}.png" for number in range(5)]
    before = [path.read_bytes() for path in pictures]
    expected = drawn(sk.load(run_folder / "checkpoint"), SAMPLER, 5, seed=0).clip(0, 1)
    shown = np.stack([np.asarray(Image.open(path)) for path in pictures]) / 255
    np.testing.assert_allclose(shown, expected[:, 0], rtol=0, atol=0.5 / 255 + 1e-4)
    pictures[3].unlink()
    assert cli(*command).code == 0
    assert [path.read_bytes() for path in pictures] == before
    assert cli(*command, "--seed", 1).fails(1, "seed", str(tmp_path / "drawn"))


def test_raw_and_averaged_weights_are_told_apart(cli, run_folder, tmp_path):
    result = cli("sample", run_folder, "--weights", "ema", "--out", tmp_path / "x.npy")
    assert result.fails(1, "ema.safetensors", "has none")
    assert cli("sample", run_folder, "--weights", "raw", "--num-samples", 1, "--out", tmp_path / "x.npy").code == 0


@pytest.fixture
def points(tmp_path):
    """A run on points of the plane: no pictures."""
    model = sk.ScaledScore(sk.networks.MLP(event_shape=(2,)))
    model.set_moments(torch.zeros(2), torch.ones(2))
    noise = sk.Geometric(4.0, 0.1, 5)
    return save_run(tmp_path / "run", model, noise, sk.heun(noise))


def test_samples_that_are_no_pictures_go_to_an_array_only(cli, points, tmp_path):
    assert cli("sample", points, "--num-samples", 3, "--out", tmp_path / "x.npy").code == 0
    assert np.load(tmp_path / "x.npy").shape == (3, 2)
    assert cli("sample", points, "--out", tmp_path / "x.png").fails(1, "samples of shape (2,) make no picture", ".npy")


def test_a_label_draws_one_class(cli, tmp_path):
    """The mutant: another label."""
    model = sk.ScaledScore(sk.networks.MLP(event_shape=(1, 4, 4), width=8, num_classes=3))
    model.set_moments(torch.zeros(1, 4, 4), torch.ones(1, 4, 4))
    noise = sk.Geometric(4.0, 0.1, 5)
    save_run(tmp_path / "run", model, noise, sk.heun(noise))
    command = ("sample", tmp_path / "run", "--num-samples", 3, "--seed", 2)
    assert cli(*command, "--label", 1, "--out", tmp_path / "x.npy").code == 0
    expected = [
        sk.sample(sk.heun(noise), model.given(label), (3, 1, 4, 4), generator=sk.PerChain(2).fork("samples")).numpy()
        for label in (1, 2)
    ]
    x = np.load(tmp_path / "x.npy")
    np.testing.assert_allclose(x, expected[0], rtol=0, atol=1e-5)
    assert np.abs(x - expected[1]).max() > 1e-2
    assert cli(*command, "--out", tmp_path / "x.npy").code == 1  # it needs a label
    assert cli(*command, "--label", 1, "--out", tmp_path / "drawn").code == 0
    assert len(list((tmp_path / "drawn").glob("*.png"))) == 3
    (tmp_path / "drawn" / "000001.png").unlink()
    assert cli(*command, "--label", 1, "--out", tmp_path / "drawn").code == 0  # it goes on
    assert len(list((tmp_path / "drawn").glob("*.png"))) == 3
    assert cli(*command, "--label", 2, "--out", tmp_path / "drawn").fails(1, "label 1", "label 2", "another folder")


def test_chains_that_ran_off_are_no_samples_and_no_file_is_left(cli, run_folder, tmp_path):
    """The mutant: a step that is small enough."""
    command = (
        "sample",
        run_folder,
        "--sampler",
        "annealed-langevin",
        "--num-samples",
        2,
        "--param",
        "steps_per_level=2",
    )
    for name in ("x.npy", "x.png"):
        failed = cli(*command, "--param", "step_size=1e38", "--out", tmp_path / name)
        assert failed.fails(1, "2 of 2 chains are not finite")
        assert not (tmp_path / name).exists()
        assert cli(*command, "--param", "step_size=1e-6", "--out", tmp_path / name).code == 0


def test_no_folder_is_made_for_a_checkpoint_that_is_not_there(cli, tmp_path):
    assert cli("sample", tmp_path / "nowhere", "--out", tmp_path / "drawn").fails(1, "found nothing")
    assert not (tmp_path / "drawn").exists()


def test_the_shape_comes_from_the_network_where_the_moments_are_unknown(cli, tmp_path):
    """A converted checkpoint of the authors' has none."""
    noise = SAMPLER.noise
    save_run(tmp_path, sk.DirectScore(sk.networks.RefineNet((1, 8, 8), noise, width=4)), noise, SAMPLER)
    assert cli("sample", tmp_path, "--num-samples", 2, "--out", tmp_path / "x.npy").code == 0
    assert np.load(tmp_path / "x.npy").shape == (2, 1, 8, 8)
    assert cli("sample", tmp_path, "--sampler", "heun", "--out", tmp_path / "x.npy").fails(1, "moments", "Uniform")
    with_start = ("--sampler", "heun", "--param", "start=uniform", "--num-samples", 2)
    assert cli("sample", tmp_path, *with_start, "--out", tmp_path / "x.npy").code == 0


@pytest.mark.parametrize(
    ("options", "code", "said"),
    [
        (("--sampler", "hean"), 2, ("no sampler is named 'hean'", "did you mean 'heun'")),
        (("--sampler", "heun", "--param", "stat=uniform"), 2, ("'stat'", "did you mean 'start'")),
        (("--sampler", "heun", "--param", "start"), 2, ("--param start", "key=value")),
        (("--param", "start=uniform"), 2, ("--sampler NAME",)),
        (("--sampler", "nowhere.json"), 1, ("nowhere.json", "cannot be read")),
        (("--sampler", "heun", "--evaluations", "2"), 2, ("--evaluations 2", "takes 3 for 2")),
        (("--device", "gpu"), 2, ("--device gpu",)),
        (("--seed", "-1"), 2, ("--seed",)),
        (("--out", "x.jpg"), 2, ("--out x.jpg", "FILE.png, FILE.npy or a folder")),
        (("--label", "3"), 1, ("condition",)),
    ],
)
def test_what_cannot_be_is_refused_in_one_line(cli, run_folder, tmp_path, monkeypatch, options, code, said):
    monkeypatch.chdir(tmp_path)
    assert cli("sample", run_folder, *options).fails(code, *said)
    assert list(tmp_path.glob("*.png")) == []


def test_a_place_that_cannot_be_written_is_refused_before_anything_is_computed(cli, run_folder, tmp_path, monkeypatch):
    monkeypatch.setattr("scorekit.cli.checkpoints.open_model", lambda *_: pytest.fail("it opened the checkpoint"))
    (tmp_path / "file").touch()
    assert cli("sample", run_folder, "--out", tmp_path / "file" / "x.png").fails(1, "file")
    assert cli("sample", run_folder, "--out", tmp_path / "file").fails(1, "file")
    assert (tmp_path / "file").read_bytes() == b""


@pytest.mark.parametrize("name", ["nowhere", "file", "empty", "damaged", "foreign"])
def test_what_is_no_checkpoint_is_refused_in_one_line(cli, run_folder, tmp_path, name):
    folder = tmp_path / name
    if name == "file":
        folder.touch()
    elif name != "nowhere":
        folder.mkdir()
    if name == "damaged":
        sk.save(folder, sk.load(run_folder / "checkpoint"))
        weights = folder / "step-0" / "model.safetensors"
        weights.write_bytes(weights.read_bytes()[:-1] + b"\x7f")
    if name == "foreign":
        (folder / "latest.json").write_text(json.dumps({"format": "other", "version": 1}))
    assert cli("sample", folder, "--out", tmp_path / "x.png").fails(1, str(folder), "expected")
    assert not (tmp_path / "x.png").exists()
