"""Complete occluded images: the NCSN paper's Fig. 6 and Algorithm 2, with any sampler.

    python3 run.py examples/inpainting.py                                       # real 8x8 digits
    python3 run.py examples/inpainting.py --checkpoint runs/small/checkpoint --data mnist
    python3 run.py examples/inpainting.py --mask center --kernel mala --refresh step
    python3 run.py examples/inpainting.py --sampler heun                        # any registered sampler
    python3 run.py examples/inpainting.py --smoke                               # seconds: shows that everything runs

Without a checkpoint it takes the one in runs/digits, which `examples/cifar10_ncsn.py` makes; without that it trains one
on the digits first: a minute on one CPU core. Song and Ermon, "Generative Modeling by Estimating Gradients of the Data
Distribution", arXiv 1907.05600, section 4.3, appendix B.3.
"""

import inspect
import json
import sys
import time
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Literal, NamedTuple, TypeAlias

import cyclopts
import torch
from einops import rearrange, repeat
from torch import Tensor

import scorekit as sk
from scorekit.base import Generator, NoiseSchedule, Sampler, ScoreModel, uniform
from scorekit.conditioning import Inpaint
from scorekit.evaluation.counting import evaluations_per_sample
from scorekit.pictures import save_comparison
from scorekit.runs import run, sampler_for, with_options
from scorekit.runs.running import default_device

DIGITS = Path("runs/digits/checkpoint")
STEPS = 800  # of training, where there is no checkpoint: a third of the recipe's
GREY = 0.5  # how what is hidden is shown

MaskName: TypeAlias = Literal["left", "right", "bottom", "random", "center"]
KernelName: TypeAlias = Literal["langevin", "mala", "hmc"]

# With h = epsilon sigma^2: an adjusted kernel needs the shorter steps the more pixels there are.
KERNELS: Mapping[KernelName, tuple[sk.Unadjusted | sk.MetropolisAdjusted, float]] = {
    "langevin": (sk.Unadjusted(sk.Langevin()), 0.125),
    "mala": (sk.MetropolisAdjusted(sk.Langevin()), 0.1),
    "hmc": (sk.MetropolisAdjusted(sk.Hamiltonian(3)), 0.05),
}


def known_pixels(name: MaskName, shape: tuple[int, int, int], generator: Generator = None) -> Tensor:
    """1 where a pixel is known (C, H, W), all channels alike: the name says which part is hidden. The random mask hides
    three pixels of four."""
    _, height, width = shape
    row, column = torch.meshgrid(torch.arange(height), torch.arange(width), indexing="ij")
    within = (row - (height - 1) / 2).abs() < height / 4, (column - (width - 1) / 2).abs() < width / 4
    hidden: Mapping[MaskName, Tensor] = {
        "left": column < width // 2,
        "right": column >= width // 2,
        "bottom": row >= height // 2,
        "center": within[0] & within[1],
        "random": uniform(torch.empty(height, width), generator=generator) < 0.75,
    }
    return ~hidden[name].expand(shape)


class Trained(NamedTuple):
    """A model, and where it is."""

    model: ScoreModel
    checkpoint: Path


def trained(checkpoint: Path | None, out: Path, smoke: bool) -> Trained:
    """The model of a checkpoint: the given one, else that in runs/digits, else one that is trained here."""
    if checkpoint is None and (smoke or not DIGITS.is_dir()):
        recipe = sk.make("recipes", "digits-ncsn-smoke" if smoke else "digits-ncsn")
        checkpoint = out / "digits" / "checkpoint"
        print(f"no checkpoint is given{'' if smoke else f', and {DIGITS} is not there'}: {checkpoint} is trained first")
        if not checkpoint.is_dir():
            run(with_options(recipe, steps=None if smoke else STEPS), out=checkpoint.parent)
    elif checkpoint is None:
        checkpoint = DIGITS
        print(f"no checkpoint is given: taking {checkpoint}")
    return Trained(sk.load(checkpoint, device=default_device(None)), checkpoint)


def chosen_sampler(at: Trained, name: str | None, kernel: KernelName | None) -> Sampler:
    """The sampler of the model's run, or a registered one on that run's levels; with another kernel if one is named."""
    own = sampler_for(at.checkpoint)
    if name is not None:
        noise = own.noise if isinstance(own, sk.AnnealedMCMC) else None
        sampler = by_name(name, noise)
    elif own is None:
        raise ValueError(f"{at.checkpoint}: no run's config.json says how to sample it; give --sampler NAME")
    else:
        sampler = own
    if kernel is None:
        return sampler
    if not isinstance(sampler, sk.AnnealedMCMC):
        raise ValueError(f"--kernel {kernel}: {type(sampler).__name__} has no kernel to replace")
    made, epsilon = KERNELS[kernel]
    return replace(sampler, kernel=made, step_size=sk.SigmaSquared(epsilon), final=sk.Denoise())


def by_name(name: str, noise: NoiseSchedule | None) -> Sampler:
    """A registered sampler with its own defaults, on the levels of the run, or at the smallest of them."""
    takes = inspect.signature(sk.registry("samplers")[name]).parameters
    if noise is None:
        raise ValueError(f"--sampler {name}: the checkpoint's run does not say which noise levels it was trained on")
    given = {"noise": noise, "sigma": noise.levels()[-1].item(), "kernel": KERNELS["mala"][0]}
    return sk.make("samplers", name, **{key: value for key, value in given.items() if key in takes})


def pictures(data: str, count: int, shape: tuple[int, ...], seed: int) -> Tensor:
    """Test images (count, C, H, W) as the model was shown its training images."""
    try:
        images = sk.data.open_images(data, "test")
    except sk.data.DataError:
        raise
    except ValueError:  # data without a test split
        images = sk.data.open_images(data)
    if tuple(images.pixels.shape[1:]) != shape:
        raise ValueError(f"{data} has images of shape {tuple(images.pixels.shape[1:])}: the model's have {shape}")
    pixels = images.pixels[torch.arange(min(count, len(images)))]
    return sk.data.Dequantize(images.levels or 256).forward(pixels, generator=sk.PerChain(seed))


def main(
    *,
    checkpoint: Path | None = None,
    data: str | None = None,
    out: Path = Path("runs/inpainting"),
    mask: MaskName = "right",
    sampler: str | None = None,
    kernel: KernelName | None = None,
    refresh: Literal["level", "step"] = "level",
    num_images: int = 8,
    completions: int = 8,
    seed: int = 0,
    smoke: bool = False,
) -> None:
    """Complete occluded images, and put them beside their originals.

    Args:
        checkpoint: of a model of images; see above for what is taken without one.
        data: the images, as `scorekit.data.open_images` takes them; the embedded digits without a checkpoint.
        out: the folder for inpainting.png and inpainting.json.
        mask: which part is hidden; "random" is three pixels of four.
        sampler: a registered name; the sampler of the model's run if not given.
        kernel: replaces the sampler's kernel, with h = epsilon sigma^2 and a last denoising step.
        refresh: how often the noise of what is known is drawn: once a level (Algorithm 2), or before every step.
        num_images: rows.
        completions: of each image.
        seed: of everything.
        smoke: seconds: a network trained for 20 steps, few completions. They are nothing to look at.
    """
    if checkpoint is not None and data is None:
        raise ValueError("--checkpoint: give the --data that its model was trained on too")
    out.mkdir(parents=True, exist_ok=True)
    num_images, completions = (2, 3) if smoke else (num_images, completions)
    at = trained(checkpoint, out, smoke)
    if at.model.moments is None or at.model.moments[0].ndim != 3:
        raise ValueError(f"{at.checkpoint}: not a model of images (C, H, W)")
    channels, height, width = at.model.moments[0].shape
    shape = channels, height, width
    originals = pictures(data or "embedded", num_images, shape, seed).to(at.model.device)
    known = known_pixels(mask, shape, generator=sk.PerChain(seed)).to(at.model.device)
    chosen = chosen_sampler(at, sampler, kernel)
    problem = Inpaint(at.model, known, repeat(originals, "r c h w -> (r k) c h w", k=completions), refresh=refresh)

    start = time.perf_counter()
    num_chains = len(originals) * completions
    x = sk.sample(chosen, problem, (num_chains, *shape), generator=sk.PerChain(seed), batch_size=64, progress=True)
    seconds = time.perf_counter() - start
    completed = rearrange(x, "(r k) c h w -> r k c h w", k=completions)
    occluded = torch.where(known, originals, GREY)
    save_comparison(out / "inpainting.png", occluded, completed, originals)

    hidden = ~known
    error = (completed - originals.unsqueeze(1))[..., hidden].square().mean().sqrt().item()
    spread = completed[..., hidden].std(1).square().mean().sqrt().item()
    facts = {
        "mask": mask, "refresh": refresh, "sampler": sk.to_config(chosen), "num_images": len(originals),
        "completions": completions, "seconds": round(seconds, 1),
        "evaluations": evaluations_per_sample(chosen, problem.rows(0, 1, tuple(x.shape)), shape),
        "rms_error_of_hidden_pixels": error, "rms_spread_of_hidden_pixels": spread, "seed": seed,
    }  # fmt: skip
    (out / "inpainting.json").write_text(json.dumps(facts, indent=1) + "\n")
    print(f"{num_chains} completions in {seconds:.1f} s, {facts['evaluations']} evaluations of the score for each")
    print(f"hidden pixels: {error:.3f} off the original (rms), {spread:.3f} apart from one another (rms)")
    print(f"{out}: inpainting.png (occluded, {completions} completions, original), inpainting.json")


if __name__ == "__main__":
    try:
        cyclopts.run(main)
    except ValueError as error:  # what the user can mend: data, checkpoints, options. The message says it all
        sys.exit(f"error: {error}")
