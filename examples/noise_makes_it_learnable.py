"""Why NCSN adds noise at all: sliced score matching on real images, as they are and with a little noise.

    python3 run.py examples/noise_makes_it_learnable.py                            # digits, about 2 minutes on a core
    python3 run.py examples/noise_makes_it_learnable.py --preset smoke             # seconds: shows that it runs
    python3 run.py examples/noise_makes_it_learnable.py --preset paper --data cifar10     # the paper's run; wants a GPU

Images fill a thin set in pixel space (many pixels of the digits are never written on), and a density on a thin set has
no score. Sliced score matching, which needs no noise, then follows a loss without a lower bound: it jumps and does not
settle. With a little noise on the pixels there is a density with a score, and the expected loss cannot fall below
-D / (2 sigma^2), half the largest Fisher information that D noisy pixels can have. This is figure 1 of the NCSN paper
(arXiv 1907.05600, sections 3.2.1 and B.1), which adds N(0, 1e-4) to CIFAR-10 and trains for 50,001 steps.

The digits have grey levels 1/16 apart, and these are 400 steps: they take N(0, 1e-2). With N(0, 1e-4) the bound is
-320,000, the loss has hardly set out for it after 300 steps, and jumps as it does without noise.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Literal, NamedTuple

import cyclopts
import matplotlib.pyplot as plt
import torch
from torch import Tensor, nn

import scorekit as sk


@dataclass(frozen=True)
class Preset:
    """The numbers of a run."""

    data: str
    width: int
    steps: int
    sigma: float  # of the noise
    batch_size: int = 128


PRESETS = {
    "digits": Preset("embedded", width=16, steps=400, sigma=0.1),
    "paper": Preset("cifar10", width=32, steps=50_001, sigma=0.01),
    "smoke": Preset("embedded", width=8, steps=6, sigma=0.1, batch_size=16),
}


class Block(nn.Module):
    """conv - norm - ELU - conv - norm, + the input (through a convolution if the size changes), ELU.

    Args:
        channels, out_channels: before and after.
        resize: "down" halves height and width, in the first convolution; "up" doubles them, in the second.
        transposed: whether its convolutions are transposed ones, as all of a decoder are.
    """

    def __init__(self, channels: int, out_channels: int, resize: Literal["down", "up"] | None, transposed: bool):
        super().__init__()
        self.conv1 = conv(channels, out_channels, "down" if resize == "down" else None, transposed)
        self.norm1 = norm(out_channels)
        self.conv2 = conv(out_channels, out_channels, "up" if resize == "up" else None, transposed)
        self.norm2 = norm(out_channels)
        self.shortcut = nn.Identity() if resize is None else conv(channels, out_channels, resize, transposed)

    def forward(self, x: Tensor) -> Tensor:
        """(B, channels, H, W) -> (B, out_channels, H', W')."""
        y = nn.functional.elu(self.norm1(self.conv1(x)))
        return nn.functional.elu(self.norm2(self.conv2(y)) + self.shortcut(x))


def conv(channels: int, out_channels: int, resize: Literal["down", "up"] | None, transposed: bool) -> nn.Module:
    stride = 1 if resize is None else 2
    if transposed:
        return nn.ConvTranspose2d(channels, out_channels, 3, stride, 1, output_padding=stride - 1)
    return nn.Conv2d(channels, out_channels, 3, stride, 1)


def norm(channels: int) -> nn.GroupNorm:
    return nn.GroupNorm(8, channels)


class ResNet(nn.Module):
    """The network of figure 1: an encoder and a decoder of five blocks each, with two changes of resolution.

    It knows one density, so it has no use for sigma.

    Args:
        channels: of the images, whose height and width are multiples of 4.
        width: of the first block, a multiple of 8; 32 in the paper.
    """

    def __init__(self, channels: int, width: int):
        super().__init__()
        w = width
        self.begin = nn.Conv2d(channels, w, 3, padding=1)
        encoder = ((w, w, None), (w, 2 * w, "down"), (2 * w, 2 * w, None), (2 * w, 4 * w, "down"), (4 * w, 4 * w, None))
        decoder = ((4 * w, 4 * w, None), (4 * w, 2 * w, "up"), (2 * w, 2 * w, None), (2 * w, w, "up"), (w, w, None))
        blocks = [Block(*sizes, transposed=False) for sizes in encoder] + [Block(*s, transposed=True) for s in decoder]
        self.blocks = nn.Sequential(*blocks)
        self.end = nn.Conv2d(w, channels, 3, padding=1)

    def forward(self, x: Tensor, sigma: Tensor) -> Tensor:
        """(B, channels, H, W), (B,) -> (B, channels, H, W)."""
        return self.end(self.blocks(self.begin(2 * x - 1)))


class Curve(NamedTuple):
    """The loss of every step at one noise level."""

    sigma: float
    losses: Tensor

    @property
    def end(self) -> Tensor:
        """Its last fifth."""
        return self.losses[-max(2, len(self.losses) // 5) :]

    @property
    def jumps(self) -> float:
        """The largest jump from a step to the next in the last fifth, over the size of the loss there."""
        return (self.end.diff().abs().max() / self.end.median().abs()).item()


def pixels(data: str) -> Tensor:
    """Training images in [0, 1], (N, C, H, W): grey levels as they are, nothing drawn between them."""
    images = sk.data.open_images(data)
    return images.pixels.float() / ((images.levels or 2) - 1)  # continuous pixels are in [0, 1] already


def learn(x: Tensor, sigma: float, preset: Preset, seed: int, device: str) -> Curve:
    """Sliced score matching with one Gaussian probe, Adam at 1e-3; the same network and batches at every sigma."""
    torch.manual_seed(seed)  # the network's initial weights
    model = sk.DirectScore(ResNet(x.shape[1], preset.width)).to(device)
    objective = sk.Objective(model, sk.SlicedScoreMatching(probe="gaussian"), sk.SingleLevel(sigma))
    steps = sk.fit(objective, x, num_steps=preset.steps, batch_size=preset.batch_size, seed=seed)
    return Curve(sigma, torch.tensor([step.loss for step in steps], dtype=torch.float64))


def table(curves: list[Curve], num_pixels: int) -> str:
    lines = [f"{'sigma':>6}  {'loss at the end':>15}  {'largest jump there':>18}  {'no loss is below':>16}"]
    for each in curves:
        bound = "nothing" if each.sigma == 0 else f"{-num_pixels / (2 * each.sigma**2):.3g}"
        lines.append(f"{each.sigma:6g}  {each.end.median():15.4g}  {each.jumps:18.1%}  {bound:>16}")
    return "\n".join(lines)


def plot(curves: list[Curve], path: Path) -> None:
    """The loss of each run against the steps, each on its own scale."""
    figure, axes = plt.subplots(1, len(curves), figsize=(10, 3.6), layout="constrained")
    for ax, each in zip(axes, curves, strict=True):
        ax.plot(range(1, len(each.losses) + 1), each.losses, lw=0.7)
        ax.set_yscale("symlog", linthresh=100, linscale=1)
        ax.set(title=f"noise of sigma = {each.sigma:g}", xlabel="step", ylabel="sliced score matching loss")
    figure.savefig(path, dpi=110)
    plt.close(figure)


def main(
    *,
    preset: Literal["digits", "paper", "smoke"] = "digits",
    data: str | None = None,
    out: Path = Path("runs/noise"),
    steps: int | None = None,
    width: int | None = None,
    sigma: float | None = None,
    seed: int = 0,
    device: str | None = None,
) -> None:
    """Train the same network on images without noise and with a little, and draw both losses.

    Args:
        preset: digits (2 minutes of a CPU core), paper (figure 1: 50,001 steps on CIFAR-10), smoke (seconds).
        data: embedded, cifar10 or mnist (downloaded once), or a path, as of examples/cifar10_ncsn.py.
        out: the folder for losses.png.
        steps: of training, for each of the two.
        width: of the network's first block, a multiple of 8.
        sigma: of the noise; .1 for the digits, .01 in the paper's run.
        seed: of the network, the noise, the probes and the order of the data.
        device: cpu, cuda, ...; cuda if there is one and nothing is given, else cpu.
    """
    old = PRESETS[preset]
    chosen = Preset(
        data=old.data if data is None else data,
        width=old.width if width is None else width,
        steps=old.steps if steps is None else steps,
        sigma=old.sigma if sigma is None else sigma,
        batch_size=old.batch_size,
    )
    device = device or ("cuda" if torch.cuda.is_available() else "cpu")
    out.mkdir(parents=True, exist_ok=True)
    x = pixels(chosen.data)
    curves = [learn(x, level, chosen, seed, device) for level in (0.0, chosen.sigma)]
    print(table(curves, x[0].numel()))
    plot(curves, out / "losses.png")
    print(f"\n{out}: losses.png")


if __name__ == "__main__":
    cyclopts.run(main)
