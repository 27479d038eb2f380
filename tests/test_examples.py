"""The examples run, with tiny configurations, and the flagship's presets are what they claim."""

import json
import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

import scorekit as sk
from tests.scripts import load

NCSN = Path(__file__).resolve().parent.parent / "examples" / "cifar10_ncsn.py"

ncsn = load(NCSN)
SMOKE = sk.make("recipes", ncsn.PRESETS["smoke"])


def run(*arguments: str, launcher: tuple[str, ...] = (), timeout: int = 120) -> subprocess.CompletedProcess:
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "ACCELERATE_USE_CPU": "1"}
    command = [sys.executable, *launcher, str(NCSN), *arguments]
    return subprocess.run(command, env=environment, capture_output=True, text=True, timeout=timeout, check=False)


@pytest.fixture(scope="module")
def smoke(tmp_path_factory) -> Path:
    """One finished smoke run, on one thread."""
    out = tmp_path_factory.mktemp("smoke")
    result = run("--preset", "smoke", "--out", str(out), "--device", "cpu")
    assert result.returncode == 0, result.stderr
    return out


def test_smoke_writes_everything(smoke):
    summary = json.loads((smoke / "summary.json").read_text())
    assert summary["steps"] == summary["steps_of_last_call"] == 20
    assert summary["evaluations_per_sample"] == 10 * 2 + 1
    assert summary["images_per_second"] > 0
    assert len(summary["held_out_losses"]) == 10
    assert summary["seed"] == 0
    assert summary["versions"]["torch"] == torch.__version__
    assert np.load(smoke / "samples.npy").shape == (16, 1, 8, 8)
    with Image.open(smoke / "samples.png") as grid, Image.open(smoke / "trajectory.png") as trajectory:
        assert grid.size == (2 + 4 * 66, 2 * 2 + 66 * 5 + 8)  # a row of real images, a gap, 4 x 4 samples
        assert trajectory.size == (2 + 11 * 66, 2 + 8 * 66)
    with Image.open(smoke / "samples.gif") as animation:
        assert animation.n_frames > 10
    lines = [json.loads(line) for line in (smoke / "metrics.jsonl").read_text().splitlines()]
    assert [line["step"] for line in lines if "step" in line] == [5, 10, 15, 20]
    levels = [line for line in lines if "signal_to_noise" in line]
    assert [line["sigma"] for line in levels] == pytest.approx(sk.Geometric().levels().tolist())
    config = json.loads((smoke / "config.json").read_text())
    assert sk.from_config(config["sampler"]) == sk.make("recipes", ncsn.PRESETS["smoke"]).sampler()
    assert isinstance(sk.load(smoke / "checkpoint"), sk.DirectScore)


def test_running_it_again_draws_the_same_samples_without_training(smoke, tmp_path):
    before = np.load(smoke / "samples.npy")
    facts = json.loads((smoke / "summary.json").read_text())
    log = (smoke / "metrics.jsonl").read_text().count('"step": 20')
    ncsn.main(preset="smoke", out=smoke, device="cpu")
    again = json.loads((smoke / "summary.json").read_text())
    for name in ("steps", "training_seconds", "held_out_losses", "images_per_second"):
        assert again[name] == facts[name]  # what was trained stays on record
    assert (smoke / "metrics.jsonl").read_text().count('"step": 20') == log == 1
    np.testing.assert_allclose(np.load(smoke / "samples.npy"), before, rtol=0, atol=1e-5)
    ncsn.main(preset="smoke", out=tmp_path, device="cpu", sample_only=smoke / "checkpoint", num_samples=8)
    np.testing.assert_allclose(np.load(tmp_path / "samples.npy"), before[:8], rtol=0, atol=1e-5)
    ncsn.main(preset="smoke", out=tmp_path, device="cpu", sample_only=smoke / "checkpoint", weights="raw")
    assert not np.allclose(np.load(tmp_path / "samples.npy"), before, rtol=0, atol=1e-5)


def test_no_resume_refuses_a_run_that_is_there(smoke):
    with pytest.raises(ValueError, match="found one at step 20"):
        ncsn.main(preset="smoke", out=smoke, device="cpu", resume=False)


def test_sigterm_saves_and_the_same_command_finishes_bit_for_bit(smoke, tmp_path):
    command = [sys.executable, str(NCSN), "--preset", "smoke", "--device", "cpu", "--out", str(tmp_path)]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    process = subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, text=True)
    log, deadline = tmp_path / "metrics.jsonl", time.monotonic() + 100
    while not (log.exists() and log.read_text()):  # the line of step 5; a checkpoint would come at step 10
        assert process.poll() is None, "it ended before it could be stopped"
        assert time.monotonic() < deadline
        time.sleep(0.01)
    process.send_signal(signal.SIGTERM)
    printed, _ = process.communicate(timeout=60)
    assert process.returncode == 0
    assert "SIGTERM: saved at step" in printed
    assert not (tmp_path / "samples.png").exists()
    resumed = run("--preset", "smoke", "--device", "cpu", "--out", str(tmp_path))
    assert resumed.returncode == 0, resumed.stderr
    assert 0 < json.loads((tmp_path / "summary.json").read_text())["steps_of_last_call"] < 20
    for name in ("model.safetensors", "ema.safetensors"):
        one, other = (each / "checkpoint" / "step-20" / name for each in (smoke, tmp_path))
        assert one.read_bytes() == other.read_bytes()
    assert np.array_equal(np.load(tmp_path / "samples.npy"), np.load(smoke / "samples.npy"))


def test_two_processes_draw_the_images_of_one(smoke, tmp_path):
    arguments = (
        "--preset",
        "smoke",
        "--sample-only",
        str(smoke / "checkpoint"),
        "--num-samples",
        "40",
        "--device",
        "cpu",
    )
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = str(probe.getsockname()[1])
    launcher = ("-m", "torch.distributed.run", "--nproc-per-node", "2", "--master-port", port)
    two = run(*arguments, "--out", str(tmp_path / "two"), launcher=launcher)
    assert two.returncode == 0, two.stderr
    one = run(*arguments, "--out", str(tmp_path / "one"))
    assert one.returncode == 0, one.stderr
    assert np.array_equal(np.load(tmp_path / "one" / "samples.npy"), np.load(tmp_path / "two" / "samples.npy"))


def test_what_a_user_can_mend_is_one_line(smoke, tmp_path):
    for arguments, said in (
        (("--data", "nowhere"), "nowhere"),
        (("--sample-only", str(smoke)), "did you mean"),
        (("--num-samples", "0"), "num_samples=0): expected at least one"),
    ):
        result = run("--preset", "smoke", "--out", str(tmp_path / "out"), *arguments)
        assert result.returncode == 1
        assert "Traceback" not in result.stderr
        assert result.stderr.strip().splitlines()[-1].startswith("error: ")
        assert said in result.stderr


def test_bad_requests_are_refused_before_training(tmp_path):
    with pytest.raises(ValueError, match="keeps no moving average"):
        ncsn.main(preset="paper", data="embedded", out=tmp_path, weights="ema")
    with pytest.raises(ValueError, match="at least one"):
        ncsn.main(preset="smoke", out=tmp_path, num_samples=0)
    with pytest.raises(ValueError, match="num_steps"):
        ncsn.main(preset="smoke", out=tmp_path, steps=0)
    (tmp_path / "file").touch()
    with pytest.raises(ValueError, match="it is a file"):
        ncsn.main(preset="smoke", out=tmp_path / "file")


def test_fewer_steps_than_trained_are_refused(smoke):
    with pytest.raises(ValueError, match="at step 20, beyond num_steps = 10"):
        ncsn.main(preset="smoke", out=smoke, device="cpu", steps=10)


def test_a_damaged_test_split_is_an_error(tmp_path):
    (tmp_path / "train").mkdir()
    (tmp_path / "test").mkdir()
    for i in range(12):
        Image.fromarray(np.full((8, 8), 20 * i, dtype=np.uint8)).save(tmp_path / "train" / f"{i:02}.png")
    (tmp_path / "test" / "00.png").write_bytes(b"garbage")
    with pytest.raises(sk.data.DataError, match=r"00\.png"):
        SMOKE.open(tmp_path)
    (tmp_path / "test" / "00.png").unlink()
    (tmp_path / "test").rmdir()
    source, held_out = SMOKE.open(tmp_path / "train")
    assert (len(source), len(held_out)) == (11, 1)


def test_sample_only_takes_the_sampler_of_the_run(smoke, tmp_path):
    ncsn.main(preset="digits", out=tmp_path, device="cpu", sample_only=smoke / "checkpoint", num_samples=2)
    assert json.loads((tmp_path / "summary.json").read_text())["evaluations_per_sample"] == 21


def test_a_wrong_preset_is_one_clear_line():
    result = run("--preset", "papre")
    assert result.returncode != 0
    assert "papre" in result.stdout + result.stderr
    assert "paper" in result.stdout + result.stderr
    assert "Traceback" not in result.stderr
