"""Train a small classifier of images: clean ones, whose features judge samples, or noisy ones, whose gradient guides
samplers.

    python3 run.py examples/train_classifier.py                               # real 8x8 digits: a minute of one core
    python3 run.py examples/train_classifier.py --data mnist                  # 4 minutes of one core
    python3 run.py examples/train_classifier.py --data mnist --noise 20       # at every noise level up to 20
    python3 run.py examples/train_classifier.py --data cifar10                # 10 minutes of one core

OUT/classifier/     the network: scorekit.checkpoint.load_network(OUT / "classifier")
OUT/summary.json    its accuracy on held-out images, at each noise level; times, versions

With noise it learns p(label | x + sigma eps) for sigma log-uniform between .01 and the largest: the classifier of Song
et al., arXiv 2011.13456, section 5, whose gradient in x is added to the score.
"""

import math
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import NamedTuple, TypeVar

import cyclopts
import torch
import torch.nn.functional as F
from torch import Tensor, nn

import scorekit as sk
from scorekit.base import Generator, expand, normal, uniform
from scorekit.checkpoint import save_network
from scorekit.data import Compose, Dequantize, Images, RandomHorizontalFlip, Rescale, Source, as_source, open_images
from scorekit.networks import ConvClassifier
from scorekit.runs.running import SUMMARY, default_device, facts, prepared, write
from scorekit.training.order import DataOrder

SMALLEST_SIGMA = 0.01  # 256 grey levels are .004 apart: below it noise hides nothing
CLEAN_SHARE = 0.1  # of the images, when the others are noisy
WEIGHT_DECAY = 0.05
T = TypeVar("T")


@dataclass(frozen=True)
class Options:
    """How to train."""

    steps: int
    batch_size: int = 128
    learning_rate: float = 3e-3
    width: int = 32
    augment: bool = False  # shifts and flips

    def __post_init__(self):
        if min(self.steps, self.batch_size) < 1 or not 0 < self.learning_rate < math.inf:
            raise ValueError(f"{self}: expected steps >= 1, batch_size >= 1 and 0 < learning_rate < inf")


class Held(NamedTuple):
    """What the network is worth on held-out images at one noise level."""

    sigma: float
    accuracy: float
    cross_entropy: float  # -log p(label | x, sigma), mean, in nats


def options_for(shape: tuple[int, ...]) -> Options:
    """By the images: as small as digits, grey, or in colour."""
    channels, *size = shape
    if min(size) <= 16:
        return Options(steps=800, batch_size=64)
    return Options(steps=1500) if channels == 1 else Options(steps=3000, augment=True)


def open_data(spec: str) -> tuple[Images, Images]:
    """Training and held-out images."""
    return open_images(spec, "train"), open_images(spec, "test")


def labels_of(images: Images) -> Tensor:
    if images.labels is None:
        raise ValueError(f"{images!r} has no labels; a classifier needs some")
    return images.labels


def source(images: Images, augment: bool) -> Source:
    """Images in [0, 1]. Coarse grey levels get noise in place of the digits that they lack, as score models see them;
    256 are fine enough for a classifier as they are."""
    levels = images.levels or 256  # continuous pixels stay as they are under Rescale
    flips = (RandomHorizontalFlip(),) if augment else ()
    scaling = Dequantize(levels) if levels < 256 else Rescale(levels)
    return as_source(images, Compose((*flips, scaling)), condition="labels")


def batch(data: Source, indices: Tensor, generator: Generator) -> tuple[Tensor, Tensor]:
    """Images (B, C, H, W) and their labels (B,)."""
    labels = data.condition(indices)
    if labels is None:
        raise ValueError(f"a source with {data.condition_kind}: a classifier needs labels")
    return data.batch(indices, generator=generator), labels


def shifted(x: Tensor, generator: Generator) -> Tensor:
    """Each image moved by up to an eighth of its size, by its own draw; what comes in is black."""
    height, width = x.shape[2:]
    reach = torch.tensor((height // 8, width // 8), device=x.device)
    draws = uniform(torch.empty(len(x), 2, device=x.device), generator=generator)
    offsets = (draws * (2 * reach + 1)).long().tolist()
    padded = F.pad(x, (width // 8,) * 2 + (height // 8,) * 2)
    return torch.stack([
        image[:, down : down + height, right : right + width]
        for image, (down, right) in zip(padded, offsets, strict=True)
    ])  # fmt: skip


def draw_sigma(like: Tensor, largest: float, generator: Generator) -> Tensor:
    """(B,) noise levels: 0 with the share of clean images, else log-uniform from .01 to the largest; all 0 for 0."""
    clean, place = uniform(torch.empty(len(like), 2, device=like.device), generator=generator).unbind(1)
    if largest == 0:
        return torch.zeros_like(place)
    sigma = SMALLEST_SIGMA * (largest / SMALLEST_SIGMA) ** place
    return torch.where(clean < CLEAN_SHARE, 0.0, sigma)


def noisy(x: Tensor, sigma: Tensor, generator: Generator) -> Tensor:
    """x + sigma eps."""
    return x + expand(sigma, x) * normal(x, generator=generator)


def train(
    net: nn.Module,
    data: Source,
    options: Options,
    *,
    noise: float,
    seed: int,
    report: Callable[[int, float], None] = lambda step, loss: None,
) -> None:
    """Cross-entropy by AdamW, the learning rate up over a tenth of the steps and down along a cosine.

    An image's draws depend on the seed, the step and its place in the batch.
    """
    device, order = next(net.parameters()).device, DataOrder(len(data), seed)
    optimiser = torch.optim.AdamW(net.parameters(), weight_decay=WEIGHT_DECAY)
    rate = torch.optim.lr_scheduler.OneCycleLR(
        optimiser, options.learning_rate, total_steps=options.steps, pct_start=0.1, cycle_momentum=False
    )
    for step in range(options.steps):
        draws = sk.PerChain(seed).fork("training").fork(step)
        indices = order.indices(step * options.batch_size, options.batch_size).to(device)
        x, labels = batch(data, indices, draws.fork("data"))
        if options.augment:
            x = shifted(x, draws.fork("shift"))
        sigma = draw_sigma(x, noise, draws.fork("sigma"))
        if noise > 0:  # draws take time
            x = noisy(x, sigma, draws.fork("eps"))
        loss = F.cross_entropy(net(x, sigma), labels)
        optimiser.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(net.parameters(), 1.0)
        optimiser.step()
        rate.step()
        report(step + 1, loss.item())


@torch.no_grad()
def judge(net: nn.Module, data: Source, sigma: float, *, seed: int, batch_size: int = 500) -> Held:
    """The network on all held-out images with noise of one level, each image with its own draw."""
    device, draws = next(net.parameters()).device, sk.PerChain(seed).fork("held out")
    right, loss = 0.0, 0.0
    for indices in torch.arange(len(data), device=device).split(batch_size):
        own = draws.shift(int(indices[0]))
        x, labels = batch(data, indices, own.fork("data"))
        levels = torch.full((len(x),), sigma, device=device)
        logits = net(noisy(x, levels, own.fork("eps")), levels)
        right += (logits.argmax(1) == labels).sum().item()
        loss += F.cross_entropy(logits, labels, reduction="sum").item()
    return Held(sigma, right / len(data), loss / len(data))


def judged_levels(noise: float) -> list[float]:
    """Clean images; and eight levels up to the largest."""
    return [0.0] if noise == 0 else [0.0, *reversed(sk.Geometric(noise, SMALLEST_SIGMA, 8).levels().tolist())]


def chosen(value: T | None, usual: T) -> T:
    return usual if value is None else value


def new_classifier(images: Images, held_out: Images, options: Options, seed: int) -> ConvClassifier:
    """With the weights of a seed, for the labels that occur."""
    channels, height, width = images.pixels.shape[1:]
    num_classes = 1 + max(int(labels_of(each).max()) for each in (images, held_out))
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return ConvClassifier((channels, height, width), num_classes, options.width)


def progress(num_steps: int) -> Callable[[int, float], None]:
    """Prints a line every hundred steps."""
    start = time.perf_counter()

    def report(step: int, loss: float) -> None:
        if step % 100 == 0 or step == num_steps:
            print(f"step {step}: cross-entropy {loss:.3f}, {time.perf_counter() - start:.0f} s", flush=True)

    return report


def main(
    *,
    data: str = "embedded",
    noise: float = 0.0,
    out: Path | None = None,
    steps: int | None = None,
    batch_size: int | None = None,
    learning_rate: float | None = None,
    width: int | None = None,
    seed: int = 0,
    device: str | None = None,
    smoke: bool = False,
) -> None:
    """Train a classifier and judge it on held-out images.

    Args:
        data: embedded, mnist or cifar10 (downloaded once), or a path to MNIST's or CIFAR-10's files.
        noise: the largest noise level to train for, above .01; 0 for clean images only.
        out: the folder to write; runs/classifier-DATA if not given.
        steps: train so many steps; by the kind of images if not given, as are the next three.
        batch_size: images a step.
        learning_rate: the largest, after a tenth of the steps.
        width: channels of the network at its first resolution.
        seed: of everything.
        device: cpu, cuda, ...; cuda if there is one and nothing is given, else cpu.
        smoke: seconds: 20 steps of a narrow network. Its figures mean nothing.
    """
    if noise != 0 and not SMALLEST_SIGMA < noise < math.inf:
        raise ValueError(f"--noise {noise}: expected 0, or more than {SMALLEST_SIGMA}")
    images, held_out = open_data(data)
    usual = options_for(images.pixels.shape[1:])
    options = Options(
        steps=chosen(steps, usual.steps),
        batch_size=chosen(batch_size, usual.batch_size),
        learning_rate=chosen(learning_rate, usual.learning_rate),
        width=chosen(width, usual.width),
        augment=usual.augment,
    )
    options = replace(options, steps=20, width=8) if smoke else options
    net = new_classifier(images, held_out, options, seed).to(default_device(device))
    folder = prepared(out or Path("runs") / f"classifier-{Path(data).name}")
    start = time.perf_counter()
    train(net, source(images, options.augment), options, noise=noise, seed=seed, report=progress(options.steps))
    seconds = time.perf_counter() - start
    held = [judge(net, source(held_out, augment=False), sigma, seed=seed) for sigma in judged_levels(noise)]
    save_network(folder / "classifier", net)
    told = {"data": data, "num_features": net.num_features, "noise": noise, "training_seconds": round(seconds, 1)}
    speed = {"images_per_second": round(options.steps * options.batch_size / seconds, 1)}
    accuracy = {"held_out_images": len(held_out), "accuracy": held[0].accuracy, "held_out": [h._asdict() for h in held]}
    write(folder / SUMMARY, told | speed | vars(options) | accuracy | facts(seed))
    for each in held:
        print(f"sigma {each.sigma:7.3f}: accuracy {each.accuracy:.4f}, cross-entropy {each.cross_entropy:.4f}")
    print(f"{folder}: classifier/ ({net.num_features} features), summary.json")


if __name__ == "__main__":
    try:
        cyclopts.run(main)
    except ValueError as error:  # what the user can mend: data, options. The message says it all
        sys.exit(f"error: {error}")
