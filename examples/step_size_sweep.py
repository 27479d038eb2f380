"""How forgiving are the two numbers of annealed Langevin dynamics, T steps a level and the step epsilon?

    python3 run.py examples/step_size_sweep.py            # about a minute on one CPU core
    python3 run.py examples/step_size_sweep.py --smoke    # seconds: shows that everything runs

The NCSN paper takes T = 100 and says that epsilon may be anything from 5e-6 to 5e-5 at sigma_L = .01: h / sigma^2
from .025 to .25 by its printed algorithm, twice that by its code. Here the target is the mixture of toy_mixture.py with
exact scores, on its ten levels from 20 to 1, so that what is off is the sampler's fault. Two errors:

- the share of the small mode: too few steps, or too small ones, keep what the first levels gave it;
- the variance within a mode. Within a mode the score is linear, and with r = h / sigma^2, g the ratio of the levels and
  b = 1 / (1 - r / 2), a level turns the ratio v of variance and truth into

      v' = (1 - r)^2T (g^2 v - b) + b

  (NCSNv2's technique 4, with v = 1, chooses epsilon by it). Short runs keep what the level before left; long ones end
  at b, too wide by about h / 2 sigma^2.
"""

import json
from pathlib import Path
from typing import NamedTuple

import cyclopts
import matplotlib.pyplot as plt
import torch
from matplotlib.axes import Axes
from torch import Tensor

import scorekit as sk

POINTS = sk.densities.fig3_mixture()
NOISE = sk.Geometric(sigma_max=20.0, sigma_min=1.0, num_levels=10)
STEPS_PER_LEVEL = (5, 10, 20, 50, 100, 200)
EPSILONS = (0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0)  # h at sigma_L = 1
PAPER = (0.025, 0.25)  # the range that the paper names, and T = 100


class Cell(NamedTuple):
    """One run."""

    steps_per_level: int
    epsilon: float
    weight_error: float  # share of the small mode - .2
    variance: float  # of a coordinate within the large mode, over the truth
    predicted: float  # of that ratio, level by level


def measure(steps_per_level: int, epsilon: float, num_samples: int, seed: int) -> Cell:
    """Annealed Langevin dynamics with one pair of the two numbers."""
    sampler = sk.annealed_langevin(
        NOISE,
        step_size=sk.SigmaSquared(epsilon, sigma_min=NOISE.sigma_min),
        steps_per_level=steps_per_level,
        start=sk.Uniform(-8, 8),  # the paper's
    )
    x = sk.sample(sampler, POINTS, (num_samples, 2), generator=torch.Generator().manual_seed(seed))
    small = x.sum(1) < 0  # the modes are 14 std apart
    return Cell(
        steps_per_level,
        epsilon,
        small.double().mean().item() - 0.2,
        x[~small].double().var(0).mean().item(),
        predicted(NOISE, steps_per_level, epsilon),
    )


def predicted(noise: sk.Geometric, steps_per_level: int, epsilon: float) -> float:
    """The variance within a mode over the truth, after the last level, if it was right after the first."""
    r, v = epsilon / noise.sigma_min**2, 1.0
    g = (noise.sigma_max / noise.sigma_min) ** (1 / (noise.num_levels - 1))
    b = 1 / (1 - r / 2)
    for _ in range(noise.num_levels - 1):
        v = (1 - r) ** (2 * steps_per_level) * (g**2 * v - b) + b
    return v


def table(cells: list[Cell]) -> str:
    """The errors at the best epsilon of each T, and at every epsilon for the paper's T."""
    lines = ["    T  epsilon  weight error  variance ratio  predicted"]
    for count in dict.fromkeys(cell.steps_per_level for cell in cells):
        best = min((cell for cell in cells if cell.steps_per_level == count), key=loss)
        lines.append(line(best) + "   best epsilon for this T")
    lines += [line(cell) for cell in cells if cell.steps_per_level == 100]
    return "\n".join(lines)


def loss(cell: Cell) -> float:
    return abs(cell.weight_error) + abs(cell.variance - 1)


def line(cell: Cell) -> str:
    measured = f"{cell.weight_error:+12.3f}  {cell.variance:14.3f}  {cell.predicted:9.3f}"
    return f"{cell.steps_per_level:5}  {cell.epsilon:7g}  {measured}"


def plot(cells: list[Cell], path: Path) -> None:
    """Two heat maps over T and epsilon; a frame around the paper's choice."""
    counts, epsilons = (sorted({cell[i] for cell in cells}) for i in (0, 1))
    figure, (left, right) = plt.subplots(1, 2, figsize=(11, 4), layout="constrained")
    shape = len(counts), len(epsilons)
    errors = torch.tensor([cell.weight_error for cell in cells]).reshape(shape)
    ratios = torch.tensor([cell.variance for cell in cells]).reshape(shape)
    heat(left, errors, 0.3, "{:+.3f}", "error of the small mode's weight (truth: .2)")
    heat(right, ratios.log2(), 1.0, "{:.2f}", "variance within a mode / truth", shown=ratios)
    for ax in (left, right):
        ax.set_xticks(range(len(epsilons)), [f"{epsilon:g}" for epsilon in epsilons])
        ax.set_yticks(range(len(counts)), [f"{count}" for count in counts])
        ax.set(xlabel="epsilon = h / sigma^2", ylabel="T, steps per level")
        if 100 in counts:
            places = [i for i, epsilon in enumerate(epsilons) if PAPER[0] <= epsilon <= PAPER[1]]
            corner, width = (places[0] - 0.5, counts.index(100) - 0.5), len(places)
            ax.add_patch(plt.Rectangle(corner, width, 1, fill=False, edgecolor="black", lw=2))
    figure.suptitle("Annealed Langevin dynamics, ten levels, exact scores; framed: the paper's T and range of epsilon")
    figure.savefig(path, dpi=110)
    plt.close(figure)


def heat(ax: Axes, values: Tensor, limit: float, form: str, title: str, *, shown: Tensor | None = None) -> None:
    """A map from -limit (blue) through 0 (white) to limit (red), with its numbers written on it."""
    ax.imshow(values.numpy(), cmap="RdBu_r", vmin=-limit, vmax=limit, aspect="auto", origin="lower")
    numbers = values if shown is None else shown
    for i, row in enumerate(numbers.tolist()):
        for j, number in enumerate(row):
            text = form.format(number) if abs(number) < 1000 else "> 1000"
            dark = not abs(values[i, j]) < 0.7 * limit  # NaN and infinity too
            ax.text(j, i, text, ha="center", va="center", fontsize="small", color="white" if dark else "black")
    ax.set_title(title)


def main(
    *, out: Path = Path("runs/step-size-sweep"), num_samples: int = 5000, seed: int = 0, smoke: bool = False
) -> None:
    """Sweep T and epsilon of annealed Langevin dynamics on the toy mixture.

    Args:
        out: the folder for sweep.png and sweep.json.
        num_samples: chains of each run: 5,000 fix a weight to .011, two standard errors.
        seed: of all runs.
        smoke: seconds: four pairs, few chains.
    """
    out.mkdir(parents=True, exist_ok=True)
    counts, epsilons = ((10, 100), (0.05, 0.25)) if smoke else (STEPS_PER_LEVEL, EPSILONS)
    num_samples = min(num_samples, 500) if smoke else num_samples
    cells = [measure(count, epsilon, num_samples, seed) for count in counts for epsilon in epsilons]
    print(table(cells))
    (out / "sweep.json").write_text(json.dumps([cell._asdict() for cell in cells], indent=1) + "\n")
    plot(cells, out / "sweep.png")
    print(f"\n{out}: sweep.png, sweep.json")


if __name__ == "__main__":
    cyclopts.run(main)
