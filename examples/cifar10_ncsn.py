"""NCSN end to end: learn the score of real images on a ladder of noise levels, then draw new images by annealed
Langevin dynamics.

    python3 run.py examples/cifar10_ncsn.py                                    # real 8x8 digits, minutes on 2 CPU cores
    python3 run.py examples/cifar10_ncsn.py --preset small --data mnist        # about half an hour on 2 CPU cores
    python3 run.py examples/cifar10_ncsn.py --preset paper --data cifar10      # the paper's run; needs GPUs
    torchrun --nproc-per-node 2 examples/cifar10_ncsn.py --preset paper ...    # the same run on two of them

Song and Ermon, "Generative Modeling by Estimating Gradients of the Data Distribution", arXiv 1907.05600.
"""

import json
import platform
import sys
import time
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Literal

import cyclopts
import numpy as np
import torch

import scorekit as sk
from scorekit.data import Compose, DataError, Dequantize, RandomHorizontalFlip, Source, as_source, open_images, split
from scorekit.diagnostics import RecordRun
from scorekit.distributed import sample_on_processes
from scorekit.training import Runtime, TrainingConfig, TrainStep, choose_runtime, train


@dataclass(frozen=True)
class Preset:
    """All the numbers of a run."""

    data: str  # what --data is unless given
    width: int  # of the RefineNet, for colour images
    grey_width: int  # of the RefineNet, for grey ones
    training: TrainingConfig
    noise: sk.Geometric = sk.Geometric(sigma_max=1.0, sigma_min=0.01, num_levels=10)
    epsilon: float = 2e-5  # h at sigma_min; h goes as sigma^2. As released: twice the step that the paper prints
    steps_per_level: int = 100
    denoise: bool = True  # Tweedie's formula after the last level
    num_samples: int = 64


CHUNK = 32  # chains at once on one process
COARSE = sk.Geometric(sigma_max=1.0, sigma_min=0.03, num_levels=8)  # fewer levels, each learned better in few steps

PRESETS = {
    # Embedded real digits, 2 CPU cores: minutes.
    "digits": Preset(
        data="embedded",
        width=16,
        grey_width=16,
        training=TrainingConfig(
            num_steps=2400, batch_size=64, learning_rate=3e-3, warmup_steps=100, decay="cosine", ema_decay=0.995,
            validate_every=400, checkpoint_every=400,
        ),
        noise=COARSE,
        epsilon=0.2 * 0.03**2,  # h / sigma^2 as in the paper's run
        steps_per_level=40,
    ),
    # Real MNIST or CIFAR-10, 2 CPU cores: about half an hour, sampling included.
    "small": Preset(
        data="mnist",
        width=16,
        grey_width=16,
        training=TrainingConfig(
            num_steps=3000, batch_size=64, learning_rate=3e-3, warmup_steps=100, decay="cosine", ema_decay=0.995,
            validate_every=400, checkpoint_every=200,
        ),
        noise=COARSE,
        epsilon=0.2 * 0.03**2,
        steps_per_level=50,
    ),
    # Everything as in appendix B.2 of the paper and the released code: no average, no schedule, no denoising step.
    "paper": Preset(
        data="cifar10",
        width=128,
        grey_width=64,
        training=TrainingConfig(
            num_steps=200_001, batch_size=128, learning_rate=1e-3, seed=1234,
            log_every=100, validate_every=5000, checkpoint_every=5000, keep_every=5000,
        ),
        denoise=False,
    ),
    # Seconds: shows that everything runs.
    "smoke": Preset(
        data="embedded",
        width=4,
        grey_width=4,
        training=TrainingConfig(
            num_steps=20, batch_size=16, ema_decay=0.9,
            log_every=5, validate_every=10, checkpoint_every=10,
        ),
        steps_per_level=2,
        num_samples=16,
    ),
}  # fmt: skip


def open_data(spec: str, preset: Preset) -> tuple[Source, Source]:
    """What is trained on, and as many other images as a batch for the held-out loss of each noise level.

    Grey levels become [0, 1) with uniform noise; colour images are flipped at random (a mirrored digit is no digit).
    """
    images = open_images(spec)
    try:
        held_out = open_images(spec, "test")
    except DataError:  # a test split that is damaged, or is missing where it belongs
        raise
    except ValueError:  # a folder of images without a test split
        images, held_out = split(images, 0.1)
    if held_out.pixels.shape[1:] != images.pixels.shape[1:]:
        shapes = tuple(images.pixels.shape[1:]), tuple(held_out.pixels.shape[1:])
        raise ValueError(f"{spec}: training images of shape {shapes[0]}, test images of shape {shapes[1]}")
    flips = (RandomHorizontalFlip(),) if images.pixels.shape[1] == 3 else ()
    transform = Compose((*flips, Dequantize(images.levels or 256)))
    first = held_out.select(torch.arange(min(preset.training.batch_size, len(held_out))))
    return as_source(images, transform), as_source(first, transform)


def build(source: Source, preset: Preset) -> sk.Objective:
    """The noise-conditional network, and denoising score matching over its levels with weight sigma^2."""
    channels, height, columns = source.take(torch.arange(1)).shape[1:]
    width = preset.grey_width if channels == 1 else preset.width
    net = sk.networks.RefineNet(image_shape=(channels, height, columns), width=width, noise=preset.noise)
    return sk.Objective(sk.DirectScore(net), sk.DenoisingScoreMatching(), preset.noise)


def sampler_of(preset: Preset) -> sk.AnnealedMCMC:
    """Annealed Langevin dynamics from uniform noise."""
    return sk.annealed_langevin(
        preset.noise,
        step_size=sk.SigmaSquared(preset.epsilon, sigma_min=preset.noise.sigma_min),
        steps_per_level=preset.steps_per_level,
        start=sk.Uniform(0, 1),
        final=sk.Denoise() if preset.denoise else sk.Stay(),
    )


def sampler_for(checkpoint: Path, preset: Preset) -> sk.AnnealedMCMC:
    """The sampler of the run that a checkpoint belongs to; the preset's if its config.json is not there."""
    for folder in (checkpoint.parent, checkpoint.parent.parent):  # of OUT/checkpoint, of OUT/checkpoint/step-N
        path = folder / "config.json"
        config = json.loads(path.read_text()) if path.exists() else {}
        if "sampler" in config:
            return sk.from_config(config["sampler"])
    return sampler_of(preset)


def draw(
    model: sk.ScoreModel,
    sampler: sk.AnnealedMCMC,
    runtime: Runtime,
    preset: Preset,
    out: Path,
    reference: torch.Tensor | None = None,
) -> dict:
    """Sample on all processes; the main one writes pictures, and a line of the log for each noise level."""
    if model.moments is None or model.moments[0].ndim != 3:
        raise ValueError("this checkpoint is not one of images: its data's moments are not (channels, height, width)")
    record = RecordRun(model, chains=8, every=max(1, sampler.steps_per_level // 2))
    streams = sk.PerChain(preset.training.seed).fork("samples")
    shape = (preset.num_samples, *model.moments[0].shape)
    start = time.perf_counter()
    x = sample_on_processes(runtime, sampler, record, shape, generator=streams, batch_size=CHUNK, progress=True)
    seconds = time.perf_counter() - start
    if runtime.rank == 0:
        states = torch.cat([record.states, x[None, :8]])
        np.save(out / "samples.npy", x.clamp(0, 1).numpy())
        sk.pictures.save_grid(out / "samples.png", x, columns=16 if len(x) >= 64 else None, reference=reference)
        sk.pictures.save_trajectory(out / "trajectory.png", states[::2])
        sk.pictures.save_gif(out / "samples.gif", states, columns=4)
        with open(out / "metrics.jsonl", "a") as log:
            log.writelines(json.dumps(row._asdict()) + "\n" for row in record.levels(sampler.step_size))
    return {
        "num_samples": len(x),
        "sampling_seconds": round(seconds, 1),
        "evaluations_per_sample": sampler.num_updates(),
    }


def main(
    *,
    preset: Literal["digits", "small", "paper", "smoke"] = "digits",
    data: str | None = None,
    out: Path | None = None,
    resume: bool = True,
    steps: int | None = None,
    batch_size: int | None = None,
    keep_every: int | None = None,
    seed: int | None = None,
    device: str | None = None,
    sample_only: Path | None = None,
    weights: Literal["ema", "raw"] | None = None,
    num_samples: int | None = None,
) -> None:
    """Train NCSN on real images and sample it; everything goes to OUT.

    Args:
        preset: digits (minutes on 2 CPU cores), small (half an hour there), paper (GPUs), smoke (seconds, for a check).
        data: embedded, cifar10 or mnist (downloaded once), or a path: CIFAR-10's binary folder or .tar.gz, MNIST's IDX
            files, CelebA's folder, any folder of images.
        out: the folder to write; runs/PRESET if not given, runs/PRESET-samples with --sample-only.
        resume: go on with the run that is in OUT; with --no-resume a run in OUT is an error.
        steps: train so many steps. A schedule that ends with the run (digits, small) must keep its length to go on.
        batch_size: of all processes together. No more samples than this are drawn unless --num-samples says so.
        keep_every: keep the checkpoint of each so many steps, beside the last two.
        seed: of everything.
        device: cpu, cuda, ...; cuda if there is one and nothing is given, else cpu.
        sample_only: do not train; sample this checkpoint, by the sampler of its run.
        weights: sample with the moving average of the weights, or with the weights as trained.
        num_samples: how many images to draw.
    """
    chosen = with_options(PRESETS[preset], steps, batch_size, keep_every, seed, num_samples)
    if weights == "ema" and sample_only is None and chosen.training.ema_decay is None:
        raise ValueError(f"--weights ema: the preset {preset} keeps no moving average")
    out = out or Path("runs") / (preset if sample_only is None else f"{preset}-samples")
    if out.exists() and not out.is_dir():
        raise ValueError(f"--out {out}: it is a file; expected a folder, which is made if it is not there")
    out.mkdir(parents=True, exist_ok=True)
    device = device or ("cuda" if torch.cuda.is_available() else "cpu")
    if sample_only is not None:
        model = sk.load(sample_only, weights=weights, device=device)
        runtime = choose_runtime(chosen.training, model, device=device)
        drawn = draw(model, sampler_for(sample_only.resolve(), chosen), runtime, chosen, out)
        if runtime.rank == 0:
            write(out / "summary.json", drawn | facts(chosen))
        return

    source, held_out = open_data(data or chosen.data, chosen)
    torch.manual_seed(chosen.training.seed)  # the network's initial weights
    objective = build(source, chosen)
    config = {"preset": preset, "data": data or chosen.data, **describe(chosen, objective)}
    tally = Tally()

    def remember(step: TrainStep) -> None:  # called on the main process only
        if tally.steps == 0:
            write(out / "config.json", config)
        tally.add(step)

    outcome = train(
        objective, source, chosen.training, out=out, resume=resume, held_out=held_out, device=device,
        callbacks=[remember],
    )  # fmt: skip
    if not outcome.finished:
        print(f"{outcome.signal}: saved at step {outcome.step} of {outcome.num_steps}; the same command goes on there")
        return
    model = outcome.model if weights is None else sk.load(out / "checkpoint", weights=weights, device=device)
    summary = {} if tally.steps == 0 else tally.summary(chosen)
    if outcome.is_main:  # before sampling, so that what was trained is on record even if that is interrupted
        write(out / "config.json", config)
        update(out / "summary.json", {"steps": outcome.step} | summary)
    reference = source.transform.inverse(source.batch(torch.arange(min(16, len(source)))))
    drawn = draw(model, sampler_of(chosen), outcome.runtime, chosen, out, reference)
    if outcome.is_main:
        update(out / "summary.json", drawn | facts(chosen))
        print(f"{out}: samples.png (first row: real images), trajectory.png, samples.gif, checkpoint/, metrics.jsonl")
        if preset == "digits" and torch.cuda.is_available():
            print(
                "A GPU is here; the paper's run: python3 run.py examples/cifar10_ncsn.py --preset paper --data cifar10"
            )


def with_options(
    preset: Preset,
    steps: int | None,
    batch_size: int | None,
    keep_every: int | None,
    seed: int | None,
    num_samples: int | None,
) -> Preset:
    """The preset with what the command line says instead."""
    old = preset.training
    num_steps = old.num_steps if steps is None else steps
    training = replace(
        old,
        num_steps=num_steps,
        batch_size=old.batch_size if batch_size is None else batch_size,
        keep_every=old.keep_every if keep_every is None else keep_every,
        seed=old.seed if seed is None else seed,
        warmup_steps=min(old.warmup_steps, num_steps // 10),
        validate_every=min(old.validate_every or num_steps, num_steps),
    )
    most = preset.num_samples if batch_size is None else min(preset.num_samples, batch_size)
    if num_samples is not None and num_samples < 1:
        raise ValueError(f"--num-samples {num_samples}: expected at least one")
    return replace(preset, training=training, num_samples=most if num_samples is None else num_samples)


def describe(preset: Preset, objective: sk.Objective) -> dict:
    """The run's configuration, as JSON."""
    return {
        "model": sk.to_config(objective.model),
        "estimator": sk.to_config(objective.estimator),
        "noise": sk.to_config(objective.noise),
        "sampler": sk.to_config(sampler_of(preset)),
        "training": asdict(preset.training),
        "num_samples": preset.num_samples,
    }


class Tally:
    """What the steps of this call add up to."""

    def __init__(self):
        self.steps, self.seconds = 0, 0.0
        self.held_out: dict[float, float] = {}

    def add(self, step: TrainStep) -> None:
        """Count one step."""
        self.steps, self.seconds = self.steps + 1, self.seconds + step.seconds
        self.held_out = step.held_out or self.held_out

    def summary(self, preset: Preset) -> dict:
        """Times, speed, and the last held-out loss of each level."""
        return {
            "steps_of_last_call": self.steps,
            "training_seconds": round(self.seconds, 1),
            "images_per_second": round(self.steps * preset.training.batch_size / self.seconds, 1),
            "held_out_losses": {f"{sigma:.6g}": round(loss, 4) for sigma, loss in self.held_out.items()},
        }


def facts(preset: Preset) -> dict:
    """Where a figure comes from."""
    versions = {"scorekit": sk.__version__, "torch": torch.__version__, "python": platform.python_version()}
    return {"seed": preset.training.seed, "threads": torch.get_num_threads(), "versions": versions}


def write(path: Path, content: dict) -> None:
    """JSON."""
    path.write_text(json.dumps(content, indent=1) + "\n")


def update(path: Path, content: dict) -> None:
    """JSON, on top of what is there: a run that goes on keeps the facts of its training."""
    write(path, (json.loads(path.read_text()) if path.exists() else {}) | content)


if __name__ == "__main__":
    try:
        cyclopts.run(main)
    except ValueError as error:  # what the user can mend: data, checkpoints, options. The message says it all
        sys.exit(f"error: {error}")
