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
from scorekit.training import TrainingConfig
from tests.scripts import load

NCSN = Path(__file__).resolve().parent.parent / "examples" / "cifar10_ncsn.py"

ncsn = load(NCSN)


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
    assert sk.from_config(config["sampler"]) == ncsn.sampler_of(ncsn.PRESETS["smoke"])
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


def test_the_papers_configuration_field_by_field():
    """ncsn configs/anneal.yml and appendix B.2; the doubled step of the released sampler."""
    paper = ncsn.PRESETS["paper"]
    training = paper.training
    assert (paper.width, paper.grey_width) == (128, 64)
    assert paper.noise == sk.Geometric(sigma_max=1.0, sigma_min=0.01, num_levels=10)
    assert (training.num_steps, training.batch_size, training.seed) == (200_001, 128, 1234)
    assert (training.learning_rate, training.betas, training.adam_eps) == (1e-3, (0.9, 0.999), 1e-8)
    assert (training.weight_decay, training.amsgrad) == (0.0, False)
    assert (training.warmup_steps, training.decay, training.clip_norm, training.ema_decay) == (
        0,
        "constant",
        None,
        None,
    )
    assert (training.checkpoint_every, training.keep_every, training.log_every) == (5000, 5000, 100)
    assert (training.accumulate, training.precision) == (1, "no")
    assert ncsn.sampler_of(paper) == sk.AnnealedMCMC(
        sk.Unadjusted(sk.Langevin()), paper.noise, sk.SigmaSquared(2e-5, sigma_min=0.01), 100, start=sk.Uniform(0, 1)
    )
    steps = [ncsn.sampler_of(paper).step_size(sigma, sk.base.Point(sk.base.Target(lambda x: x), torch.zeros(1, 1)))
             for sigma in paper.noise.levels().tolist()]  # fmt: skip
    assert [float(h) for h in steps[:2]] == pytest.approx([0.2, 0.071876273], rel=1e-6)


def test_colour_images_are_flipped_and_grey_ones_are_not():
    colour, _ = ncsn_source(torch.zeros(4, 3, 8, 8, dtype=torch.uint8))
    grey, _ = ncsn_source(torch.zeros(4, 1, 8, 8, dtype=torch.uint8))
    assert "RandomHorizontalFlip(p=0.5)" in repr(colour.transform)
    assert repr(grey.transform) == "Compose(transforms=(Dequantize(levels=256),))"
    objective = ncsn.build(colour, ncsn.PRESETS["paper"]), ncsn.build(grey, ncsn.PRESETS["paper"])
    assert [each.model.net.width for each in objective] == [128, 64]
    assert objective[0].estimator == sk.DenoisingScoreMatching()
    assert objective[0].weight is None  # sigma^2, since there are several levels


def ncsn_source(pixels):
    """A folder's worth of images through the example's own door."""
    images = sk.data.Images(pixels)
    original, ncsn.open_images = ncsn.open_images, lambda spec, split="train": images
    try:
        return ncsn.open_data("anything", ncsn.PRESETS["paper"])
    finally:
        ncsn.open_images = original


def test_options_replace_the_presets_numbers():
    chosen = ncsn.with_options(ncsn.PRESETS["paper"], steps=1, batch_size=2, keep_every=7, seed=0, num_samples=None)
    assert chosen.training == TrainingConfig(
        num_steps=1, batch_size=2, seed=0, log_every=100, validate_every=1, checkpoint_every=5000, keep_every=7
    )
    assert chosen.num_samples == 2
    assert ncsn.with_options(ncsn.PRESETS["digits"], None, None, None, None, None) == ncsn.PRESETS["digits"]
    assert ncsn.with_options(ncsn.PRESETS["digits"], None, 8, None, None, 100).num_samples == 100


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
        (("--num-samples", "0"), "--num-samples 0: expected at least one"),
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
        ncsn.open_data(str(tmp_path), ncsn.PRESETS["smoke"])
    (tmp_path / "test" / "00.png").unlink()
    (tmp_path / "test").rmdir()
    source, held_out = ncsn.open_data(str(tmp_path / "train"), ncsn.PRESETS["smoke"])
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
