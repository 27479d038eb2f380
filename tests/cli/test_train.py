"""`scorekit train`: a recipe by name or from a file, with other numbers, in one folder."""

import json
import os
import signal
import time
from pathlib import Path

import numpy as np
import pytest

import scorekit as sk
from scorekit.cli import main
from tests.cli.test_errors import process

SMOKE = "digits-ncsn-smoke"
TINY = ("--steps", 3, "--batch-size", 4, "--device", "cpu")


@pytest.fixture(scope="module")
def trained(tmp_path_factory) -> Path:
    """One finished run."""
    out = tmp_path_factory.mktemp("trained") / "run"
    assert main(["train", SMOKE, "--out", str(out), *map(str, TINY)]) == 0
    return out


def test_everything_goes_to_one_folder(trained):
    written = {"checkpoint", "config.json", "metrics.jsonl", "samples.gif", "samples.npy", "samples.png"}
    assert written | {"summary.json", "trajectory.png"} == {path.name for path in trained.iterdir()}
    config = json.loads((trained / "config.json").read_text())
    assert config["recipe"] == SMOKE
    assert (config["training"]["num_steps"], config["training"]["batch_size"]) == (3, 4)


def test_the_same_command_goes_on_and_no_resume_refuses(cli, trained):
    result = cli("train", SMOKE, "--out", trained, *TINY)
    assert result.code == 0
    assert result.out.startswith(f"{trained}: 3 steps; samples.png")
    assert json.loads((trained / "summary.json").read_text())["steps"] == 3
    assert cli("train", SMOKE, "--out", trained, *TINY, "--no-resume").fails(1, "found one at step 3")


def test_a_sample_of_the_same_seed_is_that_of_the_run(cli, trained, tmp_path):
    cli("sample", trained, "--num-samples", 4, "--out", tmp_path / "x.npy")
    same, other = np.load(tmp_path / "x.npy"), np.load(trained / "samples.npy")
    np.testing.assert_allclose(same.clip(0, 1), other, rtol=0, atol=1e-5)
    cli("sample", trained, "--num-samples", 4, "--weights", "raw", "--out", tmp_path / "raw.npy")
    assert np.abs(np.load(tmp_path / "raw.npy") - same).max() > 1e-3


@pytest.mark.slow
def test_options_and_files_reach_the_run(cli, trained, tmp_path):
    """The run's own config.json is a recipe, and so is a name with other parameters."""
    short = tmp_path / "short.json"
    short.write_text(json.dumps({"recipe": SMOKE, "params": {"width": 2, "training": {"learning_rate": 0.01}}}))
    options = ("--seed", 7, "--num-samples", 2, "--keep-every", 2, *TINY)
    assert cli("train", short, "--out", tmp_path / "a", *options).code == 0
    config = json.loads((tmp_path / "a" / "config.json").read_text())
    assert config["training"]["learning_rate"] == 0.01
    assert (config["training"]["seed"], config["training"]["keep_every"], config["num_samples"]) == (7, 2, 2)
    assert sk.load(tmp_path / "a" / "checkpoint").net.width == 2
    assert np.load(tmp_path / "a" / "samples.npy").shape == (2, 1, 8, 8)
    assert cli("train", trained / "config.json", "--out", tmp_path / "b", "--num-samples", 1).code == 0
    same, other = (sk.load(folder / "checkpoint").state_dict() for folder in (trained, tmp_path / "b"))
    assert all((same[name] == other[name]).all() for name in same)


@pytest.mark.parametrize(
    ("arguments", "code", "said"),
    [
        (("digits-ncsm",), 2, ("no recipe is named 'digits-ncsm'", "did you mean 'digits-ncsn'")),
        ((SMOKE, "--steps", "0"), 2, ("--steps",)),
        ((SMOKE, "--batch-size", "-3"), 2, ("--batch-size",)),
        ((SMOKE, "--device", "gpu"), 2, ("--device gpu",)),
        ((SMOKE, "--weights", "mean"), 2, ("mean", "ema")),
        (("recipe.json",), 2, ("recipe.json", "--out")),
        (("nowhere.json", "--out", "x"), 1, ("nowhere.json", "cannot be read")),
        (("broken.json", "--out", "x"), 1, ("broken.json", "expected JSON")),
        (("foreign.json", "--out", "x"), 1, ("foreign.json", "'epochs'")),
        ((SMOKE, "--data", "nowhere", "--out", "x"), 1, ("nowhere", "embedded")),
        (("celeba32-ncsn", "--out", "x"), 1, ("data",)),
        ((SMOKE, "--out", "broken.json"), 1, ("broken.json",)),
    ],
)
def test_what_cannot_be_is_refused_in_one_line(cli, tmp_path, monkeypatch, arguments, code, said):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "broken.json").write_text("{")
    (tmp_path / "foreign.json").write_text('{"recipe": "digits-ncsn", "epochs": 3}')
    assert cli("train", *arguments).fails(code, *said)
    assert list(tmp_path.rglob("checkpoint")) == []


@pytest.mark.slow
@pytest.mark.skipif(os.name == "nt", reason="POSIX signals")
@pytest.mark.parametrize(("name", "code"), [("SIGINT", 130), ("SIGTERM", 143)])
def test_a_signal_saves_and_is_the_exit_code(tmp_path, name, code):
    running = process("train", SMOKE, "--out", tmp_path, "--steps", 100_000, "--device", "cpu")
    log, deadline = tmp_path / "metrics.jsonl", time.monotonic() + 100
    while not (log.exists() and log.read_text()):
        assert running.poll() is None, running.stderr.read()
        assert time.monotonic() < deadline
        time.sleep(0.02)
    running.send_signal(signal.Signals[name])
    out, err = running.communicate(timeout=60)
    assert (running.returncode, err) == (code, "")
    assert out.startswith(f"{name}: saved at step ")
    assert json.loads((tmp_path / "checkpoint" / "latest.json").read_text())["checkpoints"]
    assert not (tmp_path / "samples.png").exists()
