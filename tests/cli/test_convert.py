"""`scorekit convert`: the authors' file to a checkpoint that every other command takes, and back bit for bit."""

import numpy as np
import pytest
import torch

import scorekit as sk
from scorekit.interop import stored_sampler

NOISE = sk.Geometric(1.0, 0.01, 10)


@pytest.fixture(scope="module")
def authors(tmp_path_factory):
    """A checkpoint as the released code of NCSN writes it, of a small network for 28 by 28 grey pictures."""
    with torch.random.fork_rng():
        torch.manual_seed(3)
        net = sk.networks.RefineNet(image_shape=(1, 28, 28), width=4, noise=NOISE)
    optimizer = torch.optim.Adam(net.parameters(), lr=1e-3)
    state = {f"module.{name}": value for name, value in net.state_dict().items() if name != "noise_levels"}
    path = tmp_path_factory.mktemp("authors") / "checkpoint.pth"
    torch.save([state, optimizer.state_dict()], path)
    return path


@pytest.fixture
def converted(cli, authors, tmp_path):
    assert cli("convert", authors, "--out", tmp_path / "converted").code == 0
    return tmp_path / "converted"


def test_a_converted_checkpoint_holds_the_weights_and_says_what_it_is(cli, authors, tmp_path):
    result = cli("convert", authors, "--out", tmp_path / "converted")
    assert (result.code, result.err) == (0, "")
    assert "refinenet(image_shape=[1, 28, 28]" in result.out
    assert "the authors': annealed-mcmc(" in result.out
    assert "10 from 1 to 0.01" in result.out
    theirs = torch.load(authors, weights_only=True)[0]
    ours = sk.load(tmp_path / "converted").net.state_dict()
    assert all(torch.equal(ours[name.removeprefix("module.")], value) for name, value in theirs.items())


def test_the_way_back_gives_every_tensor_and_the_order(cli, authors, converted, tmp_path):
    result = cli("convert", converted, "--to-authors", "--out", tmp_path / "back.pth")
    assert (result.code, result.err) == (0, "")
    (theirs, optimizer), (back, optimizer_back) = (
        torch.load(path, weights_only=True) for path in (authors, tmp_path / "back.pth")
    )
    assert list(theirs) == list(back)
    assert all(torch.equal(theirs[name], back[name]) for name in theirs)
    assert optimizer == optimizer_back
    assert cli("convert", converted, "--to-authors", "--out", tmp_path / "back.pth").fails(1, "back.pth")


def test_it_is_sampled_as_the_authors_did_and_by_any_name(cli, converted, tmp_path):
    from scorekit.cli.samplers import Request, choose, run_sampler

    expected = sk.annealed_langevin(
        NOISE, step_size=sk.SigmaSquared(2e-5, sigma_min=0.01), steps_per_level=100, start=sk.Uniform(0, 1)
    )
    assert run_sampler(converted) == stored_sampler(converted) == expected
    model = sk.load(converted)
    assert choose(Request("heun"), model, converted)[0].noise == NOISE
    options = ("--sampler", "heun", "--num-levels", 2, "--param", "start=uniform", "--num-samples", 2)
    assert cli("sample", converted, *options, "--out", tmp_path / "x.npy").code == 0
    assert np.load(tmp_path / "x.npy").shape == (2, 1, 28, 28)


def test_a_stored_sampler_comes_before_the_run_of_a_folder_above(cli, authors, run_folder, tmp_path):
    """A converted checkpoint inside the folder of some run is not that run's."""
    from scorekit.cli.samplers import run_sampler

    (tmp_path / "config.json").write_text((run_folder / "config.json").read_text())
    assert cli("convert", authors, "--out", tmp_path / "converted").code == 0
    assert run_sampler(tmp_path / "converted") == stored_sampler(tmp_path / "converted")


def test_what_a_file_does_not_tell_is_given(cli, authors, tmp_path):
    noise = '{"name": "geometric", "params": {"sigma_max": 2.0, "sigma_min": 0.02, "num_levels": 10}}'
    out = tmp_path / "converted"
    options = ("--image-size", "20,24", "--noise", noise, "--no-centered", "--out", out)
    assert cli("convert", authors, *options).code == 0
    net = sk.load(out).net
    assert (tuple(net.image_shape), net.centered) == ((1, 20, 24), False)
    assert net.noise == sk.Geometric(2.0, 0.02, 10)


@pytest.mark.parametrize(
    ("arguments", "code", "said"),
    [
        (("nowhere.pth",), 1, ("nowhere.pth", "expected a checkpoint file")),
        (("folder",), 1, ("folder", "--to-authors")),
        (("garbage.pth",), 1, ("garbage.pth",)),
        (("foreign.pth",), 1, ("foreign.pth",)),
        (("garbage.pth", "--image-size", "big"), 2, ("--image-size big", "HEIGHT,WIDTH")),
        (("garbage.pth", "--image-size", "1,2,3"), 2, ("--image-size 1,2,3",)),
        (("garbage.pth", "--noise", "geometrik"), 2, ("--noise", "did you mean 'geometric'")),
        (("garbage.pth", "--noise", "[1]"), 2, ("--noise [1]", "name")),
        (("nowhere", "--to-authors"), 1, ("nowhere", "found nothing")),
    ],
)
def test_what_cannot_be_is_refused_in_one_line(cli, tmp_path, monkeypatch, arguments, code, said):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "folder").mkdir()
    (tmp_path / "garbage.pth").write_bytes(b"garbage")
    torch.save([{"module.fc.weight": torch.zeros(3, 3)}], tmp_path / "foreign.pth")
    assert cli("convert", *arguments, "--out", "out").fails(code, *said)
    assert not (tmp_path / "out").exists()


def test_out_must_be_named_and_new(cli, authors, run_folder, converted, tmp_path):
    assert cli("convert", authors).fails(2, "--out")
    assert cli("convert", authors, "--out", converted).fails(1, "holds checkpoints already")
    assert cli("convert", run_folder, "--to-authors", "--out", tmp_path / "x.pth").fails(1, "origin.json")
    assert not (tmp_path / "x.pth").exists()
