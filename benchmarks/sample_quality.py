"""How good are the samples of a run on digits or MNIST? python3 run.py benchmarks/sample_quality.py OUT

Reads OUT/samples.npy and OUT/config.json, as written by examples/cifar10_ncsn.py, and judges the samples by a
calibrated support vector classifier trained on real images (scikit-learn), and by their distance to the nearest real
image. The same figures are printed for real held-out images and for images whose pixels were shuffled, so that one
sees what the judge is worth.
"""

import json
import os
from pathlib import Path

import cyclopts
import numpy as np

from scorekit.data import Images, open_images


def judge(real: np.ndarray, labels: np.ndarray, sets: dict[str, np.ndarray]) -> dict[str, dict[str, float]]:
    """For each set (N, D) of images: shares, classes and nearest distances against the real images (M, D)."""
    from sklearn.calibration import CalibratedClassifierCV
    from sklearn.svm import SVC

    classifier = CalibratedClassifierCV(SVC(C=10), ensemble=False, cv=5).fit(real, labels)
    within = np.median(nearest(real[:2000], real, skip_self=True))
    rows = {}
    for name, images in sets.items():
        probability = classifier.predict_proba(images)
        confidence = probability.max(1)
        rows[name] = {
            "images": len(images),
            "above .7": float((confidence > 0.7).mean()),
            "mean confidence": float(confidence.mean()),
            "classes": len(set(probability.argmax(1).tolist())),
            "nearest / within data": float(np.median(nearest(images, real)) / within),
        }
    return rows


def nearest(images: np.ndarray, real: np.ndarray, *, skip_self: bool = False) -> np.ndarray:
    """The Euclidean distance of each image to its nearest real one; to the second nearest where each is one of them."""
    from sklearn.neighbors import NearestNeighbors

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
        training_images: how many real images to train the judge on.
    """
    config = json.loads((out / "config.json").read_text())
    spec = os.environ.get("SCOREKIT_QUALITY_DATA", config["data"])
    real, labels = flat(open_images(spec, split="train"), training_images)
    held_out, _ = flat(open_images(spec, split="test"), 1000)
    samples = np.load(out / "samples.npy").reshape(-1, real.shape[1]).clip(0, 1)
    shuffled = np.random.default_rng(0).permuted(held_out, axis=1)
    table = judge(real, labels, {"samples": samples, "real, held out": held_out, "pixels shuffled": shuffled})
    for name, row in table.items():
        print(f"{name:16}", "  ".join(f"{key} {value:.4g}" for key, value in row.items()))


if __name__ == "__main__":
    cyclopts.run(main)
