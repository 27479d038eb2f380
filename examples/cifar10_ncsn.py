"""NCSN end to end: learn the score of real images on a ladder of noise levels, then draw new images by annealed
Langevin dynamics.

    python3 run.py examples/cifar10_ncsn.py                                    # real 8x8 digits, minutes on 2 CPU cores
    python3 run.py examples/cifar10_ncsn.py --preset small --data mnist        # about half an hour on 2 CPU cores
    python3 run.py examples/cifar10_ncsn.py --preset paper --data cifar10      # the paper's run; needs GPUs
    torchrun --nproc-per-node 2 examples/cifar10_ncsn.py --preset paper ...    # the same run on two of them

Each preset is a recipe (`scorekit/recipes/`): its numbers, and the network, objective and sampler that they make.
Song and Ermon, "Generative Modeling by Estimating Gradients of the Data Distribution", arXiv 1907.05600.
"""

import sys
from pathlib import Path
from typing import Literal

import cyclopts
import torch

import scorekit as sk
from scorekit.recipes import NCSN
from scorekit.runs import draw, run, sampler_for, with_options
from scorekit.runs.running import SUMMARY, default_device, facts, prepared, write
from scorekit.training import choose_runtime

PRESETS = {
    "digits": "digits-ncsn",  # embedded real digits: minutes on 2 CPU cores
    "small": "mnist-ncsn-small",  # real MNIST, or CIFAR-10: half an hour there, sampling included
    "paper": "cifar10-ncsn",  # as in appendix B.2 of the paper and the released code
    "smoke": "digits-ncsn-smoke",  # seconds: shows that everything runs
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
    recipe: NCSN = with_options(
        sk.make("recipes", PRESETS[preset]),
        steps=steps,
        batch_size=batch_size,
        keep_every=keep_every,
        seed=seed,
        num_samples=num_samples,
    )
    out = out or Path("runs") / (preset if sample_only is None else f"{preset}-samples")
    if sample_only is not None:
        sample_checkpoint(sample_only, recipe, out, weights, device)
        return
    outcome = run(
        recipe, out=out, data=data, name=PRESETS[preset], resume=resume, device=device, weights=weights
    )  # fmt: skip
    if not outcome.finished:
        print(f"{outcome.signal}: saved at step {outcome.step} of {outcome.num_steps}; the same command goes on there")
    elif outcome.is_main:
        print(f"{out}: samples.png (first row: real images), trajectory.png, samples.gif, checkpoint/, metrics.jsonl")
        if preset == "digits" and torch.cuda.is_available():
            print(
                "A GPU is here; the paper's run: python3 run.py examples/cifar10_ncsn.py --preset paper --data cifar10"
            )


def sample_checkpoint(
    checkpoint: Path, recipe: NCSN, out: Path, weights: Literal["ema", "raw"] | None, device: str | None
) -> None:
    """Sample a checkpoint, by the sampler of its run if that is known, else by the recipe's."""
    model = sk.load(checkpoint, weights=weights, device=default_device(device))
    runtime = choose_runtime(recipe.training, model)
    sampler = sampler_for(checkpoint) or recipe.sampler()
    seed = recipe.training.seed
    drawn = draw(model, sampler, runtime, prepared(out), num_samples=recipe.num_samples, seed=seed)
    if runtime.rank == 0:
        write(out / SUMMARY, drawn | facts(seed))


if __name__ == "__main__":
    try:
        cyclopts.run(main)
    except ValueError as error:  # what the user can mend: data, checkpoints, options. The message says it all
        sys.exit(f"error: {error}")
