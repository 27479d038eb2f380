"""Samples of each class from a model that was never told a label: guidance by a classifier of noisy images.

    python3 run.py -m scorekit train mnist-unet-small --out runs/mnist-unet                          # half an hour
    python3 run.py examples/train_classifier.py --data mnist --noise 20 --out runs/noisy --steps 2000
    python3 run.py examples/train_classifier.py --data mnist --out runs/clean                        # the judge
    python3 run.py examples/guidance.py --checkpoint runs/mnist-unet --classifier runs/noisy --judge runs/clean

It draws as many samples of each class, writes OUT/guided.png, one class a column, and says how many of them a second
classifier, which knows clean images only and took no part, puts into the class that was asked for. Dhariwal and Nichol,
arXiv 2105.05233; Song et al., arXiv 2011.13456, section 5.
"""

import sys
from pathlib import Path

import cyclopts
import torch
from torch import Tensor

import scorekit as sk
from scorekit.checkpoint import load_network
from scorekit.networks import ConvClassifier
from scorekit.runs import run_config


def few_steps(checkpoint: Path, evaluations: int) -> sk.AnnealedMCMC:
    """DPM-Solver++ between the largest and the smallest level of the model's run."""
    config = run_config(checkpoint)
    if "noise" not in config:
        raise ValueError(f"{checkpoint}: expected a run's folder, whose config.json names its noise levels")
    levels = sk.from_config(config["noise"]).levels()
    return sk.dpm_solver(sk.Karras(levels[0].item(), levels[-1].item(), evaluations))


def classifier_in(folder: Path) -> ConvClassifier:
    """What train_classifier.py wrote there."""
    net = load_network(folder / "classifier")
    if not isinstance(net, ConvClassifier):
        raise ValueError(f"{folder}: expected a classifier, found a {type(net).__name__}")
    return net.eval()


@torch.inference_mode()
def share_right(judge: ConvClassifier, x: Tensor, labels: Tensor) -> float:
    """How many of the images the judge puts into their class."""
    return (judge(x.clamp(0, 1)).argmax(1) == labels).double().mean().item()


def main(
    *,
    checkpoint: Path,
    classifier: Path,
    judge: Path,
    scale: float = 3.0,
    per_class: int = 10,
    evaluations: int = 20,
    seed: int = 0,
    out: Path = Path("runs/guidance"),
) -> None:
    """Guide a model to each class.

    Args:
        checkpoint: the folder of a run whose model knows every noise level.
        classifier: what train_classifier.py wrote with --noise.
        judge: what it wrote without.
        scale: the power of p(label | x): 1 is Bayes' rule for an exact classifier, more makes samples more typical.
        per_class: samples of each class.
        evaluations: of the score, for each sample.
        seed: of the samples.
        out: the folder to write.
    """
    model = sk.load(checkpoint / "checkpoint" if (checkpoint / "checkpoint").is_dir() else checkpoint)
    guide, judging = classifier_in(classifier), classifier_in(judge)
    if model.moments is None:
        raise ValueError(
            f"{checkpoint}: its model does not know its data's moments, which say how large its images are"
        )
    classes = guide.num_classes
    labels = torch.arange(classes).repeat(per_class)
    sampler, shape = few_steps(checkpoint, evaluations), (len(labels), *model.moments[0].shape)
    for strength in (0.0, scale):
        family = sk.Guided(model, guide, labels, scale=strength)
        x = sk.sample(sampler, family, shape, generator=sk.PerChain(seed), batch_size=250, progress=True)
        print(
            f"scale {strength:g}: {share_right(judging, x, labels):.1%} of {len(x)} are judged to be what was asked for"
        )
    out.mkdir(parents=True, exist_ok=True)
    sk.pictures.save_grid(out / "guided.png", x[: 6 * classes], columns=classes)
    print(f"{out / 'guided.png'}: one class a column")


if __name__ == "__main__":
    try:
        cyclopts.run(main)
    except ValueError as error:
        sys.exit(f"error: {error}")
