"""How good are the samples of a run on digits or MNIST? python3 run.py benchmarks/sample_quality.py OUT

Reads OUT/samples.npy and OUT/config.json, as written by examples/cifar10_ncsn.py, and judges the samples by two
scikit-learn classifiers trained on real images (a small network with weight decay; logistic regression on kernel
features) and by their distance to the nearest real image. The same figures are printed for real held-out images and
for images whose pixels were shuffled, so that one sees what each judge is worth. SCOREKIT_QUALITY_DATA names the real
images where they have moved since the run.
"""

import json
import os
from pathlib import Path

import cyclopts
import numpy as np
from sklearn.base import ClassifierMixin
from sklearn.kernel_approximation import Nystroem
from sklearn.linear_model import LogisticRegression
from sklearn.neighbors import NearestNeighbors
from sklearn.neural_network import MLPClassifier
from sklearn.pipeline import make_pipeline

from scorekit.data import Images, open_images


def judges(scale: float) -> dict[str, ClassifierMixin]:
    """Two classifiers with probabilities; `scale` is the distance between neighbours in the data."""
    features = Nystroem(gamma=0.29 / scale**2, n_components=1000, random_state=0)
    return {
        "network": MLPClassifier((128,), alpha=0.1, max_iter=400, random_state=0),
        "kernel": make_pipeline(features, LogisticRegression(C=1000, max_iter=3000)),
    }


def nearest(images: np.ndarray, real: np.ndarray, *, skip_self: bool = False) -> np.ndarray:
    """The Euclidean distance of each image to its nearest real one; to the second nearest where each is one of them."""
    count = 2 if skip_self else 1
    return NearestNeighbors(n_neighbors=count).fit(real).kneighbors(images)[0][:, count - 1]


def flat(images: Images, count: int) -> tuple[np.ndarray, np.ndarray]:
    """The first `count` images as (count, D) in [0, 1], at the middle of each grey level's bin, and their labels."""
    pixels = images.pixels[:count].flatten(1).double().numpy()
    if images.labels is None:
        raise SystemExit(f"{images.name} has no labels: nothing to train a judge on")
    return (pixels + 0.5) / images.levels, images.labels[:count].numpy()


def main(out: Path, *, training_images: int = 10_000) -> None:
    """Judge a run.

    Args:
        out: the folder that the run wrote.
        training_images: how many real images to train the judges on.
    """
    config = json.loads((out / "config.json").read_text())
    spec = os.environ.get("SCOREKIT_QUALITY_DATA", config["data"])
    real, labels = flat(open_images(spec, split="train"), training_images)
    held_out, _ = flat(open_images(spec, split="test"), 1000)
    samples = np.load(out / "samples.npy").reshape(-1, real.shape[1]).clip(0, 1)
    shuffled = np.random.default_rng(0).permuted(held_out, axis=1)
    sets = {"samples": samples, "real, held out": held_out, "pixels shuffled": shuffled}
    within = float(np.median(nearest(real[:2000], real, skip_self=True)))
    for name, images in sets.items():
        distance = np.median(nearest(images, real)) / within
        print(f"{name:16} {len(images)} images, distance to the nearest real one {distance:.3g} of that between data")
    for judge, classifier in judges(within).items():
        classifier.fit(real, labels)
        for name, images in sets.items():
            probability = classifier.predict_proba(images)
            sure, classes = probability.max(1), len(set(probability.argmax(1).tolist()))
            print(f"{judge:8} {name:16} above .7: {(sure > 0.7).mean():.3f}  mean {sure.mean():.3f}  classes {classes}")


if __name__ == "__main__":
    cyclopts.run(main)
