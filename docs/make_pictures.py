"""The pictures of the documentation.

    python3 run.py docs/make_pictures.py               # score-norm, levels, annealing: half a minute, exact scores
    python3 run.py docs/make_pictures.py --examples    # those that examples draw, networks trained: some minutes
    python3 run.py docs/make_pictures.py --runs runs --data mnist    # of runs that are there: see FROM_RUNS

All write to docs/pictures.
"""

import runpy
import shutil
import tempfile
from pathlib import Path

import cyclopts
import matplotlib
import matplotlib.pyplot as plt
import numpy as np
import torch
from matplotlib.axes import Axes

import scorekit as sk
from scorekit.densities import Density, GaussianMixture
from scorekit.evaluation import nearest_neighbours, save_neighbours

FOLDER = Path(__file__).parent / "pictures"
INK, BLUE, ORANGE, GREY = "#263238", "#1565c0", "#e65100", "#90a4ae"
STYLE = {
    "figure.dpi": 120,
    "font.size": 9,
    "axes.edgecolor": INK,
    "axes.labelcolor": INK,
    "axes.titlesize": 9,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "legend.frameon": False,
}
# Two points, whose p_1 is the mixture of the NCSN paper's figures 2 and 3: two Gaussians of std 1.
PAPER = GaussianMixture(means=((-5, -5), (5, 5)), weights=(0.2, 0.8), stds=0.0)

EXAMPLES = Path(__file__).parent.parent / "examples"
FROM_EXAMPLES = {  # an example's own names for its pictures, and the documentation's
    "toy_mixture": {"figure-2.png": "toy-scores.png", "figure-3.png": "toy-samples.png"},
    "compare_samplers": {"samplers.png": "samplers.png"},
    "step_size_sweep": {"sweep.png": "step-size-sweep.png"},
    "noise_makes_it_learnable": {"losses.png": "noise-losses.png"},
    "time_series": {"windows.png": "time-series.png"},
}

FROM_RUNS = {  # where each lies, below the folder of runs: by `scorekit train`, the examples and a benchmark
    "baseline.png": "digits-baseline/samples.png",  # scorekit train digits-baseline
    "inpainting.png": "inpainting/inpainting.png",  # examples/inpainting.py --mask left --num-images 5
    "guided.png": "guidance/guided.png",  # examples/guidance.py
    "neighbours.png": "mnist-unet-small/samples.npy",  # scorekit train mnist-unet-small
    "mnist-small.png": "quality",  # benchmarks/quality_per_evaluation.py
}


def main(*, examples: bool = False, runs: Path | None = None, data: str = "mnist") -> None:
    """Write the pictures from exact scores, or those that the examples draw, or those of runs that are there."""
    matplotlib.use("Agg")
    FOLDER.mkdir(exist_ok=True)
    if examples:
        from_examples()
        return
    if runs is not None:
        from_runs(runs, data)
        return
    with plt.rc_context(STYLE):
        score_norm()
        levels()
        annealing()


def from_examples() -> None:
    """Run each example at its default size, and keep its pictures under the documentation's names."""
    for name, pictures in FROM_EXAMPLES.items():
        with tempfile.TemporaryDirectory() as out:
            runpy.run_path(str(EXAMPLES / f"{name}.py"))["main"](out=Path(out))
            for drawn, ours in pictures.items():
                shutil.copyfile(Path(out) / drawn, FOLDER / ours)


def from_runs(runs: Path, data: str) -> None:
    """Copy the pictures of runs; draw nearest neighbours, and samples by several samplers."""
    for ours in ("baseline.png", "inpainting.png", "guided.png"):
        shutil.copyfile(runs / FROM_RUNS[ours], FOLDER / ours)
    samples = torch.from_numpy(np.load(runs / FROM_RUNS["neighbours.png"]))[:8]
    pixels = sk.data.open_images(data).pixels
    found = nearest_neighbours(samples, (part.float() / 255 for part in pixels.split(2000)), k=9, flips=False)
    save_neighbours(FOLDER / "neighbours.png", samples, found, pixels[found.indices].float() / 255)
    names = (
        "ncsnv2-annealed-Langevin-1000",
        "unet-annealed-Langevin-1000",
        "unet-Heun-20",
        "unet-DPM-Solver++-flow-10",
    )
    rows = [np.load(runs / FROM_RUNS["mnist-small.png"] / f"{name}.npz")["images"][:16] for name in names]
    sk.pictures.save_grid(FOLDER / "mnist-small.png", torch.from_numpy(np.concatenate(rows)), columns=16, scale=2)


def score_norm() -> None:
    """The root mean square of a coordinate of the score, and what sigma^2 weighs it to, against sigma."""
    digits = sk.data.digits().pixels.double() / 16
    points = GaussianMixture(means=digits.flatten(1), stds=0.0)
    smooth = GaussianMixture(means=((-1.0, 0.0), (1.0, 0.0)), stds=0.1)
    sigmas = sk.Geometric(3.0, 0.01, 25).levels()
    figure, (left, right) = plt.subplots(1, 2, figsize=(7.2, 2.9), layout="constrained")
    for density, label, color, marker in (
        (points, "1,797 digits as points in 64 dimensions", BLUE, "o"),
        (smooth, "two Gaussians of std 0.1 in the plane", ORANGE, "s"),
    ):
        size = torch.tensor([rms_score(density, sigma) for sigma in sigmas.tolist()])
        left.loglog(sigmas, size, color=color, marker=marker, ms=3, lw=1, label=label)
        right.semilogx(sigmas, sigmas * size, color=color, marker=marker, ms=3, lw=1)
    left.loglog(sigmas, 1 / sigmas, color=INK, lw=1, ls="--", label="1 / σ")
    right.axhline(1, color=INK, lw=1, ls="--")
    left.set(xlabel="σ", title="size of the score:  |s| / √D")
    left.legend(fontsize=7.5, loc="upper right")
    right.set(xlabel="σ", title="with the weight σ:  σ |s| / √D", ylim=(0, 1.2))
    save(figure, "score-norm.png")


def rms_score(density: Density, sigma: float, num_samples: int = 400) -> float:
    """sqrt(E |s(x, sigma)|^2 / D) over x from p_sigma."""
    x = density.sample(num_samples, sigma, generator=sk.PerChain(0), dtype=torch.float64)
    return density.score(x, sigma).square().mean().sqrt().item()


def levels() -> None:
    """The mixture's density and score at three noise levels."""
    figure, axes = plt.subplots(1, 3, figsize=(7.2, 2.7), layout="constrained")
    for axis, sigma in zip(axes, (20.0, 5.0, 1.0), strict=True):
        show_density(axis, sigma)
        arrows = grid(11)
        score = PAPER.score(arrows, sigma)
        unit = score / score.norm(dim=1, keepdim=True)
        axis.quiver(*arrows.T, *unit.T, color=INK, scale=20, width=0.006, alpha=0.8)
        axis.set_title(f"σ = {sigma:g}")
    save(figure, "levels.png")


def annealing() -> None:
    """Samples of the mixture: exact ones, Langevin dynamics, annealed Langevin dynamics (1,000 steps each).

    1,280 are shown, as in the paper; the fractions are of 10,000.
    """
    wide, shape = sk.Uniform(-8, 8), (10_000, 2)
    vanilla = sk.langevin(sigma=1.0, step_size=0.05, num_steps=1000, start=wide)
    annealed = sk.annealed_langevin(sk.Geometric(20, 1, 10), step_size=sk.SigmaSquared(0.05), start=wide)
    runs = {
        "exact draws": PAPER.sample(*shape[:1], 1.0, generator=sk.PerChain(0)),
        "Langevin dynamics": sk.sample(vanilla, PAPER, shape, generator=sk.PerChain(1)),
        "annealed Langevin dynamics": sk.sample(annealed, PAPER, shape, generator=sk.PerChain(2)),
    }
    figure, axes = plt.subplots(1, 3, figsize=(7.2, 2.9), layout="constrained")
    for axis, (title, x) in zip(axes, runs.items(), strict=True):
        show_density(axis, 1.0)
        axis.scatter(*x[:1280].T, s=1.2, color=ORANGE, alpha=0.6, linewidths=0)
        axis.set_title(f"{title}\n{(x.sum(1) < 0).double().mean():.1%} in the small mode")
    save(figure, "annealing.png")


def show_density(axis: Axes, sigma: float) -> None:
    """Contours of the mixture's density at one level, on axes without ticks."""
    x = grid(80)
    density = PAPER.log_prob(x, sigma).exp().reshape(80, 80)
    axis.contourf(*x.T.reshape(2, 80, 80), density, levels=8, cmap="Blues", alpha=0.8)
    axis.set(xlim=(-9.5, 9.5), ylim=(-9.5, 9.5), xticks=[], yticks=[], aspect="equal")
    axis.spines[:].set_visible(False)


def grid(count: int) -> torch.Tensor:
    """A square grid over [-9.5, 9.5]^2: (count^2, 2), float64."""
    line = torch.linspace(-9.5, 9.5, count, dtype=torch.float64)
    return torch.cartesian_prod(line, line)


def save(figure: plt.Figure, name: str) -> None:
    """Write and close a figure."""
    figure.savefig(FOLDER / name, bbox_inches="tight", pad_inches=0.06)
    plt.close(figure)


if __name__ == "__main__":
    cyclopts.run(main)
