"""The NCSN paper's toy experiments: where a score is learned well, and what annealing is for.

    python3 run.py examples/toy_mixture.py            # about a minute and a half on one CPU core
    python3 run.py examples/toy_mixture.py --smoke    # seconds: shows that everything runs

The data are .8 N((5, 5), I) + .2 N((-5, -5), I). Figure 2: a score learned by sliced matching is right where there are
data and wrong between them. Figure 3: Langevin dynamics gives each mode the share of its starts, whatever its weight,
and so does MALA, however exact its score; annealed Langevin dynamics finds the weights.

Song and Ermon, "Generative Modeling by Estimating Gradients of the Data Distribution", arXiv 1907.05600, sections 3.2
and 4.3, appendix B.1.
"""

import math
from pathlib import Path
from typing import NamedTuple

import cyclopts
import matplotlib.pyplot as plt
import torch
from matplotlib.figure import Figure
from torch import Tensor

import scorekit as sk

DATA = sk.densities.toy_mixture()
# The paper anneals the two means as points: their noisy components have the std sigma, and p_1 is the data.
POINTS = sk.densities.fig3_mixture()
NOISE = sk.Geometric(sigma_max=20.0, sigma_min=1.0, num_levels=10)
WIDE = sk.Uniform(-8, 8)
SQUARE = (-8.0, 8.0, -8.0, 8.0)
STEP_SIZE = 0.05  # h; the paper's alpha = 0.1 is 2 h


class Row(NamedTuple):
    """What a sample has of the mixture."""

    name: str
    small_mode: float  # share of the samples in the mode of weight .2
    variance: float  # of a coordinate within the large mode, where the data have 1
    x: Tensor


def learn_data_score(steps: int, seed: int) -> sk.ScoreModel:
    """Figure 2: the score of the clean data by sliced matching (variance-reduced, Gaussian probes), batches of 128."""
    torch.manual_seed(seed)  # the network's initial weights
    model = sk.DirectScore(sk.networks.MLP(event_shape=(2,), conditional=False))  # 2-128-128-2, softplus
    objective = sk.Objective(model, sk.SlicedScoreMatching(probe="gaussian"), sk.SingleLevel(0.0))
    return train(objective, DATA.sample(100_000, generator=sk.PerChain(seed)), steps, learning_rate=1e-3, seed=seed)


def learn_noisy_scores(steps: int, seed: int) -> sk.ScoreModel:
    """For figure 3: one network for all levels, by denoising."""
    torch.manual_seed(seed)
    model = sk.ScaledScore(sk.networks.MLP(event_shape=(2,)))  # s = f(x, sigma) / sigma: f has one size at all levels
    objective = sk.Objective(model, sk.DenoisingScoreMatching(), NOISE)
    return train(objective, POINTS.sample(100_000, generator=sk.PerChain(seed)), steps, learning_rate=3e-3, seed=seed)


def train(objective: sk.Objective, data: Tensor, steps: int, *, learning_rate: float, seed: int) -> sk.ScoreModel:
    for _ in sk.fit(objective, data, num_steps=steps, learning_rate=learning_rate, decay="cosine", seed=seed):
        pass
    return objective.model


def relative_error(model: sk.ScoreModel, x: Tensor) -> float:
    """E |s - s*|^2 / E |s*|^2 over the points x, at sigma = 0."""
    true = DATA.score(x)
    with torch.no_grad(), model.evaluating():
        learned = model.at(0.0).score(x)
    return ((learned - true).square().sum() / true.square().sum()).item()


def figure_2(model: sk.ScoreModel, out: Path) -> dict[str, float]:
    """The three fields over the square, and the error where there are data, on the whole square, and between modes."""
    square = sk.base.uniform(torch.empty(20_000, 2), generator=sk.PerChain(1)) * 16 - 8
    between = square[square.sum(1).abs() < 4]
    errors = {
        "over the data": relative_error(model, DATA.sample(20_000, generator=sk.PerChain(2))),
        "over the square": relative_error(model, square),
        "between the modes": relative_error(model, between),
    }
    figure, axes = plt.subplots(1, 3, figsize=(13, 4), layout="compressed")
    sk.plots.fields(DATA, model, 0.0, SQUARE, axes=list(axes))
    save(figure, out / "figure-2.png")
    return errors


def share_of_starts() -> float:
    """The share of the square from which the score leads to the small mode: where .2 N(x; -m, I) > .8 N(x; m, I).

    That is 10 (x_1 + x_2) < -log 4: a triangle of the square.
    """
    return (16 - math.log(4) / 10) ** 2 / 2 / 16**2


def figure_3(model: sk.ScoreModel, out: Path, num_samples: int, num_steps: int) -> list[Row]:
    """Samples of the mixture in five ways, from uniform starts; the first 1,280 are drawn, as in the paper."""
    plain = sk.langevin(step_size=STEP_SIZE, num_steps=num_steps, start=WIDE)
    adjusted = sk.mala(step_size=0.5, num_steps=num_steps, start=WIDE)  # Metropolis corrects a step ten times as long
    annealed = sk.annealed_langevin(
        NOISE,
        step_size=sk.SigmaSquared(STEP_SIZE, sigma_min=NOISE.sigma_min),
        steps_per_level=num_steps // NOISE.num_levels,
        start=WIDE,
    )
    shape = (num_samples, 2)
    rows = [
        row("exact draws", DATA.sample(num_samples, generator=sk.PerChain(3))),
        row("MALA, exact score", sk.sample(adjusted, DATA, shape, generator=sk.PerChain(4))),
        row("Langevin, exact score", sk.sample(plain, DATA, shape, generator=sk.PerChain(5))),
        row("annealed Langevin, exact score", sk.sample(annealed, POINTS, shape, generator=sk.PerChain(6))),
        row("annealed Langevin, learned score", sk.sample(annealed, model, shape, generator=sk.PerChain(7))),
    ]
    draw_samples(rows, out / "figure-3.png")
    return rows


def row(name: str, x: Tensor) -> Row:
    """The share of the small mode, and the variance within the large one (the modes are 14 std apart)."""
    small = x.sum(1) < 0
    return Row(name, small.double().mean().item(), x[~small].var(0).mean().item(), x)


def draw_samples(rows: list[Row], path: Path) -> None:
    figure, axes = plt.subplots(1, len(rows), figsize=(3 * len(rows), 3.4), layout="compressed")
    for ax, each in zip(axes, rows, strict=True):
        sk.plots.scatter(each.x[:1280], density=DATA, extent=(-9.0, 9.0, -9.0, 9.0), ax=ax)
        ax.set_title(f"{each.name.replace(', ', chr(10))}\n{each.small_mode:.1%} in the small mode", fontsize="medium")
    save(figure, path)


def save(figure: Figure, path: Path) -> None:
    """Write and close."""
    figure.savefig(path, dpi=110, bbox_inches="tight")
    plt.close(figure)


def main(
    *,
    out: Path = Path("runs/toy-mixture"),
    steps: int = 5000,
    num_samples: int = 5000,
    seed: int = 0,
    smoke: bool = False,
) -> None:
    """Learn the toy scores, sample the mixture in five ways, and draw the paper's figures 2 and 3.

    Args:
        out: the folder for figure-2.png and figure-3.png.
        steps: of training, for each of the two networks (the paper's figure 2: 10,000).
        num_samples: how many chains the shares are taken from.
        seed: of the networks, the data and the training.
        smoke: seconds: few steps, few chains. Its figures mean nothing.
    """
    out.mkdir(parents=True, exist_ok=True)
    steps, num_samples, num_steps = (60, 300, 100) if smoke else (steps, num_samples, 1000)
    errors = figure_2(learn_data_score(steps, seed), out)
    print("E |learned - true|^2 / E |true|^2 of the score from sliced matching:")
    for where, error in errors.items():
        print(f"  {where:18}  {error:7.1%}")
    rows = figure_3(learn_noisy_scores(steps, seed), out, num_samples, num_steps)
    print(f"\nof the starts, {share_of_starts():.1%} lie where the score leads to the small mode, whose weight is 20%:")
    print(f"{'':34}  small mode  variance within the large mode")
    for each in rows:
        print(f"  {each.name:32}  {each.small_mode:10.1%}  {each.variance:.2f}")
    print(f"\n{out}: figure-2.png, figure-3.png")


if __name__ == "__main__":
    cyclopts.run(main)
